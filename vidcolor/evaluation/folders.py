"""A model's figures by the folder that the pictures lie in: one kind of picture a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class FolderRow:
    """A model's results on the pictures of one folder; see `stills.EvalRow`.

    Attributes:
        name: the folder's; empty for pictures that lie in none.
        num_pictures: how many were measured.
        gray_psnr, gray_lpips: of the pictures left gray.
        psnr, psnr_over_gray, lpips, margin_error: means of the model's.
        colorfulness: mean of the predictions divided by the mean of the truth.
    """

    name: str
    num_pictures: int
    gray_psnr: float
    gray_lpips: float | None
    psnr: float
    psnr_over_gray: float
    lpips: float | None
    colorfulness: float
    margin_error: float


def folder_of(name: str) -> str:
    """The name of the folder that a picture lies in; empty for none.

    >>> folder_of("pack.zip:masks/012.webp"), folder_of("scans/sea/1.png"), folder_of("1.png")
    ('masks', 'sea', '')
    """
    path = name.rpartition(":")[2]
    return path.split("/")[-2] if "/" in path else ""


Columns = Mapping[str, Sequence[float]]  # a measure's name: its value of each picture


def folder_rows(
    names: Sequence[str], model: Columns, gray: Columns, truth: Columns
) -> tuple[FolderRow, ...]:
    """The rows of all folders, by name; none where all pictures lie in one.

    Args:
        names: of the pictures, paths, in a zip `path:entry`.
        model, gray, truth: measures of each picture; `lpips` may be missing.
    """
    members: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        members.setdefault(folder_of(name), []).append(place)
    if len(members) < 2:
        return ()

    def mean(columns: Columns, measure: str, places: Sequence[int]) -> float:
        return sum(columns[measure][place] for place in places) / len(places)

    has_lpips = "lpips" in model
    return tuple(
        FolderRow(
            name=name,
            num_pictures=len(places),
            gray_psnr=mean(gray, "psnr", places),
            gray_lpips=mean(gray, "lpips", places) if has_lpips else None,
            psnr=mean(model, "psnr", places),
            psnr_over_gray=mean(model, "psnr", places) - mean(gray, "psnr", places),
            lpips=mean(model, "lpips", places) if has_lpips else None,
            colorfulness=mean(model, "colorfulness", places) / mean(truth, "colorfulness", places),
            margin_error=mean(model, "margin_error", places),
        )
        for name, places in sorted(members.items())
    )
