"""3D LUTs in the `.cube` format, which editing programs and players apply."""

from __future__ import annotations

import torch

from .adjust import ColorAdjustment
from .convert import lab_to_rgb, rgb_to_lab
from .gamut import limit_chroma

SIZE = 33  # points along each axis, as most programs take


def cube(adjustment: ColorAdjustment, title: str) -> str:
    """A color adjustment as the text of a `.cube` file: R'G'B' in [0, 1], red runs first.

    Lightness is kept, and colors outside sRGB lose chroma, as when a film is composed. Source:
    Cube LUT Specification 1.0 (Adobe Systems, 2013).

    Args:
        adjustment: what the LUT is to do.
        title: printable, without a quotation mark.
    """
    steps = torch.linspace(0, 1, SIZE, dtype=torch.float64)
    blue, green, red = torch.meshgrid(steps, steps, steps, indexing="ij")
    lab = rgb_to_lab(torch.stack([red, green, blue]).view(1, 3, SIZE, SIZE**2))
    light, ab = lab[:, :1], adjustment.apply(lab[:, 1:], lab[:, :1])
    rgb = lab_to_rgb(torch.cat([light, limit_chroma(light, ab)], dim=1)).clamp(0, 1)
    rows = (" ".join(f"{value:.6f}" for value in row) for row in rgb.view(3, -1).T.tolist())
    return "\n".join([f'TITLE "{title}"', f"LUT_3D_SIZE {SIZE}", *rows]) + "\n"
