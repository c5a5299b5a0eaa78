"""Which pictures show how good a model is, and a sheet of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..sheets import comparison_sheet

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
