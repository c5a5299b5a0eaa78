"""From dataclasses to command-line options: the one place where fields become options of click.

@click.command("run")
@takes(colorizer=ColorizerOptions, settings=Settings)
def run_command(colorizer: ColorizerOptions, settings: Settings) -> None: ...
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from dataclasses import Field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_type_hints

import click

from ..options import Option, OptionError, option_of
from ..run.settings import ColorizerOptions

if TYPE_CHECKING:
    from ..run.colorizer import Colorizer

Result = TypeVar("Result")
Decorator = Callable[[Callable[..., Result]], Callable[..., Result]]


def takes(
    *, without: Collection[str] = (), only: Collection[str] | None = None, **groups: type[Any]
) -> Decorator[Any]:
    """Give a command an option for every field of some dataclasses.

    The command gets an instance of each dataclass. A value that the dataclass refuses is a usage
    error which names the option.

    Args:
        without: fields that are no options of this command and keep their defaults.
        only: the fields that are; None for all others.
        **groups: the dataclasses, by the name of the command's parameter.
    """

    leaves = {
        each.name: (each, hint)
        for group in groups.values()
        for each, hint in _leaves(group)
        if each.name not in without and (only is None or each.name in only)
    }

    def decorate(command: Callable[..., Result]) -> Callable[..., Result]:
        @functools.wraps(command)
        def with_instances(*arguments: Any, **values: Any) -> Result:
            own = {name: values.pop(name) for name in leaves}
            made = {name: _make(group, own) for name, group in groups.items()}
            return command(*arguments, **values, **made)

        options = [click_option(each, hint) for each, hint in leaves.values()]
        decorated: Callable[..., Result] = with_instances
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


def _leaves(group: type[Any]) -> list[tuple[Field[Any], Any]]:
    """The fields that are options, with their types; those of nested dataclasses in their place."""
    hints, found = get_type_hints(group), []
    for each in fields(group):
        hint = hints[each.name]
        if option_of(each) is not None:
            found.append((each, hint))
        elif is_dataclass(hint):
            found += _leaves(hint)  # type: ignore[arg-type]  # hints are classes
    return found


def _make(group: type[Any], values: dict[str, Any]) -> Any:
    """An instance of `group` from the values of its fields and those of nested dataclasses."""
    hints, chosen = get_type_hints(group), {}
    for each in fields(group):
        known = option_of(each)
        if known is None and is_dataclass(hint := hints[each.name]):
            chosen[each.name] = _make(hint, values)  # type: ignore[arg-type]  # hints are classes
        elif each.name in values:
            value = values[each.name]
            chosen[each.name] = known.choices[value] if known and known.choices else value
    try:
        return group(**chosen)
    except OptionError as error:
        (flag,) = (flag_of(each) for each in fields(group) if each.name == error.name)
        raise click.UsageError(f"{flag} {error.reason}") from error


def flag_of(each: Field[Any]) -> str:
    """The option's name on the command line, such as `--batch-size`."""
    known = option_of(each)
    return (known.flag if known else "") or f"--{each.name.replace('_', '-')}"


def click_option(each: Field[Any], hint: Any, *, repeatable: str = "") -> Callable[..., Any]:
    """The click option of one field.

    Args:
        each: the field, made by `vidcolor.options.option`.
        hint: its type.
        repeatable: not empty: the option may be given several times here, though the field takes
            one value; the text is added to its help.
    """
    known, default, flag = option_of(each), each.default, flag_of(each)
    assert known is not None
    if default is True:
        flag = f"{flag}/--no-{flag[2:]}"
    names = [*filter(None, [known.short]), flag, each.name]
    if isinstance(default, bool) and known.choices is None:
        if default:
            return click.option(*names, default=True, show_default=True, help=known.help)
        return click.option(*names, is_flag=True, help=known.help)
    several = known.repeatable or bool(repeatable)
    shown = known.word or default
    if known.choices is not None:
        (shown,) = (word for word, value in known.choices.items() if value == default)
    if several:
        shown = None
    return click.option(
        *names,
        type=_click_type(known, hint, default),
        metavar=known.metavar or (f"{known.word}|N" if known.word else None),
        default=shown,
        show_default=shown is not None,
        multiple=several,
        help=known.help + repeatable,
    )


def repeated(group: type[Any], name: str, help: str) -> Callable[..., Any]:
    """The option of the field `name` of `group`, to be given several times; `help` is added."""
    ((each, hint),) = ((each, hint) for each, hint in _leaves(group) if each.name == name)
    return click_option(each, hint, repeatable=help)


class FilePath(click.Path):
    """A path; an empty one is refused, because it mostly comes from an unset variable."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """The path, as a `pathlib.Path`."""
        if value == "":
            self.fail("the name is empty; is a variable unset?", param, ctx)
        return super().convert(value, param, ctx)


def parsed(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """A type for click that calls `parse`; its ValueError becomes a usage error."""

    @functools.wraps(parse)
    def convert(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return convert


def _click_type(known: Option, hint: Any, default: Any) -> Any:
    """What click makes of the text: see `Option.parse`, `choices`, `low` and `word`."""
    kinds = get_args(hint) or (hint,)
    if known.parse is not None:
        return parsed(known.parse)
    if known.choices is not None:
        return click.Choice(list(known.choices))  # `_make` takes the word's value
    if int in kinds:
        if known.word:
            return parsed(functools.partial(_number_or_word, known, default))
        return click.IntRange(_whole(known.low), _whole(known.high))
    if float in kinds:
        return click.FloatRange(known.low, known.high)
    return FilePath() if Path in kinds else click.STRING


def _whole(limit: float | None) -> int | None:
    return None if limit is None else int(limit)


def _number_or_word(known: Option, default: Any, text: str) -> Any:
    """The default for its word, else a whole number."""
    if text == known.word:
        return default
    if not text.isdecimal() or (known.low is not None and int(text) < known.low):
        raise ValueError(f"'{text}' is neither '{known.word}' nor a number from {known.low:g} up")
    return int(text)


def parse_assignment(text: str) -> tuple[str, Any]:
    """The pair of a `key=value`; the value is read as TOML, or as text if it is not TOML.

    Raises:
        ValueError: no equals sign.
    """
    from ..training.recipe_file import parse_value

    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"'{text}' is not of the form key=value")
    return key.strip(), parse_value(value.strip())


def parse_numbers(text: str) -> tuple[int, ...] | None:
    """The numbers of a list such as `1,2,4`, ascending; None for `auto`.

    Raises:
        ValueError: a part is not a number from 1 to 4096.
    """
    if text == "auto":
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 1 <= int(part) <= 4096 for part in parts):
        raise ValueError(f"'{text}' is not a list of numbers from 1 to 4096, such as 1,2,4")
    return tuple(sorted({int(part) for part in parts}))


def parse_frame_size(text: str) -> tuple[int, int]:
    """Width and height of `WIDTHxHEIGHT`, pixels.

    Raises:
        ValueError: the text is not two numbers from 16 to 16384.
    """
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(s.isdecimal() and 16 <= int(s) <= 16384 for s in sides):
        raise ValueError(f"'{text}' is not a size; write 640x480, from 16 to 16384")
    return int(sides[0]), int(sides[1])


def make_colorizer(options: ColorizerOptions) -> Colorizer:
    """The colorizer; torch is imported here and not before."""
    from ..run.colorizer import Colorizer

    return Colorizer(options)
