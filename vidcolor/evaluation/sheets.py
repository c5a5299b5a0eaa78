"""Sheets of pictures side by side: grey, prediction, target."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..system.files import replacing

ROW_HEIGHT = 96  # pixels that a picture is high at least
COLUMN_WIDTH = 72  # and wide, with white beside a narrower one, so that its caption fits
GUTTER = 4
CAPTION = 18  # height of the strip with the column's names
LABEL = 16  # and of a row's own line, below it
COLUMNS = ("grey", "prediction", "target")
_INK = (0, 0, 0)


def _bytes(pictures: Tensor, factor: int) -> np.ndarray:
    """`(N, 1|3, H, W)` in [0, 1] to `(N, f H, f W, 3)` uint8; nan is black, as it displays."""
    levels = (pictures.detach().float().cpu().nan_to_num(nan=0.0).clamp(0, 1) * 255).round()
    large = levels.to(torch.uint8).expand(-1, 3, -1, -1)
    large = large.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)
    return large.permute(0, 2, 3, 1).contiguous().numpy()


def _check(columns: Sequence[Tensor], labels: Sequence[str] | None, names: Sequence[str]) -> None:
    for name, column in zip(names, columns, strict=True):
        if column.ndim != 4 or column.shape[1] not in (1, 3) or not column.numel():
            raise ValueError(f"{name} must be (N, 1 or 3, H, W), not {tuple(column.shape)}")
        if column.shape[0] != columns[0].shape[0] or column.shape[2:] != columns[0].shape[2:]:
            raise ValueError(
                f"{name} {tuple(column.shape)} does not go with grey {tuple(columns[0].shape)}"
            )
    if labels is not None and len(labels) != len(columns[0]):
        raise ValueError(f"{len(labels)} labels for {len(columns[0])} pictures")


def comparison_sheet(
    grey: Tensor,
    prediction: Tensor,
    target: Tensor,
    path: Path,
    labels: Sequence[str] | None = None,
    names: Sequence[str] = COLUMNS,
) -> None:
    """Write a PNG with one row a picture: grey, prediction, target, under their names.

    Pictures lower than 96 pixels are enlarged by the least whole factor that makes them so, with
    nearest neighbour: what a small network made is to be seen pixel by pixel. The column k begins
    at x = GUTTER + k * (max(width, COLUMN_WIDTH) + GUTTER), the first row at y = CAPTION + GUTTER.

    Args:
        grey, prediction, target: `(N, 1, H, W)` or `(N, 3, H, W)` R'G'B' in [0, 1], all of one N,
            H and W, on any device. Values outside are clipped; nan, as a diverged net predicts
            it, is black.
        path: of the PNG, replaced atomically.
        labels: a line below each row, such as the picture's name and PSNR; cut to the width.
        names: of the three columns.

    Raises:
        ValueError: the shapes do not go together.
        OutputError: the file cannot be written.
    """
    from PIL import Image, ImageDraw, ImageFont

    columns = (grey, prediction, target)
    _check(columns, labels, names)
    factor = max(1, math.ceil(ROW_HEIGHT / grey.shape[2]))
    tiles = [_bytes(column, factor) for column in columns]
    height, width = tiles[0].shape[1:3]
    step_x = max(width, COLUMN_WIDTH) + GUTTER
    step_y = height + GUTTER + (LABEL if labels is not None else 0)
    canvas = np.full(
        (CAPTION + GUTTER + len(grey) * step_y, GUTTER + len(columns) * step_x, 3), 255, np.uint8
    )
    for k, column in enumerate(tiles):
        for row, tile in enumerate(column):
            y, x = CAPTION + GUTTER + row * step_y, GUTTER + k * step_x
            canvas[y : y + height, x : x + width] = tile
    sheet = Image.fromarray(canvas)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for k, name in enumerate(names):
        draw.text((GUTTER + k * step_x, 4), name, fill=_INK, font=font)
    for row, label in enumerate(labels or ()):
        # the built-in font knows Latin-1 alone
        text = " ".join(label.split()).encode("latin-1", "replace").decode("latin-1")
        while text and draw.textlength(text, font=font) > canvas.shape[1] - 2 * GUTTER:
            text = text[:-1]
        y = CAPTION + GUTTER + row * step_y + height + 2
        draw.text((GUTTER, y), text, fill=_INK, font=font)
    data = io.BytesIO()
    sheet.save(data, format="PNG")
    with replacing(path) as temporary:
        temporary.write_bytes(data.getvalue())


_LONGEST_NAME = 60  # characters of a name on a sheet


@dataclass(frozen=True)
class PictureScore:
    """The model's results on one picture; see `stills.EvalRow`.

    Attributes:
        name: the file's path; of a picture in a zip `path:entry`.
        gain: `psnr` above that of the picture left grey, dB.
    """

    name: str
    psnr: float
    gain: float
    ssim: float
    lpips: float | None
    margin_error: float


def choose_pictures(scores: Sequence[PictureScore], each: int) -> dict[int, str]:
    """Which pictures show how good a model is: `each` best, median and worst ones by LPIPS.

    Where there is no LPIPS, by PSNR. Of fewer than 3 `each` pictures a third of each kind is
    chosen, but at least one; no picture is chosen twice.

    Returns:
        `best`, `median` or `worst` by the picture's place in `scores`, from the best picture on.
    """

    def badness(place: int) -> float:
        score = scores[place]
        return -score.psnr if score.lpips is None else score.lpips

    order = sorted(range(len(scores)), key=badness)
    each = max(1, min(each, len(order) // 3))
    middle = (len(order) - each) // 2
    chosen = dict.fromkeys(order[:each], "best")
    for places, kind in ((order[middle : middle + each], "median"), (order[-each:], "worst")):
        for place in places:
            chosen.setdefault(place, kind)
    return chosen


def _label(kind: str, score: PictureScore) -> str:
    lpips = "" if score.lpips is None else f"LPIPS {score.lpips:.3f}, "
    name = score.name
    if len(name) > _LONGEST_NAME:  # the end of a long path says more than its beginning
        name = f"...{name[-_LONGEST_NAME:]}"
    return f"{kind}: {lpips}PSNR {score.psnr:.1f} dB ({score.gain:+.1f}), {name}"


def write_sheet(
    path: Path,
    chosen: Sequence[tuple[str, PictureScore]],
    grey: Tensor,
    prediction: Tensor,
    truth: Tensor,
) -> None:
    """Write a PNG with a row for each chosen picture, whole or not at all.

    Args:
        path: of the PNG; what was there is replaced.
        chosen: what each picture is (`best`, `median`, `worst`) and its figures.
        grey, prediction, truth: `(N, 3, H, W)` R'G'B' in [0, 255].

    Raises:
        OutputError: the file cannot be written.
    """
    comparison_sheet(
        grey / 255,
        prediction / 255,
        truth / 255,
        path,
        labels=[_label(kind, score) for kind, score in chosen],
        names=("grey", "prediction", "truth"),
    )
