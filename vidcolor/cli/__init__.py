"""The command line: one module for each command, imported when the command is used.

torch, av and rich are imported later still, so that `vidcolor --help` answers at once.
"""

from __future__ import annotations

import importlib
import io
import logging
import os
import sys

import click

from .. import __version__
from ..errors import InputError, RecipeError, TrainingError, VidcolorError
from ..system.signals import ending
from .log import show_log
from .text import printable, say

logger = logging.getLogger(__name__)

# A command's name, its place (module:attribute), and its line in `vidcolor --help`.
COMMANDS = {
    "run": (".run:run_command", "Colorize films, pictures and folders."),
    "redo": (".redo:redo_command", "Color single shots of a finished film again."),
    "merge": (".merge:merge_command", "Combine a chroma file with its film."),
    "shots": (".shots:shots_command", "Find a film's shots and write stills to color."),
    "adapt": (".adapt:adapt_command", "Fit a model to a film by its colored stills."),
    "check": (".check:check_command", "Check colored stills, or a result beside its original."),
    "report": (".report:report_command", "Write a page that shows a result beside its original."),
    "compare": (".compare:compare_command", "Write a film of original and result side by side."),
    "status": (".status:status_command", "Tell how far a run is."),
    "clean": (".clean:clean_command", "Remove what killed runs have left."),
    "train": (".train:train_command", "Train weights by a recipe."),
    "recipes": (".train:recipes_command", "List the training recipes."),
    "probe": (".probe:probe_command", "Measure this machine, or estimate a run."),
    "eval": (".evaluate:evaluate_command", "Measure a model on color pictures or clips."),
    "models": (".models:models_command", "List the models; describe an architecture."),
    "weights": (".weights:weights_command", "Import weights, such as public checkpoints."),
    "inspect": (".inspect:inspect_command", "Print what files say of their origin."),
}
EXIT_CODES = """\b
Exit codes:
    0  every input was done (or skipped on request)
    1  some input failed, was incomplete or got another name than it would have had; the others are
       done
    2  the command line was wrong (an option, encoder, model, recipe or device); nothing was done
  130  interrupted with Ctrl-C (143: terminated, 129: the terminal was closed); no half file is left
"""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in `COMMANDS`, in order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        found = getattr(importlib.import_module(module, __name__), attribute)
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The names with their lines, without importing any command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(
    cls=LazyGroup, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="vidcolor")
def cli() -> None:
    """Colorize black-and-white films and photographs.

    \b
    vidcolor run old_film.mp4 -o color.mp4
    vidcolor run photos/ -o color/
    """


def _open_streams() -> None:
    """Make standard output and error usable: where one is closed, as in a daemon, into nothing.

    Otherwise the next file that is opened would get its number, and messages of C libraries.
    """
    number = os.open(os.devnull, os.O_RDWR)
    while number <= 2:
        number = os.open(os.devnull, os.O_RDWR)
    os.close(number)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  open to the end
        elif isinstance(stream, io.TextIOWrapper):
            # A file's name need not be UTF-8. Its odd bytes become \udcXX, as JSON writes them too.
            stream.reconfigure(errors="backslashreplace")


def _close_streams() -> None:
    """Write out what is left, or drop it where nobody can read it; Python would print an error."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _reason(error: Exception) -> str:
    """An unexpected error in one line."""
    if isinstance(error, MemoryError):
        return "there is not enough memory; close other programs"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'standard output'}: {error.strerror}"
    said = " ".join(str(error).split())[:200]
    return (
        f"a fault of vidcolor ({type(error).__name__}: {said}); run the command again with -vv and "
        "report what it prints"
    )


def main() -> None:
    """Run the command line and exit with the documented code; signals are `__main__`'s."""
    _open_streams()
    show_log()
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        vars(error)["message"] = printable(error.message)  # names of files may be in it
        error.show()
        sys.exit(2)
    except VidcolorError as error:
        # An error of one input becomes a report; an error that arrives here stopped the command.
        say(f"error: {error}", err=True)
        working = isinstance(error, InputError | TrainingError)
        sys.exit(1 if working and not isinstance(error, RecipeError) else 2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        # What is no fault of an input became no report. After a signal it is but its consequence.
        if not ending.number:
            logger.debug("an unexpected error", exc_info=error)
            say(f"error: {_reason(error)}", err=True)
        sys.exit(1)
    finally:
        _close_streams()
