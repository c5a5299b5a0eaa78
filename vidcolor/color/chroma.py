"""The Cb, Cr of a film in a file of their own: their codes there, and back."""

from __future__ import annotations

import torch
from torch import Tensor

from ..frames import ColorBatch, PixelFormat


def chroma_only(color: ColorBatch, format: PixelFormat) -> ColorBatch:
    """A batch as a file of chroma holds it: its Cb, Cr under a luma that is the same everywhere.

    Args:
        color: Y'CbCr.
        format: of the file: as many bits or more, and the batch's chroma subsampling; or 4:2:2 for
            4:2:0, where each row comes twice.
    """
    shift = format.bit_depth - color.format.bit_depth
    dtype = torch.uint8 if format.bit_depth == 8 else torch.int32
    height = color.planes[0].shape[1]
    luma = torch.full_like(color.planes[0], 1 << (format.bit_depth - 1), dtype=dtype)
    chroma = [plane.to(dtype) << shift for plane in color.planes[1:]]
    if _doubled(format, color.format):
        chroma = [plane.repeat_interleave(2, dim=1)[:, :height] for plane in chroma]
    return ColorBatch((luma, chroma[0], chroma[1]), format, color.source)


def chroma_back(plane: Tensor, file: PixelFormat, format: PixelFormat) -> Tensor:
    """The codes of a plane that `chroma_only` has put into a file.

    Args:
        plane: `(h, w)` Cb or Cr codes of the file, of any integer type.
        file: format of the file.
        format: that the codes had before.

    Returns:
        `(h', w)` codes, uint8, or int32 above 8 bits.
    """
    codes, shift = plane.to(torch.int32), file.bit_depth - format.bit_depth
    if _doubled(file, format):
        codes = codes[::2] + torch.cat([codes[1::2], codes[-1:]])[: len(codes[::2])]
        shift += 1
    if shift:
        codes = (codes + (1 << (shift - 1))) >> shift
    codes = codes.clamp(0, (1 << format.bit_depth) - 1)
    return codes.to(torch.uint8) if format.bit_depth == 8 else codes


def _doubled(file: PixelFormat, format: PixelFormat) -> bool:
    return format.subsampling[1] == 2 and file.subsampling[1] == 1
