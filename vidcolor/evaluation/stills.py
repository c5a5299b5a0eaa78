"""Measuring a colorizer on colour pictures, beside the floors that keep the numbers honest.

Each picture is resized to cover a square (bicubic, antialiased) and centre-cropped. Its L* goes to
the colorizer, the predicted a*b* is limited to the sRGB gamut, joined to the L* and rounded to
8-bit sRGB, and this is compared with the 8-bit truth.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ..color import lab_to_rgb, rgb_to_lab
from ..errors import InputError
from ..gamut import limit_chroma
from ..metrics import (
    MIN_CHROMA,
    NO_LPIPS,
    Lpips,
    colourfulness,
    load_lpips,
    margin_error,
    mean_squared_error,
    psnr_of_mse,
    ssim,
)
from ..sources.packs import square, stream_pictures
from .folders import FolderRow, folder_rows
from .sheet import PictureScore, choose_pictures, write_sheet

_BATCH = 8
LEAST_SIZE = 11  # SSIM's window
_LEAST_FOR_LPIPS = 64  # below it AlexNet's last feature map is empty


class Predictor(Protocol):
    """What is measured: `Colorizer`, or anything with its `predict`."""

    def predict(self, lightness: Tensor) -> Tensor:
        """L* `(B, 1, H, W)` in [0, 100] to a*b* `(B, 2, H, W)`, on any device."""


@dataclass(frozen=True)
class EvalRow:
    """One method's results over the set.

    Attributes:
        name: `grey`, `mean ab`, `half chroma`, `truth`, or the model's name.
        psnr: mean over the pictures of their PSNR, dB; 100 for an exact picture.
        psnr_pooled: PSNR of the mean squared error over all pictures, dB.
        gain: `psnr` above the row `grey`, dB.
        ssim: mean structural similarity.
        lpips: mean LPIPS (AlexNet 0.1), None where the features are not at hand.
        colourfulness: mean Hasler-Suesstrunk colourfulness of the predictions divided by the mean
            of the truth.
        margin_error: mean share of channel values off by 12 of 255 or more.
    """

    name: str
    psnr: float
    psnr_pooled: float
    gain: float
    ssim: float
    lpips: float | None
    colourfulness: float
    margin_error: float


@dataclass(frozen=True)
class EvalTable:
    """The rows, and on what they were measured.

    Attributes:
        rows: grey, mean ab, half chroma, truth, then the model.
        num_pictures: pictures measured.
        near_grey: pictures left out because their mean Lab chroma is below 2.
        unreadable: names of files that could not be read.
        size: side of the squares, pixels.
        notes: how the numbers came about, one line each, for a reader of the table.
        pictures: the model's results on each picture, in the order they came.
        folders: the model's results by folder, where the pictures lie in several.
    """

    rows: tuple[EvalRow, ...]
    num_pictures: int
    near_grey: int
    unreadable: tuple[str, ...]
    size: int
    notes: tuple[str, ...]
    pictures: tuple[PictureScore, ...] = ()
    folders: tuple[FolderRow, ...] = ()

    def to_dict(self, *, per_picture: bool = False) -> dict[str, Any]:
        """Plain lists, dicts and numbers, for JSON; `pictures` only where asked for."""
        values = dataclasses.asdict(self)
        for key in ("rows", "unreadable", "notes", "pictures", "folders"):
            values[key] = list(values[key])
        if not per_picture:
            del values["pictures"]
        return values


class _Tally:
    """Sums of one row's measures."""

    def __init__(self) -> None:
        self.values: dict[str, list[Tensor]] = {}

    def add(self, prediction: Tensor, truth: Tensor, distance: Tensor | None) -> None:
        mse = mean_squared_error(prediction, truth)
        measures = {
            "mse": mse,
            "psnr": psnr_of_mse(mse),
            "ssim": ssim(prediction, truth),
            "colourfulness": colourfulness(prediction),
            "margin_error": margin_error(prediction, truth),
        }
        if distance is not None:
            measures["lpips"] = distance
        for name, value in measures.items():
            self.values.setdefault(name, []).append(value.double().cpu())

    def mean(self, name: str) -> float:
        return float(torch.cat(self.values[name]).mean())

    def columns(self) -> dict[str, list[float]]:
        return {name: torch.cat(values).tolist() for name, values in self.values.items()}

    def scores(self, names: Sequence[str], grey: _Tally) -> tuple[PictureScore, ...]:
        keys = ("psnr", "ssim", "margin_error", "lpips")
        columns = {key: torch.cat(self.values[key]).tolist() for key in keys if key in self.values}
        floor = torch.cat(grey.values["psnr"]).tolist()
        return tuple(
            PictureScore(
                name=name,
                psnr=columns["psnr"][i],
                gain=columns["psnr"][i] - floor[i],
                ssim=columns["ssim"][i],
                lpips=columns["lpips"][i] if "lpips" in columns else None,
                margin_error=columns["margin_error"][i],
            )
            for i, name in enumerate(names)
        )

    def row(self, name: str, grey: _Tally, truth: _Tally) -> EvalRow:
        return EvalRow(
            name=name,
            psnr=self.mean("psnr"),
            psnr_pooled=float(psnr_of_mse(torch.tensor(self.mean("mse"), dtype=torch.float64))),
            gain=self.mean("psnr") - grey.mean("psnr"),
            ssim=self.mean("ssim"),
            lpips=self.mean("lpips") if "lpips" in self.values else None,
            colourfulness=self.mean("colourfulness") / truth.mean("colourfulness"),
            margin_error=self.mean("margin_error"),
        )


def _join(lightness: Tensor, ab: Tensor) -> Tensor:
    """L* and gamut-limited a*b* as 8-bit R'G'B' levels, `(B, 3, H, W)` float in [0, 255]."""
    rgb = lab_to_rgb(torch.cat([lightness, limit_chroma(lightness, ab)], dim=1))
    return (rgb * 255).round()


def _batches(squares: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """The truth `(B, 3, S, S)` in [0, 255] and its Lab, batch by batch."""
    for first in range(0, len(squares), _BATCH):
        truth = torch.stack(list(squares[first : first + _BATCH])).float()
        yield truth, rgb_to_lab(truth / 255)


def _distances(
    network: Lpips | None, predictions: Sequence[Tensor], truth: Tensor
) -> list[Tensor | None]:
    """LPIPS `(B,)` of each prediction; the truth's features are computed once for all rows."""
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
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> EvalTable:
    """Measure `colorizer` on colour pictures.

    The squares are kept in memory as 8 bits (196 KB each at 256): the set's mean colour must be
    known before the row `mean ab` can be measured.

    Args:
        colorizer: see `Predictor`.
        pictures: name and R'G'B' `(3, H, W)` uint8; `sources.packs.stream_pictures` gives them.
        size: side of the squares, at least 11; LPIPS needs 64.
        lpips_weights: AlexNet's weights; without them and without torch's hub cache there is no
            LPIPS, and a note says so.
        name: of the model's row.
        unreadable: names to report; read after `pictures` is used up, so it may be the list that
            `stream_pictures` fills.
        sheet: a PNG file to write, whole or not at all, with the pictures of the best, the median
            and the worst LPIPS (PSNR where there is no LPIPS): grey, prediction and truth.
        each: pictures of each of the three kinds; fewer where the set is small.
        progress: called with the pictures done and their number; the number is None while the
            pictures are read.

    Raises:
        InputError: no colour picture is left.
        WeightsError: `lpips_weights` cannot be used.
        OutputError: the sheet cannot be written.
        ValueError: `size` is below 11, or `each` below 1.
    """
    if each < 1:
        raise ValueError(f"each must be at least 1, not {each}")
    if size < LEAST_SIZE:
        raise ValueError(f"size must be at least {LEAST_SIZE}, not {size}")
    network = load_lpips(lpips_weights) if size >= _LEAST_FOR_LPIPS else None
    squares: list[Tensor] = []
    titles: list[str] = []
    near_grey = 0
    mean_ab = torch.zeros(1, 2, 1, 1, dtype=torch.float64)
    for title, picture in pictures:
        cropped = square(picture, size)
        ab = rgb_to_lab(cropped.float() / 255)[1:]
        if float(ab.square().sum(0).sqrt().mean()) < MIN_CHROMA:
            near_grey += 1
            continue
        squares.append(cropped)
        titles.append(title)
        mean_ab += ab.double().mean(dim=(1, 2))[None, :, None, None]
        progress(len(squares), None)
    if not squares:
        raise InputError(
            f"no colour picture to measure on ({len(unreadable)} unreadable, {near_grey} "
            "near-grey); give a folder or zip of colour photographs"
        )
    mean_ab /= len(squares)

    names = ("grey", "mean ab", "half chroma", "truth", name)
    tallies = [_Tally() for _ in names]
    done = 0
    for truth, lab in _batches(squares):
        lightness, ab = lab[:, :1], lab[:, 1:]
        predictions = (
            _join(lightness, torch.zeros_like(ab)),
            _join(lightness, mean_ab.to(ab.dtype).expand_as(ab)),
            _join(lightness, ab / 2),
            truth,
            _join(lightness, colorizer.predict(lightness).to(ab)),
        )
        distances = _distances(network, predictions, truth)
        for tally, prediction, distance in zip(tallies, predictions, distances, strict=True):
            tally.add(prediction, truth, distance)
        done += len(truth)
        progress(done, len(squares))

    grey, true = tallies[0], tallies[3]
    scores = tallies[4].scores(titles, grey)
    if sheet is not None:
        _draw(sheet, colorizer, squares, scores, each)
    return EvalTable(
        rows=tuple(t.row(n, grey, true) for n, t in zip(names, tallies, strict=True)),
        num_pictures=len(squares),
        near_grey=near_grey,
        unreadable=tuple(unreadable),
        size=size,
        notes=_notes(len(squares), near_grey, len(unreadable), size, network is not None),
        pictures=scores,
        folders=folder_rows(titles, tallies[4].columns(), grey.columns(), true.columns()),
    )


def _draw(
    path: Path,
    colorizer: Predictor,
    squares: Sequence[Tensor],
    scores: Sequence[PictureScore],
    each: int,
) -> None:
    """Write the sheet of the best, median and worst pictures; only they are predicted again."""
    chosen = choose_pictures(scores, each)
    truths, greys, predictions = [], [], []
    for truth, lab in _batches([squares[place] for place in chosen]):
        lightness, ab = lab[:, :1], lab[:, 1:]
        truths.append(truth)
        greys.append(_join(lightness, torch.zeros_like(ab)))
        predictions.append(_join(lightness, colorizer.predict(lightness).to(ab)))
    columns = (torch.cat(greys), torch.cat(predictions), torch.cat(truths))
    write_sheet(path, [(kind, scores[place]) for place, kind in chosen.items()], *columns)


def _notes(
    count: int, near_grey: int, unreadable: int, size: int, has_lpips: bool
) -> tuple[str, ...]:
    notes = [
        f"{count} pictures, resized to cover {size}x{size} (bicubic, antialiased), centre-cropped",
        f"left out: {near_grey} near-grey (mean Lab chroma under {MIN_CHROMA:g}), "
        f"{unreadable} unreadable",
        "PSNR: R'G'B', 8 bit, peak 255, mean over the pictures; pooled: of the mean squared error",
        "colourfulness: mean of the predictions / mean of the truth (Hasler and Suesstrunk 2003)",
        "an exact picture counts as 100 dB",
    ]
    if not has_lpips:
        notes.append(NO_LPIPS if size >= _LEAST_FOR_LPIPS else "no LPIPS below 64x64")
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
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> EvalTable:
    """`evaluate` on every picture of the folders and zips `paths`.

    Raises:
        InputError: a path is neither a folder nor a zip, or no colour picture is left.
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
        progress=progress,
    )
