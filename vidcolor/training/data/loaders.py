"""Batches for training, in an order that depends on seed, epoch and step alone.

`DeviceLoader` keeps all pictures, resized and converted once, on the device. `CropLoader` cuts
crops of larger pictures of any size in worker processes.

Epochs are sections of an endless sequence of permutations of the pictures: an epoch of fewer
pictures than the set holds some of them, a longer one repeats some. `batches` yields each batch of
an epoch with a weight. The process `rank` of `world` gets the rows `rank::world` of each batch; the
means over these rows, times their weights, averaged over the processes, are the mean over the whole
batch. A process without rows gets one row of weight 0, because it must take part in the step.
"""

from __future__ import annotations

import hashlib
import itertools
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
import torchvision.transforms.v2 as transforms
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ...color.convert import rgb_to_lab
from ...errors import TrainingError
from ...evaluation.picture_sets import square
from ...system.devices import free_memory
from ...system.signals import ENDING
from .augment import Augment, Draws, apply, draw
from .batch import Batch
from .dataset import Part
from .emulsion import seen_lightness

_CHUNK_PIXELS = 1 << 20  # converted at once, 12 MB in float32


def derive_seed(*numbers: int) -> int:
    """Hash several numbers to a seed in [0, 2^32)."""
    return int.from_bytes(hashlib.sha256(repr(numbers).encode()).digest()[:4], "little")


@dataclass(frozen=True)
class Step:
    """The part of a batch that one process gets.

    Attributes:
        step: its number in the epoch, from 0.
        size: pictures of the whole batch, over all processes.
        rows: which of them are this process's.
        keys: `(permutation number, picture)` of these.
        weight: see the module.
    """

    step: int
    size: int
    rows: slice
    keys: list[tuple[int, int]]
    weight: float


class Order:
    """An endless sequence of permutations of `pictures` indices, cut into epochs and batches."""

    def __init__(self, pictures: int, epoch_size: int, batch_size: int, seed: int) -> None:
        self.pictures, self.batch_size, self.seed = pictures, batch_size, seed
        self.epoch_size = epoch_size or pictures
        self._number = -1
        self._permutation: list[int] = []

    def key(self, position: int) -> tuple[int, int]:
        """The number of the permutation and the picture at a place of the sequence."""
        number, place = divmod(position, self.pictures)
        if number != self._number:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, number))
            self._number = number
            self._permutation = torch.randperm(self.pictures, generator=generator).tolist()
        return number, self._permutation[place]

    def steps(self, epoch: int, start: int, rank: int, world: int) -> Iterator[Step]:
        """The steps of `epoch` from step `start` on; the last batch may be short."""
        first, last = epoch * self.epoch_size, (epoch + 1) * self.epoch_size
        begins = range(first + start * self.batch_size, last, self.batch_size)
        for step, begin in enumerate(begins, start):
            size = min(self.batch_size, last - begin)
            weight = len(range(rank, size, world)) * world / size
            rows = slice(rank, None, world) if weight else slice(0, 1)
            keys = [self.key(begin + row) for row in range(size)[rows]]
            yield Step(step, size, rows, keys, weight)


# ------------------------------------------------------------------ on the device


def store_bytes(pictures: int, size: int, space: str, repeat_augmented: int = 1) -> int:
    """Memory of a `DeviceLoader` of so many pictures, bytes."""
    return pictures * repeat_augmented * 3 * size * size * (1 if space == "rgb" else 2)


def _check_memory(pictures: int, size: int, needed: int) -> None:
    free = free_memory(torch.device("cpu"))
    if needed > free:
        raise TrainingError(
            f"{pictures} pictures of {size}x{size} pixels need {needed / 1e9:.1f} GB of main "
            f"memory, and {free / 1e9:.1f} GB are free; take fewer (--limit), a smaller size, or "
            'fit = "crop"'
        )


class DeviceLoader:
    """Keeps all pictures of a part as one tensor on the device.

    Attributes:
        store: `(N, 3, size, size)`: uint8 R'G'B', or float16 L*a*b* (rounded by 0.03 at most).
        space: `rgb` or `lab`.
        pictures: their number, repeated ones included.
        epoch_size: pictures in an epoch.
    """

    def __init__(
        self,
        part: Part,
        *,
        space: str,
        size: int,
        fit: str,
        batch_size: int,
        augment: Augment,
        seed: int,
        device: str | torch.device,
        epoch_size: int = 0,
        repeat_augmented: int = 1,
    ) -> None:
        """Resize and convert the pictures, chunk by chunk.

        Args:
            part: the pictures, of any sizes.
            space: color space of the batches, `rgb` or `lab`.
            size: side of the square pictures.
            fit: `stretch` (the whole picture, bilinear) or `cover` (bicubic, center-cropped).
            batch_size: pictures in a step, over all processes.
            augment: `old_film_share` and `ortho` must be 0.
            seed: of the order and the augmentation.
            device: of the tensor.
            epoch_size: pictures in an epoch; 0: all.
            repeat_augmented: times the pictures are repeated: the first time plain, the others
                augmented here; above 1 no step augments them again.

        Raises:
            TrainingError: `old_film_share` or `ortho` is not 0, or the pictures do not fit into
                main memory.
        """
        if augment.old_film_share or augment.ortho:
            key = "old_film_share" if augment.old_film_share else "ortho"
            raise TrainingError(f"{key}: works on crops of large pictures only; set fit to 'crop'")
        originals = len(part.pictures)
        self.space, self.batch_size, self.seed = space, batch_size, seed
        self.pictures = originals * repeat_augmented
        self.augment = augment if repeat_augmented == 1 else Augment()
        self._originals = originals
        self._order = Order(self.pictures, epoch_size, batch_size, seed)
        self.epoch_size = self._order.epoch_size
        if torch.device(device).type == "cpu":
            _check_memory(
                self.pictures, size, store_bytes(originals, size, space, repeat_augmented)
            )
        kind = torch.uint8 if space == "rgb" else torch.float16
        self.store = torch.empty(self.pictures, 3, size, size, dtype=kind, device=device)
        for chunk, rgb in _resized(part.pictures, size, fit):
            # uint8 is sent, and converted on the device
            self.store[chunk] = rgb.to(device) if space == "rgb" else _to_lab(rgb.to(device))
        for copy in range(1, repeat_augmented):
            generator = torch.Generator().manual_seed(derive_seed(seed, -copy))
            draws = draw(originals, augment, generator)
            for chunk in _chunks(originals, size * size):
                made = apply(self._picture(chunk), draws.rows(chunk))
                made = (made * 255).round_() if space == "rgb" else made
                begin = copy * originals
                self.store[begin + chunk.start : begin + chunk.stop] = made.to(kind)

    @property
    def nbytes(self) -> int:
        """Bytes that `store` takes."""
        return self.store.nbytes

    def _picture(self, index: slice | Tensor) -> Tensor:
        """Stored pictures as a batch's float32 `(B, 3, size, size)`."""
        chosen = (
            self.store[index] if isinstance(index, slice) else self.store.index_select(0, index)
        )
        return chosen.float().div_(255) if self.space == "rgb" else chosen.float()

    def batches(
        self, epoch: int, start: int = 0, rank: int = 0, world: int = 1
    ) -> Iterator[tuple[Batch, float]]:
        """The batches of `epoch` from step `start` on, on the device; see the module."""
        for step in self._order.steps(epoch, start, rank, world):
            index = torch.tensor([picture for _, picture in step.keys])
            picture = self._picture(index.to(self.store.device))
            draws = self._draws(epoch, step)
            yield Batch(apply(picture, draws), self.space), step.weight

    def _draws(self, epoch: int, step: Step) -> Draws:
        seed = derive_seed(self.seed, epoch, step.step)
        # for the whole batch, so that it does not depend on the number of processes
        draws = draw(step.size, self.augment, torch.Generator().manual_seed(seed))
        return draws.rows(step.rows)

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """The pictures without augmentation, each once, in the part's order."""
        for begin in range(0, self._originals, batch_size):
            chunk = slice(begin, min(begin + batch_size, self._originals))
            yield Batch(self._picture(chunk), self.space)


def _to_lab(rgb: Tensor) -> Tensor:
    return rgb_to_lab(rgb.float().div_(255)).half()


def _chunks(count: int, pixels: int) -> Iterator[slice]:
    """`count` pictures of so many pixels each, as slices of bounded size."""
    length = max(1, _CHUNK_PIXELS // pixels)
    for begin in range(0, count, length):
        yield slice(begin, min(begin + length, count))


def _resized(pictures: list[np.ndarray], size: int, fit: str) -> Iterator[tuple[slice, Tensor]]:
    """Chunks of neighbors of one shape, resized to `(B, 3, size, size)` uint8."""
    begin = 0
    for shape, group in itertools.groupby(pictures, key=lambda picture: picture.shape):
        alike = list(group)
        for chunk in _chunks(len(alike), max(size * size, shape[0] * shape[1])):
            rgb = torch.from_numpy(np.stack(alike[chunk])).permute(0, 3, 1, 2)
            done = rgb if shape[:2] == (size, size) else _METHODS[fit](rgb, size)
            yield slice(begin + chunk.start, begin + chunk.stop), done
        begin += len(alike)


def stretch(picture: Tensor, size: int) -> Tensor:
    """R'G'B' `(B, 3, H, W)` uint8 resized to `(B, 3, size, size)` uint8, bilinear.

    Antialiased in each direction that shrinks; one that grows is plain bilinear.
    """
    resized = F.interpolate(picture.float(), size=(size, size), mode="bilinear", antialias=True)
    return resized.round_().clamp_(0, 255).to(torch.uint8)


_METHODS: dict[str, Callable[[Tensor, int], Tensor]] = {"stretch": stretch, "cover": square}


def shrinker(fit: str, size: int, least: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    """A function that reduces a picture to what the training needs of it, for `load_dataset`.

    With `stretch` and `cover` that is the square of the `DeviceLoader`. With `crop` the short side
    is reduced to twice `size`, bicubic with antialiasing. A picture is never enlarged.

    Args:
        fit: `stretch`, `cover` or `crop`.
        size: side of the training pictures, pixels.
        least: with `crop`, the least short side, for validation at a larger size.

    Returns:
        From `(H, W, 3)` uint8 R'G'B' to the same of another H and W.
    """

    def shrink(picture: np.ndarray) -> np.ndarray:
        height, width = picture.shape[:2]
        rgb = torch.from_numpy(picture)[None].permute(0, 3, 1, 2)
        if fit != "crop":
            if height * width <= size * size:
                return picture
            made = _METHODS[fit](rgb, size)
        else:
            scale = max(2 * size, least) / min(height, width)
            if scale >= 1:
                return picture
            sides = (round(height * scale), round(width * scale))
            smooth = F.interpolate(rgb.float(), size=sides, mode="bicubic", antialias=True)
            made = smooth.round_().clamp_(0, 255).to(torch.uint8)
        return made[0].permute(1, 2, 0).contiguous().numpy()

    return shrink


# ------------------------------------------------------------------ in workers


class _Crops(Dataset[tuple[Tensor, Tensor]]):
    """Random square crops: L*a*b* `(3, S, S)` and the model's input L* `(1, S, S)`.

    A sample's key is (permutation number, index). The crop depends on it and the seed alone.
    """

    def __init__(self, pictures: list[np.ndarray], size: int, augment: Augment, seed: int) -> None:
        self.pictures, self.seed = pictures, seed
        self.old_film_share, self.ortho = augment.old_film_share, augment.ortho
        self.augment = transforms.Compose(
            [
                transforms.RandomResizedCrop(size, scale=(augment.min_scale, 1.0), antialias=True),
                transforms.RandomHorizontalFlip(0.5 if augment.flip else 0.0),
            ]
        )

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        number, index = key
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.seed, number, index))
            rgb = torch.from_numpy(self.pictures[index]).permute(2, 0, 1)
            rgb = self.augment(rgb).float() / 255
            lab = rgb_to_lab(rgb)
            return lab, seen_lightness(rgb, lab, self.old_film_share, self.ortho)


def _leave_signals(number: int) -> None:
    """A signal to the whole group of processes is the training's to answer: it ends the workers
    once its checkpoint is written."""
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)


class CropLoader:
    """Random crops in L*a*b* of pictures of any size, cut in worker processes, on the CPU.

    The lightness that the model gets is that of `seen_lightness`.

    Attributes:
        pictures: their number.
        epoch_size: pictures in an epoch.
    """

    def __init__(
        self,
        part: Part,
        *,
        size: int,
        batch_size: int,
        augment: Augment,
        seed: int,
        workers: int,
        epoch_size: int = 0,
        order: Order | None = None,
    ) -> None:
        """Create the loader.

        Args:
            part: the pictures, of any sizes.
            size: side of the crops, pixels.
            batch_size: pictures in a step, over all processes.
            augment: `rotate` must be 0.
            seed: of the order and the crops.
            workers: processes that cut crops; 0 cuts them here.
            epoch_size: pictures in an epoch; 0: all.
            order: of the pictures; by default an `Order`.

        Raises:
            TrainingError: `rotate` is not 0.
        """
        if augment.rotate:
            raise TrainingError("rotate: does not work on crops; set fit to 'stretch' or 'cover'")
        self.pictures, self.workers = len(part.pictures), workers
        self._crops = _Crops(part.pictures, size, augment, seed)
        self._order = order or Order(self.pictures, epoch_size, batch_size, seed)
        self.epoch_size = self._order.epoch_size

    def batches(
        self, epoch: int, start: int = 0, rank: int = 0, world: int = 1
    ) -> Iterator[tuple[Batch, float]]:
        """Start the workers and yield the batches, in main memory; see the module."""
        steps = list(self._order.steps(epoch, start, rank, world))
        loader = DataLoader(
            self._crops,
            batch_sampler=[step.keys for step in steps],
            num_workers=self.workers,
            worker_init_fn=_leave_signals,
            # the loader draws a seed for its workers; the global generator must not change, or
            # a resumed training would differ
            generator=torch.Generator(),
        )
        for (lab, lightness), step in zip(loader, steps, strict=True):
            yield Batch(lab, "lab", lightness), step.weight
