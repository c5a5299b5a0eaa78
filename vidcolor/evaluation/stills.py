"""Measure a colorizer on color pictures, with baselines.

Each picture is resized to cover a square (bicubic, antialiased) and center-cropped. The colorizer
gets its L*. The predicted a*b* is limited to the sRGB gamut, combined with the L* and rounded to
8-bit sRGB. The result is compared with the 8-bit truth.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

import torch
from torch import Tensor

from ..color.convert import MIN_CHROMA, lab_to_rgb, rgb_to_lab
from ..color.gamut import limit_chroma
from ..errors import InputError
from .folders import FolderRow, folder_rows
from .metrics import (
    NO_LPIPS,
    Lpips,
    colorfulness,
    load_lpips,
    margin_error,
    mean_squared_error,
    psnr_of_mse,
    ssim,
)
from .picture_sets import square, stream_pictures
from .sheets import PictureScore, choose_pictures, write_score_sheet

_BATCH = 8
MIN_SIZE = 11  # side of SSIM's window, pixels
_MIN_LPIPS_SIZE = 64  # pixels; below, AlexNet's last feature map is empty


Page = Callable[
    [Sequence[PictureScore], Callable[[Sequence[int]], tuple[Tensor, Tensor, Tensor]]], None
]
"""Writes something about the pictures. It gets their scores, and a function that makes gray,
prediction and truth of chosen ones, each R'G'B' `(N, 3, S, S)` in [0, 255]."""


class Predictor(Protocol):
    """A colorizer to measure: `Colorizer`, or any object with its `predict_full_size`."""

    def predict_full_size(self, lightness: Tensor) -> Tensor:
        """Predict a*b* `(B, 2, H, W)`, on any device, from L* `(B, 1, H, W)` in [0, 100]."""


@dataclass(frozen=True)
class EvalRow:
    """One method's results over the set.

    Attributes:
        name: `gray`, `mean ab`, `half chroma`, `truth`, or the model's name.
        psnr: mean over the pictures of their PSNR, dB; 100 for an exact picture.
        psnr_pooled: PSNR of the mean squared error over all pictures, dB.
        psnr_over_gray: `psnr` minus that of the row `gray`, dB.
        ssim: mean structural similarity.
        lpips: mean LPIPS (AlexNet, version 0.1); None without AlexNet's weights.
        colorfulness: mean Hasler-Suesstrunk colorfulness of the predictions, divided by the mean
            of the truth.
        margin_error: mean share of channel values with an error of 12 levels or more.
    """

    name: str
    psnr: float
    psnr_pooled: float
    psnr_over_gray: float
    ssim: float
    lpips: float | None
    colorfulness: float
    margin_error: float


@dataclass(frozen=True)
class EvalTable:
    """Results of the baselines and the model, and the pictures they were measured on.

    Attributes:
        rows: gray, mean ab, half chroma, truth, then the model.
        num_pictures: number of pictures measured.
        near_gray: number of pictures left out because their mean Lab chroma is below 2.
        unreadable: names of files that could not be read.
        size: side of the squares, pixels.
        notes: how the values were computed, one line each.
        pictures: the model's results on each picture, in the order of the input.
        folders: the model's results by folder, if the pictures lie in several.
    """

    rows: tuple[EvalRow, ...]
    num_pictures: int
    near_gray: int
    unreadable: tuple[str, ...]
    size: int
    notes: tuple[str, ...]
    pictures: tuple[PictureScore, ...] = ()
    folders: tuple[FolderRow, ...] = ()

    def to_dict(self, *, per_picture: bool = False) -> dict[str, Any]:
        """Convert to lists, dicts and numbers, for JSON; with `pictures` only if `per_picture`."""
        values = dataclasses.asdict(self)
        for key in ("rows", "unreadable", "notes", "pictures", "folders"):
            values[key] = list(values[key])
        if not per_picture:
            del values["pictures"]
        return values


class _Tally:
    """Measures of one row, by picture.

    Keeps numbers, not tensors: small tensors that stay split the free blocks of the heap, and the
    process grew by 14 MB a picture.
    """

    def __init__(self) -> None:
        self.columns: dict[str, list[float]] = {}

    def add(self, prediction: Tensor, truth: Tensor, distance: Tensor | None) -> None:
        mse = mean_squared_error(prediction, truth)
        measures = {
            "mse": mse,
            "psnr": psnr_of_mse(mse),
            "ssim": ssim(prediction, truth),
            "colorfulness": colorfulness(prediction),
            "margin_error": margin_error(prediction, truth),
        }
        if distance is not None:
            measures["lpips"] = distance
        for name, value in measures.items():
            self.columns.setdefault(name, []).extend(value.double().tolist())

    def mean(self, name: str) -> float:
        return fmean(self.columns[name])

    def scores(self, names: Sequence[str], gray: _Tally) -> tuple[PictureScore, ...]:
        columns, baseline = self.columns, gray.columns["psnr"]
        return tuple(
            PictureScore(
                name=name,
                psnr=columns["psnr"][i],
                psnr_over_gray=columns["psnr"][i] - baseline[i],
                ssim=columns["ssim"][i],
                lpips=columns["lpips"][i] if "lpips" in columns else None,
                margin_error=columns["margin_error"][i],
            )
            for i, name in enumerate(names)
        )

    def row(self, name: str, gray: _Tally, truth: _Tally) -> EvalRow:
        return EvalRow(
            name=name,
            psnr=self.mean("psnr"),
            psnr_pooled=float(psnr_of_mse(torch.tensor(self.mean("mse"), dtype=torch.float64))),
            psnr_over_gray=self.mean("psnr") - gray.mean("psnr"),
            ssim=self.mean("ssim"),
            lpips=self.mean("lpips") if "lpips" in self.columns else None,
            colorfulness=self.mean("colorfulness") / truth.mean("colorfulness"),
            margin_error=self.mean("margin_error"),
        )


def _to_rgb8(lightness: Tensor, ab: Tensor) -> Tensor:
    """Convert L* and gamut-limited a*b* to R'G'B' `(B, 3, H, W)`, float, integers in [0, 255]."""
    rgb = lab_to_rgb(torch.cat([lightness, limit_chroma(lightness, ab)], dim=1))
    return (rgb * 255).round()


def _batches(squares: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the truth `(B, 3, S, S)` in [0, 255] and its Lab, batch by batch."""
    for first in range(0, len(squares), _BATCH):
        truth = torch.stack(list(squares[first : first + _BATCH])).float()
        yield truth, rgb_to_lab(truth / 255)


def _distances(
    network: Lpips | None, predictions: Sequence[Tensor], truth: Tensor
) -> list[Tensor | None]:
    """LPIPS `(B,)` of each prediction; computes the truth's features once for all rows."""
    if network is None:
        return [None] * len(predictions)
    target = network.features(truth)
    return [
        network.distance(target if p is truth else network.features(p), target) for p in predictions
    ]


@torch.inference_mode()
def evaluate(
    colorizer: Predictor,
    pictures: Iterable[tuple[str, Tensor]],
    *,
    size: int = 256,
    lpips_weights: Path | None = None,
    name: str = "model",
    unreadable: Sequence[str] = (),
    sheet: Path | None = None,
    each: int = 4,
    pages: Sequence[Page] = (),
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> EvalTable:
    """Measure `colorizer` on color pictures.

    All squares are kept in memory at 8 bits (196 KB each at size 256), because the row `mean ab`
    needs the mean color of the set.

    Args:
        colorizer: see `Predictor`.
        pictures: name and R'G'B' `(3, H, W)` uint8, as from `picture_sets.stream_pictures`.
        size: side of the squares, at least 11; LPIPS needs 64.
        lpips_weights: AlexNet's weights. Without them and without torch's hub cache, LPIPS is left
            out and a note is added.
        name: name of the model's row.
        unreadable: names to report. Read after `pictures` is exhausted, so it may be the list that
            `stream_pictures` fills.
        sheet: a PNG to write, atomically: gray, prediction and truth of the pictures with the best,
            median and worst LPIPS (PSNR if there is no LPIPS).
        each: number of pictures of each of the three kinds; fewer if the set is small.
        pages: called at the end; see `Page`.
        progress: called with the number of pictures done and in all; the latter is None while the
            pictures are read.

    Raises:
        InputError: there is no color picture.
        WeightsError: `lpips_weights` cannot be used.
        OutputError: the sheet cannot be written.
        ValueError: `size` is below 11, or `each` below 1.
    """
    if each < 1:
        raise ValueError(f"each must be at least 1, not {each}")
    if size < MIN_SIZE:
        raise ValueError(f"size must be at least {MIN_SIZE}, not {size}")
    network = load_lpips(lpips_weights) if size >= _MIN_LPIPS_SIZE else None
    squares: list[Tensor] = []
    titles: list[str] = []
    near_gray = 0
    mean_ab = torch.zeros(1, 2, 1, 1, dtype=torch.float64)
    for title, picture in pictures:
        cropped = square(picture, size)
        ab = rgb_to_lab(cropped.float() / 255)[1:]
        if float(ab.square().sum(0).sqrt().mean()) < MIN_CHROMA:
            near_gray += 1
            continue
        squares.append(cropped)
        titles.append(title)
        mean_ab += ab.double().mean(dim=(1, 2))[None, :, None, None]
        progress(len(squares), None)
    if not squares:
        raise InputError(
            f"no color picture to measure on ({len(unreadable)} unreadable, {near_gray} "
            "near-gray); give a folder or zip of color photographs"
        )
    mean_ab /= len(squares)

    names = ("gray", "mean ab", "half chroma", "truth", name)
    tallies = [_Tally() for _ in names]
    done = 0
    for truth, lab in _batches(squares):
        lightness, ab = lab[:, :1], lab[:, 1:]
        predictions = (
            _to_rgb8(lightness, torch.zeros_like(ab)),
            _to_rgb8(lightness, mean_ab.to(ab.dtype).expand_as(ab)),
            _to_rgb8(lightness, ab / 2),
            truth,
            _to_rgb8(lightness, colorizer.predict_full_size(lightness).to(ab)),
        )
        distances = _distances(network, predictions, truth)
        for tally, prediction, distance in zip(tallies, predictions, distances, strict=True):
            tally.add(prediction, truth, distance)
        done += len(truth)
        progress(done, len(squares))

    gray, true = tallies[0], tallies[3]
    scores = tallies[4].scores(titles, gray)
    render = partial(_render, colorizer, squares)
    if sheet is not None:
        chosen = choose_pictures(scores, each)
        kinds = [(kind, scores[index]) for index, kind in chosen.items()]
        write_score_sheet(sheet, kinds, *render(list(chosen)))
    for page in pages:
        page(scores, render)
    return EvalTable(
        rows=tuple(t.row(n, gray, true) for n, t in zip(names, tallies, strict=True)),
        num_pictures=len(squares),
        near_gray=near_gray,
        unreadable=tuple(unreadable),
        size=size,
        notes=_notes(len(squares), near_gray, len(unreadable), size, network is not None),
        pictures=scores,
        folders=folder_rows(titles, tallies[4].columns, gray.columns, true.columns),
    )


def _render(
    colorizer: Predictor, squares: Sequence[Tensor], indices: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Gray, prediction (made again) and truth of some squares; see `Page`."""
    truths, grays, predictions = [], [], []
    for truth, lab in _batches([squares[index] for index in indices]):
        lightness, ab = lab[:, :1], lab[:, 1:]
        truths.append(truth)
        grays.append(_to_rgb8(lightness, torch.zeros_like(ab)))
        predictions.append(_to_rgb8(lightness, colorizer.predict_full_size(lightness).to(ab)))
    return torch.cat(grays), torch.cat(predictions), torch.cat(truths)


def _notes(
    count: int, near_gray: int, unreadable: int, size: int, has_lpips: bool
) -> tuple[str, ...]:
    notes = [
        f"{count} pictures, resized to cover {size}x{size} (bicubic, antialiased), center-cropped",
        f"left out: {near_gray} near-gray (mean Lab chroma under {MIN_CHROMA:g}), "
        f"{unreadable} unreadable",
        "PSNR: R'G'B', 8 bit, peak 255, mean over the pictures; pooled: of the mean squared error",
        "colorfulness: mean of the predictions / mean of the truth (Hasler and Suesstrunk 2003)",
        "an exact picture counts as 100 dB",
    ]
    if not has_lpips:
        notes.append(NO_LPIPS if size >= _MIN_LPIPS_SIZE else "no LPIPS below 64x64")
    return tuple(notes)


def evaluate_folders(
    colorizer: Predictor,
    paths: Sequence[Path],
    *,
    size: int = 256,
    lpips_weights: Path | None = None,
    name: str = "model",
    sheet: Path | None = None,
    each: int = 4,
    pages: Sequence[Page] = (),
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> EvalTable:
    """Call `evaluate` on every picture of the folders and zips `paths`.

    Raises:
        InputError: a path is neither a folder nor a zip, or there is no color picture.
        WeightsError: `lpips_weights` cannot be used.
        OutputError: the sheet cannot be written.
        ValueError: `size` is below 11, or `each` below 1.
    """
    unreadable: list[str] = []
    return evaluate(
        colorizer,
        stream_pictures(paths, unreadable),
        size=size,
        lpips_weights=lpips_weights,
        name=name,
        unreadable=unreadable,
        sheet=sheet,
        each=each,
        pages=pages,
        progress=progress,
    )
