"""What the codes of a film mean as colors, by its tags or, without any, by its size."""

from __future__ import annotations

from fractions import Fraction

import av

from ..color.codes import MATRIX_CODES
from ..errors import InputError
from ..frames import UNSPECIFIED, ColorTags
from .luma import LumaLayout

# The other codes (YCgCo, constant luminance, ICtCp) are no plain matrices: players guess there,
# and so does `_matrix`.
_MATRICES = {code: name for name, code in MATRIX_CODES.items()}
# Constant luminance of BT.2020, and ICtCp: their luma is no weighted mean of R'G'B'.
_NO_MATRICES = (10, 13, 14)
_RANGES = {1: False, 2: True}  # AVColorRange: 1 is MPEG (limited), 2 is JPEG (full)

# Code points of ITU-T H.273: BT.709; BT.601 with 625 lines; BT.601 with 525 lines. Both kinds of
# BT.601 have transfer 6.
_BT709, _BT601_625, _BT601_525 = ("bt709", 1, 1), ("bt470bg", 5, 6), ("smpte170m", 6, 6)
_HIGH_DEFINITION = 720  # lines from which players assume BT.709
_LINES_625, _RATES_625 = (288, 576, 608), (Fraction(25), Fraction(50))


def _matrix(code: int, height: int) -> str:
    return _MATRICES.get(code, "bt709" if height >= _HIGH_DEFINITION else "smpte170m")


def is_full_range(frame: av.VideoFrame, form: LumaLayout) -> bool:
    """The range of the codes that `luma_plane` gives for this frame."""
    if not form.has_luma:
        return True  # computed from R'G'B' at full range
    return _RANGES.get(int(frame.color_range), form.full_range)


def read_tags(
    frame: av.VideoFrame, form: LumaLayout, rate: Fraction | None
) -> tuple[ColorTags, tuple[str, ...]]:
    """The meaning of a frame's codes, and a note where it is assumed for standard definition.

    A Y'CbCr film without any tag is taken as players take it: as BT.709 from 720 lines on, below
    as BT.601 with its primaries, those of 625 lines (ITU-R BT.470 B, G) where the lines or the
    frame rate are PAL's, else those of 525 lines (SMPTE 170M).

    Args:
        frame: as decoded.
        form: layout of its pixel format.
        rate: frames a second, None for unknown.

    Raises:
        InputError: the colors are coded in a way that is not written; the message names no file.
    """
    full = is_full_range(frame, form)
    codes = tuple(
        int(code) or UNSPECIFIED
        for code in (frame.colorspace, frame.color_primaries, frame.color_trc)
    )
    if codes[0] in _NO_MATRICES:
        raise InputError(
            "its colors are coded as ICtCp or with constant luminance; convert it to BT.2020 with "
            "non-constant luminance"
        )
    if set(codes) != {UNSPECIFIED} or not form.has_luma:
        return ColorTags(full, _matrix(codes[0], frame.height), codes[1], codes[2]), ()
    if frame.height >= _HIGH_DEFINITION:
        return ColorTags(full, *_BT709), ()
    lines = 625 if frame.height in _LINES_625 or rate in _RATES_625 else 525
    tags = ColorTags(full, *(_BT601_625 if lines == 625 else _BT601_525))
    if len(frame.format.components) < 3:
        return tags, ()  # gray means the same in all of them
    return tags, (f"has no color tags; it is taken, and tagged, as BT.601 with {lines} lines",)
