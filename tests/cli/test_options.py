"""From fields to options of the command line, by a command of the test's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from vidcolor.cli.options import parse_assignment, parsed, repeated, takes
from vidcolor.options import OptionError, check_options, option


def parse_pair(text: str) -> tuple[int, int]:
    one, other = text.split("x")  # a ValueError without an x
    return int(one), int(other)


@dataclass(frozen=True)
class Inner:
    """Options within options."""

    depth: int | None = option(None, low=1, high=9, help="Nested.")

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class Outer:
    """Every kind of option."""

    inner: Inner = field(default_factory=Inner)
    name: str | None = option(None, help="Text.")
    file: Path | None = option(None, help="Path.")
    files: tuple[Path, ...] = option((), flag="--more-file", repeatable=True, help="Paths.")
    threads: int | None = option(None, low=1, word="auto", help="Number or word.")
    factor: float = option(1.0, low=0, help="Number.")
    pair: tuple[int, int] = option((6, 4), word="6x4", parse=parse_pair, help="Parsed.")
    loud: bool = option(False, choices={"low": False, "high": True}, flag="--level", help="Words.")
    steady: bool = option(True, help="On.")
    force: bool = option(False, short="-f", help="Off.")

    def __post_init__(self) -> None:
        check_options(self)
        if self.force and self.name is None:
            raise OptionError("force", "needs --name")


def outer_of(*arguments: str, without: tuple[str, ...] = ()) -> Outer:
    """What a command that takes `Outer` gets for these arguments."""
    got: list[Outer] = []

    @click.command()
    @takes(outer=Outer, without=without)
    @click.option("--own", default=3)
    def sample(own: int, outer: Outer) -> None:
        assert own == 3
        got.append(outer)

    result = CliRunner().invoke(sample, arguments)
    if result.exit_code:
        raise SystemExit(result.output)
    return got[0]


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ((), Outer()),
        (("--depth", "4"), Outer(inner=Inner(4))),
        (("--name", "a", "--file", "b"), Outer(name="a", file=Path("b"))),
        (("--more-file", "a", "--more-file", "b"), Outer(files=(Path("a"), Path("b")))),
        (("--threads", "auto"), Outer()),
        (("--threads", "3"), Outer(threads=3)),
        (("--factor", "0"), Outer(factor=0)),
        (("--pair", "1x2"), Outer(pair=(1, 2))),
        (("--level", "high"), Outer(loud=True)),
        (("--level", "low", "--steady"), Outer()),
        (("--no-steady",), Outer(steady=False)),
        (("-f", "--name", "a"), Outer(name="a", force=True)),
    ],
)
def test_the_command_gets_an_instance(arguments: tuple[str, ...], wanted: Outer) -> None:
    assert outer_of(*arguments) == wanted


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (("--depth", "0"), "--depth"),
        (("--depth", "few"), "--depth"),
        (("--threads", "0"), "--threads"),
        (("--threads", "few"), "--threads"),
        (("--factor", "nan"), "--factor"),
        (("--factor", "-1"), "--factor"),
        (("--pair", "12"), "--pair"),
        (("--level", "deafening"), "--level"),
        (("--file", ""), "--file"),
        (("--more-file", ""), "--more-file"),
        (("--force",), "--force"),
    ],
)
def test_a_wrong_value_is_a_usage_error_with_the_options_name(
    arguments: tuple[str, ...], flag: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        outer_of(*arguments)
    assert f"Error: {flag} " in str(caught.value) or f"'{flag}'" in str(caught.value)


def test_fields_can_be_left_out() -> None:
    assert outer_of("--name", "a", without=("depth", "force")) == Outer(name="a")
    for gone in ("--depth", "--force"):
        with pytest.raises(SystemExit, match="No such option"):
            outer_of(gone, "1", without=("depth", "force"))


def test_the_help_shows_defaults_and_limits() -> None:
    with pytest.raises(IndexError):  # the command does not run
        outer_of("--help")

    @click.command()
    @takes(outer=Outer)
    def sample(outer: Outer) -> None:
        raise AssertionError

    text = " ".join(CliRunner().invoke(sample, ["--help"]).output.split())
    for words in (
        "--depth INTEGER RANGE Nested. [1<=x<=9]",
        "--threads auto|N Number or word. [default: auto]",
        "[default: 6x4]",
        "--level [low|high] Words. [default: low]",
        "--steady / --no-steady On. [default: steady]",
        "-f, --force Off.",
    ):
        assert words in text


def test_one_field_several_times() -> None:
    got: list[Any] = []

    @click.command()
    @repeated(Outer, "factor", " Repeatable.")
    def sample(factor: tuple[float, ...]) -> None:
        got.append(factor)

    assert CliRunner().invoke(sample, ["--factor", "1", "--factor", "2"]).exit_code == 0
    assert CliRunner().invoke(sample, []).exit_code == 0
    assert got == [(1.0, 2.0), ()]


def test_assignments() -> None:
    assert parse_assignment("layers=4") == ("layers", 4)
    assert parse_assignment(" model = fast ") == ("model", "fast")
    with pytest.raises(click.BadParameter, match="key=value"):
        parsed(parse_assignment)("layers")
