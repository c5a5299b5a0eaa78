"""Numbered pictures as an output, before the work starts: their formats, what they keep of a film,
and whether they would replace a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av

from ..errors import OutputError
from ..frames import ColorTags, PixelFormat, VideoInfo
from ..system.sequences import existing_numbers, is_pattern, sequence_file
from .container import CopyPlan
from .encoder_table import EncoderSettings
from .files import writing
from .muxing import frame_rate

SRGB_PRIMARIES, SRGB_TRANSFER = 1, 13  # H.273 code points


@dataclass(frozen=True)
class Kind:
    """How one kind of picture is written: FFmpeg's encoder, its pixel formats by bits of a channel,
    and its options."""

    codec: str
    formats: dict[int, str]
    options: dict[str, str] = field(default_factory=dict)


_TIFF = Kind("tiff", {8: "rgb24", 16: "rgb48le"}, {"compression_algo": "deflate"})
KINDS = {
    ".dpx": Kind("dpx", {8: "rgb24", 10: "gbrp10be", 12: "gbrp12be", 16: "rgb48be"}),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".png": Kind("png", {8: "rgb24", 16: "rgb48be"}),
    ".exr": Kind("exr", {16: "gbrpf32le"}, {"format": "half", "compression": "zip16"}),
}


_OTHERS = ("", ".bmp", ".jp2", ".jpeg", ".jpg", ".tga", ".webp")  # would be pictures too


def is_sequence(output: Path) -> bool:
    """Whether an output is a numbered sequence: a pattern that ends as pictures do."""
    return is_pattern(output) and output.suffix.lower() in (*KINDS, *_OTHERS)


def first_number(facts: VideoInfo, start: Fraction | None) -> int:
    """Number of the first picture of a film from `start` seconds on: a sequence keeps the numbers
    of its files, a film begins at 1; a later start moves them along."""
    origin = 1 if facts.first_number is None else facts.first_number
    return origin + round((start or 0) * frame_rate(facts))


def check_sequence(
    output: Path, first: int, count: int | None, *, overwrite: bool, inputs: Sequence[Path] = ()
) -> None:
    """Refuse a numbered sequence some of whose files exist.

    Args:
        output: the pattern.
        first, count: the numbers that will be written; a count of None is open.
        overwrite: existing files may be replaced,
        inputs: but not these.

    Raises:
        OutputError: a file exists, or the folder cannot be read.
    """
    with writing(output):
        taken = existing_numbers(output)
    last = max(taken, default=0) if count is None else first + count - 1
    found = [sequence_file(output, each) for each in sorted(taken) if first <= each <= last]
    originals = {each.resolve() for each in inputs}
    if own := [path for path in found if path.resolve() in originals]:
        raise OutputError(f"{own[0]}: the output is the input itself; choose another name with -o")
    if found and not overwrite:
        raise OutputError(
            f"{found[0]}: already exists; give --overwrite to replace it or --skip-existing"
        )


def plan_sequence(output: Path, facts: VideoInfo, settings: EncoderSettings) -> CopyPlan:
    """What a numbered sequence contains of a film, and what it does not.

    Raises:
        OutputError: pictures of this kind are not written, or not with these settings.
    """
    kind = KINDS.get(output.suffix.lower())
    if kind is None:
        raise OutputError(
            f"{output}: numbered pictures are written as {', '.join(KINDS)}; use one of these "
            "suffixes with -o"
        )
    if replace(settings, pix_fmt=None) != EncoderSettings():
        raise OutputError(
            f"{output}: numbered pictures have no --encoder, --crf or --preset; leave them out"
        )
    bits = max(each.bits for each in av.VideoFormat(facts.pix_fmt).components)
    depth = next((depth for depth in kind.formats if depth >= bits), max(kind.formats))
    if settings.pix_fmt is not None:
        chosen = [depth for depth, name in kind.formats.items() if name == settings.pix_fmt]
        if not chosen:
            raise OutputError(
                f"{output}: {output.suffix} takes --pix-fmt {', '.join(kind.formats.values())}"
            )
        depth = chosen[0]
    tags = ColorTags(True, facts.tags.matrix, SRGB_PRIMARIES, SRGB_TRANSFER)
    format = PixelFormat(kind.formats[depth], depth, (1, 1), True, tags)
    return CopyPlan(output, format, (), 0, tuple(_lost(facts, kind.codec)))


def keeps_timecode(codec: str, facts: VideoInfo) -> bool:
    """Whether the timecode goes into the pictures: one that drops frames counts to 30 or to 60, and
    DPX has room for 40 frames a second."""
    base = round(frame_rate(facts))
    drops = facts.timecode[-3:-2] not in ("", ":")
    return codec == "dpx" and base <= 40 and not (drops and base % 30)


def _lost(facts: VideoInfo, codec: str) -> list[str]:
    """One line for each thing that numbered pictures do not keep."""
    kinds = [each.kind for each in facts.streams if each.kind in ("audio", "subtitle")]
    what = [word for word, name in (("sound", "audio"), ("subtitles", "subtitle")) if name in kinds]
    what += ["chapters"] if facts.num_chapters else []
    notes = [f"numbered pictures keep no {' and no '.join(what)}"] if what else []
    if facts.first_number is None:
        rate = f"{frame_rate(facts)} frames a second"
        notes.append(f"numbered pictures keep no times; play them at {rate}")
    if facts.timecode and not keeps_timecode(codec, facts):
        notes.append(f"the timecode {facts.timecode} is not kept")
    if facts.field_order:
        notes.append("numbered pictures do not say that the frames are interlaced")
    return notes + [f"{each} is not kept" for each in facts.extras]
