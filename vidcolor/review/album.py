"""The pictures of a report: pairs of an original and its result, as many as a page can hold."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from ..color.codes import Codes
from ..frames import VideoInfo
from ..run.references.stills import find_stills
from ..sources import read_color
from ..system.opencv import opencv
from .colors import small_rgb
from .detect import Place
from .films import Both, FilmPair
from .pictures import shrunk

MOST = 120  # pairs on a page, and as many again that have findings
_SIDE, _THUMB, _STILL = 720, 200, 400  # longer sides, pixels
_QUALITY = 82  # of JPEG


@dataclass(frozen=True)
class Picture:
    """A pair as it is on the page.

    Attributes:
        before, after: URLs with the JPEG files inside.
        thumb: a small one of the result.
        width, height: in pixels.
        place: of the frame; None for a picture.
    """

    before: str
    after: str
    thumb: str
    width: int
    height: int
    place: Place | None = None


def data_url(rgb: np.ndarray) -> str:
    """R'G'B' `(H, W, 3)` uint8 as a JPEG file inside a URL."""
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(rgb).save(data, format="JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"


def picture(before: Tensor, after: Tensor, place: Place | None = None) -> Picture:
    """A pair of R'G'B' pictures `(1, 3, H, W)` in [0, 1], upright."""
    one, two = (
        np.ascontiguousarray((each[0] * 255).round().byte().permute(1, 2, 0).numpy())
        for each in (before, after)
    )
    height, width = two.shape[:2]
    scale = min(1.0, _THUMB / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    thumb = opencv().resize(two, size, interpolation=opencv().INTER_AREA)
    return Picture(data_url(one), data_url(two), data_url(thumb), width, height, place)


class FilmAlbum:
    """Keeps a frame from about the middle of each shot; of a film of many shots those of every
    second, fourth ... shot, and of those with findings."""

    def __init__(self) -> None:
        self.pictures: dict[int, Picture] = {}  # by the number of the shot
        self.pair: FilmPair | None = None
        self._step = 1
        self._flagged: set[int] = set()
        self._shot, self._count = -1, 0
        self._kept: list[Picture] = []  # of this shot, the last two

    def flag(self, shot: int | None) -> None:
        """There is a finding in a shot."""
        if shot is not None:
            self._flagged.add(shot)

    def see(self, place: Place, both: Both) -> None:
        """Take the next frame."""
        if place.shot != self._shot:
            self.close()
            self._shot, self._count = place.shot, 0
        self._count += 1
        if self._count & (self._count - 1) == 0:
            self._kept = [*self._kept[-1:], self._picture(place, both)]

    def close(self) -> None:
        """The shot is at its end: keep the frame that is nearer to its middle."""
        if not self._kept:
            return
        last = 1 << (self._count.bit_length() - 1)  # which frame of the shot was kept last
        far = abs(last - self._count / 2) > abs(last / 2 - self._count / 2)
        kept, self._kept = self._kept[0 if far else -1], []
        self.keep(self._shot, kept)

    def keep(self, shot: int, shown: Picture) -> None:
        """Take the pair of a shot, if the page shows it."""
        flagged = set(sorted(self._flagged)[:MOST])
        if shot % self._step and shot not in flagged:
            return
        self.pictures[shot] = shown
        while len(self.pictures.keys() - flagged) > MOST:
            self._step *= 2
            for other in [n for n in self.pictures if n % self._step and n not in flagged]:
                del self.pictures[other]

    def _picture(self, place: Place, both: Both) -> Picture:
        assert self.pair is not None and both.gray is not None and both.color is not None
        pair = self.pair
        gray: list[Codes] = [both.gray.luma[0, 0].numpy()]
        one, two = (
            upright(small_rgb(planes, facts, side=_SIDE), pair.source.facts)
            for planes, facts in (
                (gray, pair.source.facts), (both.color.planes, pair.result.facts)
            )
        )  # fmt: skip
        return picture(one, two, place)


def upright(rgb: Tensor, facts: VideoInfo) -> Tensor:
    """A frame as a player shows it: upright, of square pixels."""
    aspect = float(facts.sample_aspect_ratio or 1)
    height, width = rgb.shape[-2:]
    if aspect != 1 and 0.1 < aspect < 10:
        size = (height, max(1, round(width * aspect)))
        if aspect > 1:
            size = (max(1, round(height / aspect)), width)
        pixels = rgb[0].permute(1, 2, 0).numpy()
        pixels = opencv().resize(pixels, size[::-1], interpolation=opencv().INTER_AREA)
        rgb = rgb.new_tensor(pixels).permute(2, 0, 1)[None]
    return rgb.rot90(-(facts.rotation // 90), (-2, -1))


class PictureAlbum:
    """Keeps pairs of pictures, evenly over all, and those with findings.

    Args:
        total: number of pictures.
        limits: leave out those that may be decompression bombs.
    """

    def __init__(self, total: int, *, limits: bool = True) -> None:
        self._limits = limits
        self.pictures: dict[int, Picture] = {}  # by number
        self._step = max(1, -(-total // MOST))
        self._flagged = 0

    def see(self, number: int, source: Path, output: Path, *, flagged: bool) -> None:
        """Take the next pair."""
        self._flagged += flagged
        if number % self._step and not (flagged and self._flagged <= MOST):
            return
        one, two = (
            shrunk(read_color(path, limits=self._limits).rgb, _SIDE) for path in (source, output)
        )
        if one.shape == two.shape:
            self.pictures[number] = picture(one, two)


def still_urls(
    folder: Path, frames: int, shots: Sequence[range]
) -> dict[int, list[tuple[str, str]]]:
    """Names and small pictures of the stills in a folder of shots, by the number of the shot.

    Args:
        folder: of the stills.
        frames: of the film.
        shots: the frames of each shot.
    """
    found: dict[int, list[tuple[str, str]]] = {}
    for frame, paths in find_stills(folder, frames).items():
        shot = next((i for i, numbers in enumerate(shots) if frame in numbers), None)
        if shot is None or len(found.get(shot, ())) >= 4:
            continue
        for path in paths:
            rgb = shrunk(read_color(path).rgb, _STILL)[0].permute(1, 2, 0)
            pixels = np.ascontiguousarray((rgb * 255).round().byte().numpy())
            found.setdefault(shot, []).append((path.name, data_url(pixels)))
    return found


def left_out(shown: Collection[int], total: int, what: str) -> str:
    """A line on what a page does not show; empty for nothing."""
    if len(shown) >= total:
        return ""
    return (
        f"{len(shown)} of {total} {what} are shown: evenly spaced ones, and those with "
        f"findings. The others were compared too, but left out to keep the page small."
    )
