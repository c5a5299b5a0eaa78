"""Reference pictures: a shot's palette pulled toward color pictures that the user gives.

Each place of a frame (a cell of 8x8 pixels of what the model sees) is compared with the places of
the references by what the model's own encoder says of them, its features at strides 8 and 16. It
takes the references' true a*b*, weighted by likeness, as far as the best likeness can be trusted,
and the model's own prediction otherwise. There is no second network.

Correspondence by encoder features and a softmax over places is the idea of He et al. 2018, "Deep
exemplar-based colorization"; here nothing is trained for it. Taking over the reference's colors
was measured against taking over its residual (truth minus prediction) and won wherever the
reference fits.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..color.convert import MIN_CHROMA, rgb_to_lab
from ..errors import InputError
from ..sources import PICTURE_SUFFIXES, natural_key, read_color

logger = logging.getLogger(__name__)

STRIDES = (8, 16)  # of the features that are compared; the first is the size of a place
MAX_PLACES = 2048  # of all references that compete; more are thinned out evenly
_SHARPNESS = 20.0  # of the softmax over cosines
_DOUBT, _TRUST = 0.3, 0.7  # a best cosine that counts nothing, and one that counts fully
_PALETTES = 4  # kept at a time
_ROWS = 4096  # places of a frame that are compared at once


@dataclass(frozen=True)
class Reference:
    """A color picture as the model sees it.

    Attributes:
        path: its file.
        rgb: `(1, 3, h, w)` uint8 R'G'B' at the model's resolution, upright.
        opaque: `(1, 1, h, w)` bool, False where the picture is transparent.
    """

    path: Path
    rgb: Tensor
    opaque: Tensor


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


class Palette:
    """What a set of references says of color, by the features of their places.

    Args:
        references: pictures that compete with each other.
        features: the model's, `(1, 1, h, w)` L* to a dict of stride to features.
        device: where the palette is kept and used.
    """

    def __init__(
        self,
        references: Sequence[Reference],
        features: Callable[[Tensor], dict[int, Tensor]],
        device: torch.device,
    ) -> None:
        described: list[tuple[Tensor, ...]] = []
        colors, known = [], []
        for reference in references:
            lab = rgb_to_lab(reference.rgb.to(device).float() / 255)
            opaque = reference.opaque.to(device)
            found = features(lab[:, :1])
            grid = _grid(found)
            described.append(tuple(_at(found[s], grid)[0].flatten(1) for s in STRIDES))
            share = F.adaptive_avg_pool2d(opaque.float(), grid)
            sums = F.adaptive_avg_pool2d(lab[:, 1:] * opaque, grid) / share.clamp_min(1e-6)
            colors.append(sums[0].flatten(1))
            known.append(share[0, 0].flatten() >= 0.5)
        keep = torch.cat(known).nonzero()[:, 0]
        if not len(keep):  # thin lines on nothing: no place is half covered, so all count
            keep = torch.arange(len(torch.cat(known)), device=device)
        if len(keep) > MAX_PLACES:
            keep = keep[torch.arange(MAX_PLACES, device=device) * len(keep) // MAX_PLACES]
        planes = [torch.cat(each, dim=1)[:, keep] for each in zip(*described, strict=True)]
        self.means = [plane.mean(dim=1)[:, None] for plane in planes]
        spreads = [plane.std(dim=1, correction=0)[:, None] for plane in planes]
        # a channel that is constant in the references must not shout in a frame where it is not
        self.spreads = [s + 0.05 * s.mean() + 1e-6 for s in spreads]
        self.keys = self._key(planes)  # (C, places), of length 1
        self.colors = torch.cat(colors, dim=1)[:, keep].T.contiguous()  # (places, 2)

    def _key(self, planes: Sequence[Tensor]) -> Tensor:
        """Features `(C_s, n)` of each stride to keys `(C, n)` of length 1."""
        parts = [
            F.normalize((plane - mean) / spread, dim=0)
            for plane, mean, spread in zip(planes, self.means, self.spreads, strict=True)
        ]
        return F.normalize(torch.cat(parts), dim=0)

    def pull(self, ab: Tensor, features: dict[int, Tensor], strength: float) -> Tensor:
        """Pull a frame's predicted chroma toward the references.

        Args:
            ab: `(1, 2, h, w)` the model's own prediction.
            features: of the same frame, by stride, each `(1, C_s, h_s, w_s)`.
            strength: 0 (nothing) to 1.

        Returns:
            `(1, 2, h, w)`.
        """
        grid = _grid(features)
        planes = [_at(features[s], grid)[0].flatten(1) for s in STRIDES]
        parts = []
        for queries in self._key(planes).T.split(_ROWS):
            cosine = queries @ self.keys
            best = cosine.amax(dim=1, keepdim=True)
            weights = cosine.sub_(best).mul_(_SHARPNESS).exp_()
            color = (weights @ self.colors) / weights.sum(dim=1, keepdim=True)
            trust = ((best - _DOUBT) / (_TRUST - _DOUBT)).clamp(0, 1)
            parts.append(torch.cat([color, trust], dim=1))
        plane = torch.cat(parts).T.reshape(1, 3, *grid)
        plane = F.interpolate(plane, size=ab.shape[-2:], mode="bilinear")
        return ab + strength * plane[:, 2:] * (plane[:, :2] - ab)


def _grid(features: dict[int, Tensor]) -> tuple[int, int]:
    """Rows and columns of places."""
    height, width = features[STRIDES[0]].shape[-2:]
    return height, width


def _at(plane: Tensor, grid: tuple[int, int]) -> Tensor:
    """Features `(1, C, h, w)` at the places, float32."""
    plane = plane.float()
    return plane if plane.shape[-2:] == grid else F.interpolate(plane, grid, mode="bilinear")


class References:
    """The references of a run, and their palettes on the device in use.

    Args:
        paths: see `find_references`.
        shrink: brings `(1, C, H, W)` float planes to the model's resolution.
        strength: 0 (no pull) to 1.

    Attributes:
        pictures: the references, in order.
        per_shot: picture i is for shot i, and the last one for all shots after it; otherwise all
            compete in every shot.

    Raises:
        InputError: a reference cannot be read.
        ValueError: `strength` is out of range.
    """

    def __init__(
        self,
        paths: str | Path | Sequence[str | Path],
        shrink: Callable[[Tensor], Tensor],
        strength: float = 1.0,
    ) -> None:
        if not 0 <= strength <= 1:
            raise ValueError(f"reference_strength must lie between 0 and 1, not {strength}")
        files, self.per_shot = find_references([paths] if isinstance(paths, str | Path) else paths)
        self.strength = strength
        self.pictures = tuple(read_reference(path, shrink) for path in files)
        self._palettes: dict[tuple[int | None, torch.device], Palette] = {}
        self._making = threading.Lock()  # threads of the model may want the same one

    def copy(self) -> References:
        """The same references; their palettes are made anew."""
        other = copy.copy(self)
        other._palettes, other._making = {}, threading.Lock()
        return other

    def __bool__(self) -> bool:
        """Whether they change anything."""
        return bool(self.pictures) and self.strength > 0

    def unused(self, shots: int) -> str:
        """A line on the pictures of a folder that a film of so many shots had no use for."""
        spare = len(self.pictures) - shots
        if not (self and self.per_shot) or spare <= 0:
            return ""
        found = "1 shot was found" if shots == 1 else f"{shots} shots were found"
        first = self.pictures[shots].path.name
        return f"{found} for {len(self.pictures)} reference pictures; from {first} on unused"

    def pull(
        self,
        ab: Tensor,
        features: dict[int, Tensor],
        describe: Callable[[Tensor], dict[int, Tensor]],
        shots: Sequence[int] = (),
    ) -> Tensor:
        """Pull predicted chroma toward the references, frame by frame.

        Args:
            ab: `(B, 2, h, w)` the model's own prediction.
            features: of the same frames, by stride, each `(B, C_s, h_s, w_s)`.
            describe: the model's `features` on the device of `ab`, for the references themselves.
            shots: number of each frame's shot, counted from 0; empty where it is not known: then
                all references compete, also those of a folder.

        Returns:
            `(B, 2, h, w)`; a frame's result does not depend on the others of its batch.
        """
        pulled = []
        for i in range(len(ab)):
            shot = min(shots[i], len(self.pictures) - 1) if self.per_shot and shots else None
            palette = self._palette(shot, describe, ab.device)
            own = {stride: features[stride][i : i + 1] for stride in STRIDES}
            pulled.append(palette.pull(ab[i : i + 1], own, self.strength))
        return torch.cat(pulled)

    def _palette(
        self,
        shot: int | None,
        describe: Callable[[Tensor], dict[int, Tensor]],
        device: torch.device,
    ) -> Palette:
        key = shot, device
        with self._making:
            if key not in self._palettes:
                pictures = self.pictures if shot is None else self.pictures[shot : shot + 1]
                while len(self._palettes) >= _PALETTES:  # the oldest: shots do not come back
                    del self._palettes[next(iter(self._palettes))]
                self._palettes[key] = Palette(pictures, describe, device)
            return self._palettes[key]
