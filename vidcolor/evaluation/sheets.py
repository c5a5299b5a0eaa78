"""Contact sheets: gray, prediction and truth of several pictures, side by side."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..system.files import replacing

ROW_HEIGHT = 96  # minimum height of a picture, pixels
COLUMN_WIDTH = 72  # minimum width of a column, pixels, so that its name fits
GUTTER = 4  # pixels between pictures
CAPTION = 18  # height of the line with the names of the columns, pixels
LABEL = 16  # height of the line below a row, pixels
COLUMNS = ("gray", "prediction", "target")
_TEXT_COLOR = (0, 0, 0)


def _enlarged(pictures: Tensor, factor: int) -> NDArray[np.uint8]:
    """Convert `(N, 1|3, H, W)` in [0, 1] to `(N, f H, f W, 3)` uint8; nan becomes black."""
    levels = (pictures.detach().float().cpu().nan_to_num(nan=0.0).clamp(0, 1) * 255).round()
    large = levels.to(torch.uint8).expand(-1, 3, -1, -1)
    large = large.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)
    tiles: NDArray[np.uint8] = large.permute(0, 2, 3, 1).contiguous().numpy()
    return tiles


def _check(columns: Sequence[Tensor], labels: Sequence[str] | None, names: Sequence[str]) -> None:
    for name, column in zip(names, columns, strict=True):
        if column.ndim != 4 or column.shape[1] not in (1, 3) or not column.numel():
            raise ValueError(f"{name} must be (N, 1 or 3, H, W), not {tuple(column.shape)}")
        if column.shape[0] != columns[0].shape[0] or column.shape[2:] != columns[0].shape[2:]:
            raise ValueError(
                f"{name} {tuple(column.shape)} differs in size from gray {tuple(columns[0].shape)}"
            )
    if labels is not None and len(labels) != len(columns[0]):
        raise ValueError(f"{len(labels)} labels for {len(columns[0])} pictures")


def write_contact_sheet(
    gray: Tensor,
    prediction: Tensor,
    target: Tensor,
    path: Path,
    labels: Sequence[str] | None = None,
    names: Sequence[str] = COLUMNS,
) -> None:
    """Write a PNG with one row for each picture: gray, prediction and target.

    Pictures lower than 96 pixels are enlarged by the smallest integer factor that makes them at
    least 96 pixels high, with nearest neighbor, so that single pixels are visible. Column k begins
    at x = GUTTER + k * (max(width, COLUMN_WIDTH) + GUTTER), the first row at y = CAPTION + GUTTER.

    Args:
        gray, prediction, target: `(N, 1, H, W)` or `(N, 3, H, W)` R'G'B' in [0, 1], with the same
            N, H and W, on any device. Values outside are clipped; nan, as from a diverged network,
            becomes black.
        path: the PNG; replaced atomically.
        labels: a line of text below each row, truncated to the width of the sheet.
        names: names of the three columns.

    Raises:
        ValueError: the shapes or the number of labels do not match.
        OutputError: the file cannot be written.
    """
    from PIL import Image, ImageDraw, ImageFont

    columns = (gray, prediction, target)
    _check(columns, labels, names)
    factor = max(1, math.ceil(ROW_HEIGHT / gray.shape[2]))
    tiles = [_enlarged(column, factor) for column in columns]
    height, width = tiles[0].shape[1:3]
    step_x = max(width, COLUMN_WIDTH) + GUTTER
    step_y = height + GUTTER + (LABEL if labels is not None else 0)
    canvas = np.full(
        (CAPTION + GUTTER + len(gray) * step_y, GUTTER + len(columns) * step_x, 3), 255, np.uint8
    )
    for k, column in enumerate(tiles):
        for row, tile in enumerate(column):
            y, x = CAPTION + GUTTER + row * step_y, GUTTER + k * step_x
            canvas[y : y + height, x : x + width] = tile
    sheet = Image.fromarray(canvas)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for k, name in enumerate(names):
        draw.text((GUTTER + k * step_x, 4), name, fill=_TEXT_COLOR, font=font)
    for row, label in enumerate(labels or ()):
        # the built-in font has only Latin-1
        text = " ".join(label.split()).encode("latin-1", "replace").decode("latin-1")
        while text and draw.textlength(text, font=font) > canvas.shape[1] - 2 * GUTTER:
            text = text[:-1]
        y = CAPTION + GUTTER + row * step_y + height + 2
        draw.text((GUTTER, y), text, fill=_TEXT_COLOR, font=font)
    data = io.BytesIO()
    sheet.save(data, format="PNG")
    with replacing(path) as temporary:
        temporary.write_bytes(data.getvalue())


_MAX_NAME = 60  # characters of a name on a sheet


@dataclass(frozen=True)
class PictureScore:
    """The model's results on one picture; see `stills.EvalRow`.

    Attributes:
        name: path of the file; in a zip `path:entry`.
        psnr_over_gray: `psnr` minus the PSNR of the gray picture, dB.
    """

    name: str
    psnr: float
    psnr_over_gray: float
    ssim: float
    lpips: float | None
    margin_error: float


def choose_pictures(scores: Sequence[PictureScore], each: int) -> dict[int, str]:
    """Choose the `each` best, median and worst pictures by LPIPS, or by PSNR if there is no LPIPS.

    From fewer than 3 `each` pictures, a third of each kind is chosen, at least one. No picture is
    chosen twice.

    Returns:
        `best`, `median` or `worst` by index into `scores`, from best to worst.
    """

    def error(index: int) -> float:
        score = scores[index]
        return -score.psnr if score.lpips is None else score.lpips

    order = sorted(range(len(scores)), key=error)
    each = max(1, min(each, len(order) // 3))
    middle = (len(order) - each) // 2
    chosen = dict.fromkeys(order[:each], "best")
    for indices, kind in ((order[middle : middle + each], "median"), (order[-each:], "worst")):
        for index in indices:
            chosen.setdefault(index, kind)
    return chosen


def spread(total: int, count: int) -> list[int]:
    """`count` indices below `total`, as evenly spread as possible; all of them if there are fewer.

    >>> spread(10, 4)
    [0, 3, 6, 9]
    """
    if count >= total:
        return list(range(total))
    return [round(i * (total - 1) / max(1, count - 1)) for i in range(count)]


def write_comparison(
    path: Path,
    count: int,
    scores: Sequence[PictureScore],
    render: Callable[[Sequence[int]], tuple[Tensor, Tensor, Tensor]],
) -> None:
    """Write a contact sheet of `count` pictures spread over the set, good and bad alike.

    Args:
        path: the PNG; replaced atomically.
        count: of pictures.
        scores: of all pictures.
        render: see `stills.Page`.

    Raises:
        OutputError: the file cannot be written.
    """
    chosen = spread(len(scores), count)
    pictures = [(str(number), scores[index]) for number, index in enumerate(chosen, start=1)]
    write_score_sheet(path, pictures, *render(chosen))


def _label(kind: str, score: PictureScore) -> str:
    lpips = "" if score.lpips is None else f"LPIPS {score.lpips:.3f}, "
    name = score.name
    if len(name) > _MAX_NAME:  # keep the end of a long path, which has the file's name
        name = f"...{name[-_MAX_NAME:]}"
    return f"{kind}: {lpips}PSNR {score.psnr:.1f} dB ({score.psnr_over_gray:+.1f}), {name}"


def write_score_sheet(
    path: Path,
    chosen: Sequence[tuple[str, PictureScore]],
    gray: Tensor,
    prediction: Tensor,
    truth: Tensor,
) -> None:
    """Write a contact sheet of chosen pictures, labeled with their scores.

    Args:
        path: the PNG; replaced atomically.
        chosen: kind (`best`, `median`, `worst`) and score of each picture.
        gray, prediction, truth: `(N, 3, H, W)` R'G'B' in [0, 255].

    Raises:
        OutputError: the file cannot be written.
    """
    write_contact_sheet(
        gray / 255,
        prediction / 255,
        truth / 255,
        path,
        labels=[_label(kind, score) for kind, score in chosen],
        names=("gray", "prediction", "truth"),
    )
