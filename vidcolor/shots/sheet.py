"""Contact sheets of a film's shots."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..system.files import replacing

SHEET = 240  # longer side of a picture on a sheet, pixels
_COLUMNS, _MOST = 6, 240  # pictures of a sheet
_GAP, _LINE = 8, 16  # pixels between pictures, and of the text below each


def write_sheet(folder: Path, pictures: Sequence[NDArray[np.uint8]], labels: Sequence[str]) -> None:
    """Write `sheet.png`, and `sheet_2.png` and so on for more than 240 pictures.

    Args:
        folder: of the sheets.
        pictures: `(h, w)` gray, at most `SHEET` pixels a side.
        labels: a line of text for each.

    Raises:
        OutputError: a file cannot be written.
    """
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default()
    for page, first in enumerate(range(0, len(pictures), _MOST), 1):
        part = list(zip(pictures[first:], labels[first:], strict=True))[:_MOST]
        width = max(picture.shape[1] for picture, _ in part) + _GAP
        height = max(picture.shape[0] for picture, _ in part) + _GAP + _LINE
        columns = min(_COLUMNS, len(part))
        rows = -(-len(part) // columns)
        sheet = Image.new("L", (columns * width + _GAP, rows * height + _GAP), 255)
        draw = ImageDraw.Draw(sheet)
        for i, (picture, label) in enumerate(part):
            x, y = _GAP + i % columns * width, _GAP + i // columns * height
            sheet.paste(Image.fromarray(picture), (x, y))
            draw.text((x, y + picture.shape[0] + 2), label, fill=0, font=font)
        data = io.BytesIO()
        sheet.save(data, format="PNG")
        with replacing(folder / ("sheet.png" if page == 1 else f"sheet_{page}.png")) as path:
            path.write_bytes(data.getvalue())
