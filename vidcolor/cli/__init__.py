"""The command line: `vidcolor run`, `train`, `recipes`, `probe`, `eval`, `models`, `weights`.

torch, av and rich are imported inside the commands, so that `vidcolor --help` answers at once.
"""

from __future__ import annotations

import io
import signal
import sys
from types import FrameType

import click

from .. import __version__
from ..errors import InputError, RecipeError, TrainingError, VidcolorError
from .evaluate import evaluate_command
from .models import models_command
from .probe import probe_command
from .run import run_command
from .train import recipes_command, train_command
from .weights import weights_command

EXIT_CODES = """\b
Exit codes:
    0  every input was done (or skipped on request)
    1  some input failed or was incomplete; the others are done
    2  the command line was wrong (an option, encoder, model, recipe, device, or two inputs for one
       output); nothing was done
  130  interrupted with Ctrl-C (143: terminated); no half file is left
"""


@click.group(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vidcolor")
def cli() -> None:
    """Colorize black-and-white films and photographs.

    \b
    vidcolor run old_film.mp4 -o color.mp4
    vidcolor run photos/ -o color/
    """


for _command in (
    run_command,
    train_command,
    recipes_command,
    probe_command,
    evaluate_command,
    models_command,
    weights_command,
):
    cli.add_command(_command)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)  # unwinds, so that temporary files are removed


def main() -> None:
    """The console script: runs the command line and exits with the documented code."""
    signal.signal(signal.SIGTERM, _terminate)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file's name need not be UTF-8. Its odd bytes become \udcXX, as JSON writes them too.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except VidcolorError as error:
        # What fails on an input becomes a report; what arrives here stopped the work at its start.
        click.echo(f"error: {error}", err=True)
        at_work = isinstance(error, InputError | TrainingError)
        sys.exit(1 if at_work and not isinstance(error, RecipeError) else 2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
