"""The stills of a folder of shots: which are colored, how they lie, where they count."""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...color.convert import gray_to_lightness, rgb_to_lab
from ...errors import InputError
from ...frames import LumaBatch, Segment
from ...sources import PICTURE_SUFFIXES, ColorPicture, FilmSource, read_color
from ...system.opencv import load_problem
from .hints import HintFrame, HintPalette, hint_frame
from .palette import Describe, Reference
from .references import References, Shares, cached
from .registration import Registration, lay, register
from .shot_list import FILM, GRAYS, LIST, ShotList

logger = logging.getLogger(__name__)

_NAME = re.compile(r"shot_\d+_(\d+)(?!\d)")
_CHROMA, _SHARE = 5.0, 0.005  # a still is colored if so large a share has so much chroma
_FAR = 0.02  # weight of a still at the time of its neighbor
_HINTS = 8  # palettes of hints kept at a time
_OTHER_SHOT = 0.05  # weight of another shot's still beside the shot's own


@dataclass(frozen=True)
class Still:
    """A colored still as it was found.

    Attributes:
        path: its file.
        frame: number of the frame that it shows.
        picture: its colors.
        gray: L* of the film's own frame, `(H, W)` in [0, 100]; None if there is no copy of it.
        place: where it lies on that frame; None without one.
    """

    path: Path
    frame: int
    picture: ColorPicture
    gray: np.ndarray | None
    place: Registration | None


def still_name(shot: int, frame: int) -> str:
    """File name of a still."""
    return f"shot_{shot:04d}_{frame:06d}.png"


def frame_of(path: Path) -> int | None:
    """The frame that a file shows by its name; None if it is no still.

    Editors may add to the name: `shot_0012_000340 copy.jpg`.
    """
    found = _NAME.match(path.name)
    return int(found[1]) if found and path.suffix.lower() in PICTURE_SUFFIXES else None


def find_stills(folder: Path, frames: int) -> dict[int, list[Path]]:
    """The files of each frame that has a still, in the order of frames.

    Raises:
        InputError: a still's frame is not in the film.
    """
    found: dict[int, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        frame = frame_of(path)
        if frame is None:
            continue
        if frame >= frames:
            raise InputError(
                f"{path}: the film has no frame {frame}, its last is {frames - 1}; correct the "
                "number in the name"
            )
        found.setdefault(frame, []).append(path)
    return dict(sorted(found.items()))


def read_still(files: Sequence[Path], frame: int, gray_file: Path | None) -> Still | None:
    """The colored still of a frame, found on the film's own frame; None if none is colored.

    Args:
        files: stills of the frame.
        frame: its number.
        gray_file: a copy of the frame, if there is one.

    Raises:
        InputError: a file cannot be read, or two are colored.
    """
    colored = [(path, each) for path in files if is_colored(each := read_color(path))]
    if not colored:
        return None
    if len(colored) > 1:
        raise InputError(
            f"{colored[1][0]}: {colored[0][0].name} is a colored still of the same frame; keep one"
        )
    path, picture = colored[0]
    if gray_file is None:
        return Still(path, frame, picture, None, None)
    gray = gray_to_lightness(read_color(gray_file).rgb[:, :1])[0, 0].numpy()
    own = rgb_to_lab(picture.rgb)[0, 0].numpy()
    place = None if load_problem() else register(gray, own)
    return Still(path, frame, picture, gray, place)


def colored_stills(listed: ShotList) -> Iterator[Still]:
    """The colored stills of a folder, in the order of their frames.

    Raises:
        InputError: see `find_stills` and `read_still`.
    """
    count, folder = len(listed.film.pts), listed.folder / GRAYS
    grays = find_stills(folder, count) if folder.is_dir() else {}
    for frame, files in find_stills(listed.folder, count).items():
        gray_file = grays[frame][0] if frame in grays else None
        if (still := read_still(files, frame, gray_file)) is not None:
            yield still


def read_frame(film: FilmSource, listed: ShotList, number: int) -> LumaBatch:
    """One frame of the film, by its number.

    Raises:
        InputError: it cannot be read.
    """
    retimed = film.retime is not None or film.rate is not None
    moment = number * film.facts.time_base if retimed else listed.film.seconds(number)
    for batch in film.at(Segment(start=moment)).batches(1):
        if len(batch):
            found, _ = listed.locate(batch.pts[0], retimed=retimed)
            if found >= number:
                return batch
    raise InputError(f"{film.path}: frame {number} cannot be read; choose another for the hint")


def is_colored(picture: ColorPicture) -> bool:
    """Whether somebody has colored a still."""
    chroma = rgb_to_lab(picture.rgb)[:, 1:].norm(dim=1, keepdim=True)
    return float(((chroma > _CHROMA) & (picture.opacity > 0.5)).float().mean()) > _SHARE


def laid(still: Still) -> tuple[Tensor, Tensor]:
    """R'G'B' `(1, 3, h, w)` in [0, 1] and opacity `(1, 1, h, w)` of a still, laid on its frame.

    Without a copy of the frame they are the still's own.
    """
    rgb, opacity = still.picture.rgb, still.picture.opacity
    if still.gray is None or still.place is None or still.place.fits:
        return rgb, opacity
    planes = torch.cat([rgb, opacity], dim=1)[0].permute(1, 2, 0).numpy()
    moved = lay(np.ascontiguousarray(planes), still.place, still.gray.shape)
    both = torch.from_numpy(moved).permute(2, 0, 1)[None]
    # at the border the still fades into nothing, its colors with it
    return (both[:, :3] / both[:, 3:].clamp_min(1e-3)).clamp(0, 1), both[:, 3:]


def to_reference(still: Still, shrink: Callable[[Tensor], Tensor]) -> Reference:
    """A still as the model sees it."""
    rgb, opacity = (shrink(each) for each in laid(still))
    opaque = opacity >= 0.5
    if not opaque.any():
        raise InputError(f"{still.path}: is wholly transparent; give a picture with colors")
    gray = None
    if still.gray is not None:
        gray = shrink(torch.from_numpy(still.gray)[None, None])
        if gray.shape[-2:] != rgb.shape[-2:]:  # a still of another shape
            size = gray.shape[-2:]
            rgb = torch.nn.functional.interpolate(rgb, size, mode="bilinear", antialias=True)
            opaque = torch.nn.functional.interpolate(opaque.float(), size) >= 0.5
    return Reference(still.path, (rgb.clamp(0, 1) * 255).round().to(torch.uint8), opaque, gray)


class Stills(References):
    """The colored stills of a folder of shots.

    In a shot the stills before and after a frame share by their distance in time. Those of other
    shots of its set-up count little beside them, and in full where the shot has none. Among them
    all, likeness decides place by place.

    Args:
        listed: the shots.
        shrink: brings `(1, C, H, W)` float planes to the model's resolution.
        strength: of shots that have none of their own.
        gray: see `References`.

    Raises:
        InputError: a still cannot be read.
    """

    def __init__(
        self,
        listed: ShotList,
        shrink: Callable[[Tensor], Tensor],
        strength: float = 1.0,
        *,
        gray: str = "auto",
    ) -> None:
        pictures, self._frames = [], []
        for still in colored_stills(listed):
            pictures.append(to_reference(still, shrink))
            self._frames.append(still.frame)
        super().__init__(pictures, strength, gray=gray)
        self.listed = listed
        self._hints: list[HintFrame] = []
        if not pictures and not listed.hints:
            logger.warning(
                "%s: no still is colored, so the model colors alone; color some", listed.folder
            )
        homes = [listed.index(frame) for frame in self._frames]
        self._own: list[list[int]] = []  # of each shot the numbers of its stills, by frame
        self._lent: list[list[int]] = []  # and of those of its set-up's other shots
        for i, shot in enumerate(listed.shots):
            mates = [
                k
                for k, home in enumerate(homes)
                if home != i and shot.setup is not None and listed.shots[home].setup == shot.setup
            ]
            self._own.append([k for k, home in enumerate(homes) if home == i])
            self._lent.append(mates)

    def _reset(self) -> None:
        super()._reset()
        self._carried: dict[tuple[int, torch.device], HintPalette] = {}

    def with_hints(self, film: FilmSource, lightness: Callable[[LumaBatch], Tensor]) -> Stills:
        """A copy that knows the frames with hints.

        Args:
            film: that the shots are of.
            lightness: makes a frame's L* at the model's size.

        Raises:
            InputError: a frame cannot be read, or a hint lies outside of it.
        """
        other = copy.copy(self)
        other._reset()
        numbers = sorted({hint.frame for hint in self.listed.hints})
        other._hints = []
        for number in numbers:
            gray = lightness(read_frame(film, self.listed, number))
            size = film.facts.width, film.facts.height
            if film.facts.rotation % 180:
                size = size[1], size[0]
            hints = [hint for hint in self.listed.hints if hint.frame == number]
            for hint in hints:
                if hint.box[0] >= size[0] or hint.box[1] >= size[1]:
                    raise InputError(
                        f"{self.listed.folder / LIST}: the hint of frame {number} lies outside of "
                        f"its {size[0]}x{size[1]} pixels; correct the point or box"
                    )
            other._hints.append(hint_frame(hints, gray, size))
        return other

    def digest(self) -> str:
        """What decides the colors that they give: the list, the film's frames, every still."""
        found = sha256(super().digest().encode())
        for name in (LIST, FILM):
            found.update((self.listed.folder / name).read_bytes())
        for each in self.pictures:
            if each.lightness is not None:
                found.update(each.lightness.cpu().numpy().tobytes())
        return found.hexdigest()

    def strength_in(self, shot: int | None) -> float:
        """The shot's own strength, or that of the run."""
        own = None if shot is None else self.listed.shots[shot].strength
        return self.strength if own is None else own

    def __bool__(self) -> bool:
        strengths = [self.strength_in(i) for i in range(len(self.listed.shots))]
        return (bool(self.pictures) and max(strengths) > 0) or bool(self._hints)

    def _pull_one(
        self,
        ab: Tensor,
        features: dict[int, Tensor],
        describe: Describe,
        shot: int | None,
        number: int | None,
    ) -> Tensor:
        ab = super()._pull_one(ab, features, describe, shot, number)
        if shot is None or number is None:
            return ab
        first, last = self.listed.shots[shot].first, self.listed.shots[shot].last
        of_shot = [each for each in self._hints if first <= each.number <= last]
        # the nearest one last, so that it decides
        for each in sorted(of_shot, key=lambda each: -abs(each.number - number)):
            key = each.number, ab.device
            with self._making:
                palette = cached(
                    self._carried, key, _HINTS, partial(HintPalette, each, describe, ab.device)
                )
            ab = palette.apply(ab, features, number)
        return ab

    def shares(self, shot: int | None, number: int | None) -> Shares:
        """The shot's stills around the frame, and those of its set-up."""
        if shot is None or number is None:
            return super().shares(shot, number)
        own = self._around(self._own[shot], number)
        lent = self._around(self._lent[shot], number)
        if own:
            lent = {k: _OTHER_SHOT * weight for k, weight in lent.items()}
        return tuple(sorted({**lent, **own}.items()))

    def _around(self, stills: Sequence[int], number: int) -> dict[int, float]:
        """The last still before a frame and the first after it, with their weights."""
        before = [k for k in stills if self._frames[k] <= number][-1:]
        after = [k for k in stills if self._frames[k] > number][:1]
        if not (before and after):
            return dict.fromkeys(before + after, 1.0)
        begin, end = self._frames[before[0]], self._frames[after[0]]
        part = (number - begin) / (end - begin)
        return {before[0]: max(1 - part, _FAR), after[0]: max(part, _FAR)}
