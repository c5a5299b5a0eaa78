"""Options as fields: limits, choices, texts, and the dataclasses that are the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vidcolor import ColorAdjustment, Colorizer, ColorizerOptions, EncoderSettings, Settings
from vidcolor.errors import VidcolorError
from vidcolor.frames import Segment
from vidcolor.options import (
    Option,
    OptionError,
    check_options,
    option,
    option_of,
    parse_rate,
    parse_time,
    words,
)
from vidcolor.run.settings import parse_copy


@dataclass(frozen=True)
class Sample:
    """One option of each kind of limit."""

    count: int | None = option(None, low=2, help="A count.")
    share: float = option(0.5, low=0, high=1, help="A share.")
    color: str = option("red", choices=words("red", "blue"), help="A color.")
    loud: bool = option(False, choices={"quiet": False, "loud": True}, help="How loud.")
    plain: int = 7

    def __post_init__(self) -> None:
        check_options(self)


def test_values_within_the_limits_are_kept() -> None:
    assert Sample() == Sample(None, 0.5, "red", False)
    assert Sample(count=2, share=1, color="blue", loud=True, plain=-9).share == 1
    assert option_of(dataclasses.fields(Sample)[-1]) is None
    assert option_of(dataclasses.fields(Sample)[0]) == Option("A count.", low=2)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"count": 1}, "at least 2"),
        ({"share": -0.1}, "between 0 and 1"),
        ({"share": 1.1}, "between 0 and 1"),
        ({"share": float("nan")}, "between 0 and 1"),
        ({"share": "0.5"}, "a number, not '0.5'"),
        ({"share": None}, "a number, not None"),
        ({"color": "green"}, "'red', 'blue', not 'green'"),
        ({"loud": "loud"}, "False, True, not 'loud'"),
    ],
)
def test_a_wrong_value_names_its_field(wrong: dict[str, Any], reason: str) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=f"^{name} must .*{reason}") as caught:
        Sample(**wrong)
    assert isinstance(caught.value, OptionError) and caught.value.name == name


def test_times_and_rates() -> None:
    times = {"90": 90, "12.48": Fraction(312, 25), "1:30": 90, "1:00:00.5": Fraction(7201, 2)}
    assert {text: parse_time(text) for text in times} == times
    assert parse_rate("30000/1001") == Fraction(30000, 1001)
    for wrong in ("soon", "-1", "1:2:3:4", "1e400", "1:-3", ""):
        with pytest.raises(ValueError, match="is not a time"):
            parse_time(wrong)
    for wrong in ("0", "-24", "1/0", "fast", "", "1e99999999", "9" * 5000):
        with pytest.raises(ValueError, match="is not a frame rate"):
            parse_rate(wrong)


def test_kinds_of_streams() -> None:
    assert parse_copy("none") == frozenset()
    assert parse_copy("audio, chapters") == {"audio", "chapters"}
    assert Settings(copy=parse_copy("all")) == Settings()
    with pytest.raises(ValueError, match="smell"):
        parse_copy("audio,smell")
    with pytest.raises(ValueError, match="copy takes audio"):
        Settings(copy=frozenset({"smell"}))


def test_a_segment_ends_after_its_start() -> None:
    assert Segment(Fraction(1), Fraction(2)).end == 2
    for end in (Fraction(1), Fraction(0)):
        with pytest.raises(ValueError, match="end must be later"):
            Segment(Fraction(1), end)


def test_references_and_their_strength() -> None:
    assert ColorizerOptions(references="a.png", reference_strength=0.5).references == "a.png"
    with pytest.raises(ValueError, match="reference_strength needs"):
        ColorizerOptions(reference_strength=0.5)
    for empty in ("", ["a.png", ""]):
        with pytest.raises(ValueError, match="references"):
            ColorizerOptions(references=empty)


def test_a_colorizer_takes_options_a_name_or_single_fields() -> None:
    chosen = ColorizerOptions(model="_ramp", device="cpu", size=64)
    by_fields = Colorizer(model="_ramp", device="cpu", size=64)
    assert Colorizer(chosen).options == by_fields.options == chosen
    other = Colorizer(chosen, size=96, tta=True)
    assert (other.size, other.name, other.options.tta) == (96, "_ramp", True)
    assert Colorizer("_ramp", device="cpu").name == "_ramp"
    with pytest.raises(TypeError, match="sharpness"):
        Colorizer(chosen, sharpness=2)
    with pytest.raises(ValueError, match="size must lie between"):
        Colorizer(chosen, size=31)


def test_an_encoder_is_not_its_name() -> None:
    with pytest.raises(TypeError, match="EncoderSettings"):
        Settings("ffv1")  # type: ignore[arg-type]


def _options(group: type[Any]) -> Iterator[tuple[str, Option | None]]:
    for each in dataclasses.fields(group):
        if not dataclasses.is_dataclass(each.default_factory) and each.name != "segment":
            yield each.name, option_of(each)


@pytest.mark.parametrize(
    "group", [Settings, ColorizerOptions, EncoderSettings, ColorAdjustment, Segment]
)
def test_every_field_is_an_option_with_a_help_text(group: type[Any]) -> None:
    found = dict(_options(group))
    assert found
    for name, known in found.items():
        assert known is not None, name
        assert known.help.endswith((".", "]")), name


@pytest.mark.parametrize(
    ("group", "name", "value", "reason"),
    [
        (Settings, "batch_size", 2.5, "must be a whole number or None, not 2.5"),
        (Settings, "batch_size", True, "must be a whole number or None, not True"),
        (Settings, "batch_size", "8", "must be a whole number or None, not '8'"),
        (Settings, "fps", 0, "must lie between 0.001 and 1e+06, not 0"),
        (Settings, "fps", 23.976, "must be a fraction or a whole number or None, not 23.976"),
        (Settings, "quality", None, "must be a whole number, not None"),
        (Settings, "stabilize", 1, "must be True or False, not 1"),
        (Settings, "copy", "audio", "must be several, each text, not 'audio'"),
        (ColorizerOptions, "model", 3, "must be text or None, not 3"),
        (ColorizerOptions, "weights", 3, "must be a path or None, not 3"),
        (ColorizerOptions, "references", (1,), "must be text or a path or several"),
        (EncoderSettings, "crf", "18", "must be a number or None, not '18'"),
    ],
)
def test_a_value_of_another_type_is_refused(
    group: type[Any], name: str, value: Any, reason: str
) -> None:
    with pytest.raises(VidcolorError) as raised:
        group(**{name: value})
    assert isinstance(raised.value, OptionError) and raised.value.name == name
    assert str(raised.value).startswith(f"{name} {reason}")


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [
        (Settings, "batch_size", np.int64(4)),
        (Settings, "fps", 25),
        (Settings, "fps", Fraction(30000, 1001)),
        (Settings, "copy", {"audio"}),
        (ColorizerOptions, "weights", "w.safetensors"),
        (ColorizerOptions, "references", ["a.png", Path("b.png")]),
        (EncoderSettings, "crf", 18),
    ],
)
def test_a_value_of_a_kindred_type_is_taken(group: type[Any], name: str, value: Any) -> None:
    assert getattr(group(**{name: value}), name) == value
