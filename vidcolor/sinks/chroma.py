"""The file that holds a film's Cb, Cr alone: `plan_chroma` decides how it is written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import OutputError
from ..frames import PixelFormat, VideoInfo
from .container import CopyPlan, check_container
from .encoder_table import EncoderSettings
from .encoders import PLANAR_FORMATS, choose_pixel_format


@dataclass(frozen=True)
class ChromaPlan:
    """How a file of chroma is written.

    Attributes:
        file: its path and pixel format.
        encoder: that writes it.
        format: of the color frames whose Cb, Cr it holds.
    """

    file: CopyPlan
    encoder: EncoderSettings
    format: PixelFormat


def half_size(facts: VideoInfo) -> str:
    """Name of the 4:2:0 format of a film's bit depth, or the next higher one."""
    return min(
        (depth, name)
        for name, (depth, factors, _) in PLANAR_FORMATS.items()
        if factors == (2, 2) and depth >= facts.bit_depth
    )[1]


def plan_chroma(
    path: Path, facts: VideoInfo, pix_fmt: str | None, format: PixelFormat | None = None
) -> ChromaPlan:
    """Plan a film's file of chroma: FFV1 in Matroska, without loss, or ProRes in MOV.

    FFV1 takes the codes as they are. ProRes holds 10 bits, in 4:2:2 or 4:4:4: the codes are shifted
    up, and the rows of 4:2:0 come twice, so that only the codec itself loses something.

    Args:
        path: its suffix chooses.
        facts: of the film.
        pix_fmt: name of the format of the color frames; None for 4:2:0.
        format: that of a film which is written beside it, in place of `pix_fmt`.

    Raises:
        OutputError: it cannot be written.
    """
    if path.suffix.lower() not in (".mkv", ".mov"):
        raise OutputError(
            f"{path}: colors alone go into .mkv (FFV1, lossless) or .mov (ProRes); choose such a "
            "name with --output-chroma"
        )
    encoder = EncoderSettings("ffv1", pix_fmt=pix_fmt or half_size(facts))
    format = format or choose_pixel_format(facts, encoder)
    if format.rgb:
        raise OutputError(f"{path}: R'G'B' has no Cb, Cr; choose a Y'CbCr format with --pix-fmt")
    if path.suffix.lower() == ".mkv":
        encoder, file = replace(encoder, pix_fmt=format.name), format
    else:
        if format.bit_depth > 10:
            raise OutputError(
                f"{path}: ProRes does not hold the film's {format.bit_depth} bits; use "
                f"--output-chroma {path.with_suffix('.mkv')}"
            )
        name = "yuv444p10le" if format.subsampling == (1, 1) else "yuv422p10le"
        encoder = EncoderSettings("prores_ks", pix_fmt=name)
        file = choose_pixel_format(facts, encoder)
    plan = check_container(path, facts, encoder, frozenset(), format=file)
    return ChromaPlan(replace(plan, notes=()), encoder, format)
