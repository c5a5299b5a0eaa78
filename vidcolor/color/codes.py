"""Integer codes of luma and chroma planes, and the values that they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Codes = NDArray[Any]  # uint8 or uint16

# Kr, Kb of the Y'CbCr matrices, under FFmpeg's names. Source: ITU-T H.273, table 4.
LUMA_COEFFICIENTS = {
    "bt709": (0.2126, 0.0722),
    "smpte170m": (0.299, 0.114),
    "bt470bg": (0.299, 0.114),
    "fcc": (0.30, 0.11),
    "smpte240m": (0.212, 0.087),
    "bt2020nc": (0.2627, 0.0593),
}
# MatrixCoefficients of the same matrices. Source: ITU-T H.273, table 4.
MATRIX_CODES = {
    "bt709": 1,
    "fcc": 4,
    "bt470bg": 5,
    "smpte170m": 6,
    "smpte240m": 7,
    "bt2020nc": 9,
}


def luma_levels(bit_depth: int, full_range: bool) -> tuple[int, int]:
    """Integer codes of black and white in a luma plane. Source: ITU-T H.273, eq. 20 to 25."""
    if full_range:
        return 0, (1 << bit_depth) - 1
    return 16 << (bit_depth - 8), 235 << (bit_depth - 8)


def luma_to_gray(luma: Tensor, bit_depth: int, full_range: bool) -> Tensor:
    """Convert integer luma codes to float32 gray levels in [0, 1], any shape.

    Codes below black and above white are clipped.
    """
    black, white = luma_levels(bit_depth, full_range)
    return ((luma.to(torch.float32) - black) / (white - black)).clamp_(0, 1)


def quantize_luma(luma: Tensor, bit_depth: int, full_range: bool) -> Tensor:
    """Round Y' in [0, 1] to integer codes (uint8, or int32 above 8 bits), any shape."""
    black, white = luma_levels(bit_depth, full_range)
    codes = (luma * (white - black) + black).round_().clamp_(black, white)
    return codes.to(torch.uint8 if bit_depth == 8 else torch.int32)


def quantize_chroma(chroma: Tensor, bit_depth: int, full_range: bool) -> Tensor:
    """Round Cb or Cr in [-0.5, 0.5] to integer codes (uint8, or int32 above 8 bits), any shape.

    Source: ITU-T H.273, eq. 24, 25 and 30 to 33: limited range spans 224 steps at 8 bits.
    """
    top = (1 << bit_depth) - 1
    span = top if full_range else 224 << (bit_depth - 8)
    codes = (chroma * span + (1 << (bit_depth - 1))).round_().clamp_(0, top)
    return codes.to(torch.uint8 if bit_depth == 8 else torch.int32)


def dequantize_chroma(codes: Tensor, bit_depth: int, full_range: bool) -> Tensor:
    """Convert integer Cb or Cr codes to float32 in [-0.5, 0.5]; inverts `quantize_chroma`."""
    span = (1 << bit_depth) - 1 if full_range else 224 << (bit_depth - 8)
    return (codes.to(torch.float32) - (1 << (bit_depth - 1))) / span


def luma_of_rgb(rgb: Codes) -> Codes:
    """BT.601 luma of R'G'B' `(H, W, 3)`, uint8 or uint16, full range; R = G = B stays exact."""
    weights = np.array([9798, 19235, 3735], np.uint32)  # sum to 2 ** 15
    luma: Codes = ((rgb @ weights + (1 << 14)) >> 15).astype(rgb.dtype)
    return luma
