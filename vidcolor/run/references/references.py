"""Reference pictures: which of them count for a frame, and how much."""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from ...color.convert import MIN_CHROMA, rgb_to_lab
from ...errors import InputError
from ...sources import PICTURE_SUFFIXES, natural_key, read_color
from .gray_places import decide_gray
from .palette import STRIDES, Describe, Palette, Places, Reference, places_of

logger = logging.getLogger(__name__)

_PALETTES, _PICTURES = 4, 16  # kept at a time
Key = TypeVar("Key")
Value = TypeVar("Value")

Shares = tuple[tuple[int, float], ...]
"""Numbers of the references that count, in order, each with a weight above 0 to 1."""


def find_references(paths: Iterable[str | Path]) -> tuple[tuple[Path, ...], bool]:
    """The picture files that are meant, and whether there is one for each shot.

    Args:
        paths: pictures, which all compete in every shot; or one folder, whose pictures go to the
            shots in natural order of their names (not searched deeper, hidden files left out).

    Raises:
        InputError: a folder is given beside other paths, or holds no picture.
    """
    files = [Path(path) for path in paths]
    folders = [path for path in files if path.is_dir()]
    if not folders:
        return tuple(files), False
    if len(files) > 1:
        raise InputError(
            f"{folders[0]}: a folder of references (one picture a shot) stands alone; "
            "give either one folder or single pictures"
        )
    found = [
        path
        for path in folders[0].iterdir()
        if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")
    ]
    if not found:
        raise InputError(f"{folders[0]}: holds no picture to take as reference; check the folder")
    return tuple(sorted(found, key=lambda path: natural_key(path.name))), True


def read_reference(path: Path, shrink: Callable[[Tensor], Tensor]) -> Reference:
    """Read a reference picture; a near-gray one brings a warning in the log.

    Args:
        path: a picture file of any size, 8 or 16 bit, with or without transparency.
        shrink: brings `(1, C, H, W)` float planes to the model's resolution.

    Raises:
        InputError: it cannot be read, or is wholly transparent.
    """
    picture = read_color(path)
    rgb = shrink(picture.rgb).clamp(0, 1)
    opaque = shrink(picture.opacity) >= 0.5
    if not opaque.any():
        raise InputError(f"{path}: is wholly transparent; give a picture with colors")
    chroma = rgb_to_lab(rgb)[:, 1:].square().sum(dim=1, keepdim=True).sqrt()
    if float(chroma[opaque].mean()) < MIN_CHROMA:
        logger.warning("%s: is nearly gray, so as a reference it makes colors paler", path)
    return Reference(path, (rgb * 255).round().to(torch.uint8), opaque)


def read_references(
    paths: str | Path | Sequence[str | Path],
    shrink: Callable[[Tensor], Tensor],
    strength: float = 1.0,
    *,
    gray: str = "auto",
) -> References:
    """The references of some files.

    Args:
        paths: see `find_references`.
        shrink: brings `(1, C, H, W)` float planes to the model's resolution.
        strength, gray: see `References`.

    Raises:
        InputError: a reference cannot be read.
        ValueError: `strength` is out of range.
    """
    files, per_shot = find_references([paths] if isinstance(paths, str | Path) else paths)
    pictures = [read_reference(path, shrink) for path in files]
    return References(pictures, strength, per_shot=per_shot, gray=gray)


def unused(paths: Sequence[Path], shots: int) -> str:
    """A line on the references, one for each shot, that a film of so many shots had no use for."""
    if len(paths) <= shots:
        return ""
    found = "1 shot was found" if shots == 1 else f"{shots} shots were found"
    return f"{found} for {len(paths)} reference pictures; from {paths[shots].name} on unused"


class References:
    """The references of a run, and their palettes on the device in use.

    Args:
        pictures: the references, in order.
        strength: 0 (no pull) to 1.
        per_shot: picture i is for shot i, and the last one for all shots after it; otherwise all
            compete in every shot.
        gray: whether gray places are colors; see `gray_places.decide_gray`.

    Raises:
        ValueError: `strength` is out of range.
    """

    def __init__(
        self,
        pictures: Sequence[Reference] = (),
        strength: float = 1.0,
        *,
        per_shot: bool = False,
        gray: str = "auto",
    ) -> None:
        if not 0 <= strength <= 1:
            raise ValueError(f"reference_strength must lie between 0 and 1, not {strength}")
        self.pictures, self.strength = tuple(pictures), strength
        self.per_shot, self.gray = per_shot, gray
        self._reset()

    def _reset(self) -> None:
        self._palettes: dict[tuple[tuple[int, ...], torch.device], Palette] = {}
        self._places: dict[tuple[int, torch.device], Places] = {}
        self._making = threading.Lock()  # threads of the model may want the same one

    def copy(self) -> References:
        """The same references; their palettes are made anew."""
        other = copy.copy(self)
        other._reset()
        return other

    def __bool__(self) -> bool:
        """Whether they change anything."""
        return bool(self.pictures) and self.strength > 0

    def digest(self) -> str:
        """What decides the colors that they give, as one text."""
        found = sha256(f"{self.strength} {self.per_shot} {self.gray}".encode())
        for each in self.pictures:
            found.update(each.rgb.cpu().numpy().tobytes())
            found.update(each.opaque.cpu().numpy().tobytes())
        return found.hexdigest()

    def unused(self, shots: int) -> str:
        """A line on the pictures of a folder that a film of so many shots had no use for."""
        return (
            unused([each.path for each in self.pictures], shots) if self and self.per_shot else ""
        )

    def shares(self, shot: int | None, number: int | None) -> Shares:
        """The references that count for a frame.

        Args:
            shot: number of its shot, from 0; None for unknown: then all references compete.
            number: of the frame in the film; None for unknown.
        """
        if self.per_shot and shot is not None:
            return ((min(shot, len(self.pictures) - 1), 1.0),)
        return tuple((i, 1.0) for i in range(len(self.pictures)))

    def strength_in(self, shot: int | None) -> float:
        """How strongly the references count in a shot, 0 to 1."""
        return self.strength

    def pull(
        self,
        ab: Tensor,
        features: dict[int, Tensor],
        describe: Describe,
        shots: Sequence[int] = (),
        numbers: Sequence[int] = (),
    ) -> Tensor:
        """Pull predicted chroma toward the references, frame by frame.

        Args:
            ab: `(B, 2, h, w)` the model's own prediction.
            features: of the same frames, by stride, each `(B, C_s, h_s, w_s)`.
            describe: the model on the device of `ab`, for the references themselves.
            shots: number of each frame's shot, counted from 0; empty where it is not known.
            numbers: number of each frame in the film; empty where it is not known.

        Returns:
            `(B, 2, h, w)`; a frame's result does not depend on the others of its batch.
        """
        pulled = []
        for i in range(len(ab)):
            shot, number = shots[i] if shots else None, numbers[i] if numbers else None
            own = {stride: features[stride][i : i + 1] for stride in STRIDES}
            pulled.append(self._pull_one(ab[i : i + 1], own, describe, shot, number))
        return torch.cat(pulled)

    def _pull_one(
        self,
        ab: Tensor,
        features: dict[int, Tensor],
        describe: Describe,
        shot: int | None,
        number: int | None,
    ) -> Tensor:
        shares, strength = self.shares(shot, number), self.strength_in(shot)
        if not shares or not strength:
            return ab
        chosen, weights = zip(*shares, strict=True)
        return self._palette(chosen, describe, ab.device).pull(ab, features, weights, strength)

    def _palette(
        self, chosen: tuple[int, ...], describe: Describe, device: torch.device
    ) -> Palette:
        def describe_one(i: int) -> Places:
            return places_of(self.pictures[i], describe, device)

        def make_palette() -> Palette:
            pictures = [
                cached(self._places, (i, device), _PICTURES, partial(describe_one, i))
                for i in chosen
            ]
            return Palette(decide_gray(pictures, self.gray))

        with self._making:
            return cached(self._palettes, (chosen, device), _PALETTES, make_palette)


def cached(known: dict[Key, Value], key: Key, most: int, make: Callable[[], Value]) -> Value:
    """The value of a key, made if it is not there; the oldest goes: shots do not come back."""
    if key not in known:
        while len(known) >= most:
            del known[next(iter(known))]
        known[key] = make()
    return known[key]
