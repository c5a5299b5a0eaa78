"""The colorizer: luma in, chroma out. Resizing, precision, devices and running out of memory."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..color.adjust import ColorAdjustment
from ..color.codes import luma_of_rgb
from ..color.compose import compose, film_grey
from ..color.convert import grey_to_lightness
from ..color.resize import block_means, upsample_chroma
from ..errors import DeviceError, WeightsError
from ..frames import LumaBatch, picture_format
from ..models.fusion import make_ready
from ..models.weights import load_model
from ..motion.stabilizer import Motion, Stabilizer
from ..system.devices import (
    PRECISIONS,
    choose_device,
    choose_precision,
    is_out_of_memory,
    out_of_memory,
)
from ..system.threads import Turns
from .batching import Part
from .references import STRIDES, References

logger = logging.getLogger(__name__)
_CPU_TOGETHER = 4 * 256**2  # pixels in the network at once; of more the cache holds too little
Result = TypeVar("Result")


def model_size(height: int, width: int, size: int, stride: int) -> tuple[int, int]:
    """Height and width the model sees: the frame's shape, size squared pixels, multiples of
    `stride`; a frame is never stretched by more than the rounding."""
    ratio = math.sqrt(height / width)
    return (
        max(1, round(size * ratio / stride)) * stride,
        max(1, round(size / ratio / stride)) * stride,
    )


@dataclass(frozen=True)
class Seen:
    """What a colorizer has seen of a batch, before the network; it can be divided as the batch can.

    Attributes:
        batch: the luma.
        lightness: `(B, 1, h, w)` L*, upright, at the model's size.
        motions: how each frame moves, for the stabilizer; empty without one.
    """

    batch: LumaBatch
    lightness: Tensor
    motions: tuple[Motion, ...] = ()

    def __len__(self) -> int:
        return len(self.batch)

    @property
    def looks(self) -> list[int]:
        """Numbers of the frames that the network has to see: all of them without a stabilizer."""
        return [i for i in range(len(self)) if not self.motions or self.motions[i].look]

    def __getitem__(self, part: slice) -> Seen:
        return Seen(self.batch[part], self.lightness[part], self.motions[part])

    def to(self, device: torch.device) -> Seen:
        """The same on `device`."""
        return replace(self, batch=self.batch.to(device), lightness=self.lightness.to(device))


class Colorizer:
    """A model on a device, with everything between a frame's luma and its chroma.

    Args:
        model: name of shipped weights; see `vidcolor models`. The default is `fast`.
        weights: one's own weights file instead.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: `auto` or a key of `PRECISIONS`.
        size: the model sees about size squared pixels; the default is the weights' own.
        look: saturation, temperature and tint of the result.
        tta: predict the mirrored frame too and take the mean: twice the model's time.
        references: colour pictures whose palette the result is pulled toward, see `reference.py`;
            or one folder, its pictures in natural order of their names.
        reference_strength: 0 (no pull) to 1.

    Raises:
        WeightsError: the model or its weights cannot be loaded, or `references` are given and the
            model has no encoder features.
        DeviceError: the device or precision is not there.
        InputError: a reference cannot be read.
        ValueError: `size` or `reference_strength` is out of range.
    """

    def __init__(
        self,
        model: str | None = None,
        weights: str | Path | None = None,
        *,
        device: str = "auto",
        precision: str = "auto",
        size: int | None = None,
        look: ColorAdjustment | None = None,
        tta: bool = False,
        references: str | Path | Sequence[str | Path] = (),
        reference_strength: float = 1.0,
    ) -> None:
        if size is not None and size < 32:
            raise ValueError(f"size must be at least 32, not {size}")
        self.device = choose_device(device)
        network, self.entry = load_model(model, None if weights is None else Path(weights))
        make_ready(network)
        self.model = network.to(self.device).to(memory_format=torch.channels_last)
        self._asked = precision
        self._supports_mixed_precision = hasattr(network, "exact")
        self.precision = choose_precision(precision, self.device, self._supports_mixed_precision)
        self.name = self.entry.architecture if weights is not None or model is None else model
        self.stride: int = getattr(network, "stride", 32)
        self.size = size or self.entry.input_size
        self.look = look or ColorAdjustment()
        self.tta = tta
        self.references = References(references, self._shrink, reference_strength)
        if self.references.pictures and not hasattr(network, "features"):
            raise WeightsError(
                f"the model '{self.name}' has no encoder features to compare pictures by; "
                "reference pictures work with the models fast and best"
            )
        self.largest_batch: int | None = None  # found by running out of memory
        self._limiting, self._turns = threading.Lock(), Turns()
        self._chosen = self.device, self.precision

    @property
    def gmacs(self) -> float:
        """Billions of multiply-adds for a frame, by what the weights say; 0 for unknown."""
        return self.entry.gmacs * (self.size / self.entry.input_size) ** 2

    def restore(self) -> None:
        """Forget what running out of memory has changed: another film has other frames."""
        self.largest_batch = None
        if self.device != self._chosen[0]:
            self.device, self.precision = self._chosen
            self.model.to(self.device)

    def to(self, device: torch.device) -> None:
        """Move the model; the precision becomes the new device's own where it cannot do the old."""
        self.device = device
        try:
            self.precision = choose_precision(self._asked, device, self._supports_mixed_precision)
        except DeviceError:
            self.precision = choose_precision("auto", device, self._supports_mixed_precision)
        self.model.to(device)

    def __call__(self, batch: LumaBatch, stabilizer: Stabilizer | None = None) -> Tensor:
        """Predict a batch's chroma at the model's resolution: `see`, `chroma`, `steady`, `finish`.

        Args:
            batch: luma on this colorizer's device.
            stabilizer: of the batch's film, to keep colour in place from frame to frame; each
                frame is given once, in order.

        Returns:
            `(B, 2, h, w)` float32 a*b*, with the look, oriented like the batch's luma.
        """
        seen = self.see(batch, stabilizer)
        return self.finish(seen, self.steady(seen, self.chroma(seen), stabilizer))

    @torch.inference_mode()
    def see(self, batch: LumaBatch, stabilizer: Stabilizer | None = None) -> Seen:
        """What comes before the network: L* at the model's size, and how the frames move. It may
        run ahead in another thread; with a stabilizer each frame is seen once, in order."""
        lightness = self.lightness(batch)
        motions = stabilizer.watch(lightness, batch.cuts) if stabilizer else ()
        return Seen(batch, lightness, tuple(motions))

    def chroma(self, seen: Seen) -> Tensor | None:
        """What the network says of the frames that it has to see, `(n, 2, h, w)` for n `looks`;
        None where there are none. In any order, and on the CPU in several threads at once."""
        looks, lightness, shots = seen.looks, seen.lightness, seen.batch.shots
        if not looks:
            return None
        if len(looks) < len(seen):
            lightness, shots = lightness[looks], tuple(shots[i] for i in looks if shots)
        ab = self.network(lightness, shots)
        return ab.cpu() if seen.motions else ab  # where the stabilizer is

    @torch.inference_mode()
    def steady(self, seen: Seen, ab: Tensor | None, stabilizer: Stabilizer | None) -> Tensor:
        """The chroma of all frames by what `chroma` has given, `(B, 2, h, w)`; with a stabilizer
        each frame once, in order. What fails may be done again, in parts too."""
        if stabilizer is not None:
            return stabilizer.steady(seen.motions, ab)
        assert ab is not None  # without one the network sees every frame
        return ab

    @torch.inference_mode()
    def finish(self, seen: Seen, ab: Tensor) -> Tensor:
        """What comes last, with what `steady` has given; see `__call__`."""
        ab = self._with_look(ab.to(seen.lightness), seen.lightness)
        return torch.rot90(ab, seen.batch.rotation // 90, (-2, -1))

    def seen_size(self, picture: LumaBatch) -> tuple[int, int]:
        """Height and width at which the model sees an upright picture."""
        height, width = picture.luma.shape[-2:]
        return model_size(height, width, self.size, self.stride)

    @torch.inference_mode()
    def together(self, pictures: Sequence[LumaBatch]) -> list[Tensor]:
        """Predict the chroma of pictures of any size and one `seen_size` as one batch.

        On the CPU several threads may call it at once.

        Args:
            pictures: upright, on this colorizer's device.

        Returns:
            What `__call__` gives for each.
        """
        lightness = torch.cat([self.lightness(picture) for picture in pictures])
        ab = self._with_look(self.network(lightness), lightness)
        return list(ab.split([len(picture) for picture in pictures]))

    @torch.inference_mode()
    def lightness(self, batch: LumaBatch) -> Tensor:
        """What the model sees of a batch: L* `(B, 1, h, w)`, upright."""
        codes = batch.luma
        height, width = codes.shape[-2:]
        least = model_size(height, width, self.size, self.stride)
        # by half while the sides are even, on the codes, which is quick; the rest with a filter
        while not (height % 2 or width % 2) and height >= 2 * least[0] and width >= 2 * least[1]:
            codes, height, width = block_means(codes, (2, 2)), height // 2, width // 2
        grey = torch.rot90(film_grey(batch, codes), -(batch.rotation // 90), (-2, -1))
        return grey_to_lightness(self._shrink(grey))

    def _shrink(self, plane: Tensor) -> Tensor:
        height, width = plane.shape[-2:]
        size = model_size(height, width, self.size, self.stride)
        return F.interpolate(plane, size=size, mode="bilinear", antialias=True)

    def _with_look(self, ab: Tensor, lightness: Tensor) -> Tensor:
        if self.look.shifts:
            lightness = F.interpolate(lightness, size=ab.shape[-2:], mode="area")
        return self.look.apply(ab, lightness)

    def _forward(self, lightness: Tensor, with_features: bool) -> tuple[Tensor, dict[int, Tensor]]:
        """The network's a*b* in Lab units, and its features where they are asked for."""
        lightness = lightness.contiguous(memory_format=torch.channels_last)
        # beyond the reach of 16 bits: this batch again in fp32
        for precision in dict.fromkeys((self.precision, "fp32")):
            dtype = PRECISIONS[precision]
            features: dict[int, Tensor] = {}
            with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
                if with_features:
                    features = self.model.features(lightness)  # type: ignore[operator]
                    ab = self.model.from_features(features)  # type: ignore[operator]
                else:
                    ab = self.model(lightness)
            kept = [ab, *(features[s] for s in STRIDES if with_features)]
            if all(bool(each.isfinite().all()) for each in kept):
                return ab.float() * self.entry.chroma_gain, features
        raise WeightsError(
            f"the model '{self.name}' predicts values that are not finite; use other weights"
        )

    @torch.inference_mode()
    def network(self, lightness: Tensor, shots: Sequence[int] = ()) -> Tensor:
        """What the network predicts, before stabilising and the look.

        Args:
            lightness: `(B, 1, h, w)` L* at the model's size, from `lightness`.
            shots: number of each frame's shot, for references.

        Returns:
            `(B, 2, h', w')` float32 a*b*.
        """
        count = most = max(1, len(lightness))
        if self.device.type == "cpu":
            height, width = lightness.shape[-2:]
            most = max(1, _CPU_TOGETHER // (height * width))
        step = math.ceil(count / math.ceil(count / most))  # one by one takes longer: even parts
        parts = (slice(first, first + step) for first in range(0, count, step))
        return torch.cat([self._network(lightness[part], shots[part]) for part in parts])

    def _network(self, lightness: Tensor, shots: Sequence[int]) -> Tensor:
        ab, features = self._forward(lightness, bool(self.references))
        if self.tta:
            ab = (ab + self._forward(lightness.flip(-1), False)[0].flip(-1)) / 2
        if self.references:
            ab = self.references.pull(
                ab, features, lambda grey: self._forward(grey, True)[1], shots
            )
        return ab

    @torch.inference_mode()
    def predict(self, lightness: Tensor) -> Tensor:
        """Predict full-resolution chroma for pictures.

        Args:
            lightness: `(B, 1, H, W)` L* in [0, 100].

        Returns:
            `(B, 2, H, W)` float32 a*b* on the colorizer's device, upsampled along L*'s edges.
        """
        lightness = lightness.to(self.device)
        small = self._shrink(lightness)
        return upsample_chroma(self._with_look(self.network(small), small), lightness)

    def colorize(self, picture: np.ndarray) -> np.ndarray:
        """Colorize one picture.

        Args:
            picture: `(H, W)` grey or `(H, W, 3)` R'G'B', uint8 or uint16; of a colour picture the
                luma (BT.601) is used.

        Returns:
            `(H, W, 3)` R'G'B' of the same type.

        Raises:
            ValueError: another shape or type.
        """
        shape = picture.shape
        grey_or_rgb = len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)
        if picture.dtype not in (np.uint8, np.uint16) or not grey_or_rgb or 0 in shape:
            raise ValueError(
                f"uint8 or uint16, (H, W) or (H, W, 3) wanted, not {picture.dtype} {shape}"
            )
        grey = picture if picture.ndim == 2 else luma_of_rgb(picture)
        depth = 8 * picture.dtype.itemsize
        batch = LumaBatch(
            torch.from_numpy(np.ascontiguousarray(grey))[None, None], depth, True, (0,), (0,)
        )
        format = picture_format(depth)
        (color,) = self.with_backoff(batch, lambda part: compose(part, self(part), format))
        rgb = torch.stack([plane[0] for plane in color.planes], dim=-1)
        return rgb.numpy().astype(picture.dtype)

    def with_backoff(self, batch: Part, work: Callable[[Part], Result]) -> Iterator[Result]:
        """Run `work` on a batch, or on parts of it where memory does not suffice.

        Out of memory halves the part, down to one frame, and lets threads take turns from then on;
        then the model moves to the CPU, with a warning. Every frame is worked on exactly once, in
        order; the size that fits is kept for the batches that follow.

        Yields:
            The results of `work`, in the order of the frames.
        """
        first = 0
        failed: RuntimeError | None = None
        count, alone = 0, False
        while first < len(batch):
            if failed is not None:  # behind the handler, which would hold on to the memory
                self._give_way(count, failed, alone)
                failed = None
            count = min(len(batch) - first, self.largest_batch or len(batch))
            try:
                alone = self.largest_batch is not None  # where memory is short
                with self._turns.taken(alone):
                    result = work(batch[first : first + count].to(self.device))
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                failed = error.with_traceback(None)
                continue
            first += count
            yield result

    def limit_batch(self, count: int) -> None:
        """Take at most `count` frames at once from now on, because memory has run out."""
        with self._limiting:  # the stages of a film and the threads of pictures share it
            if self.largest_batch is not None and self.largest_batch <= count:
                return
            self.largest_batch = count
        logger.warning("out of memory on %s: going on with batches of %d", self.device, count)
        torch.cuda.empty_cache()  # nothing where CUDA is not in use

    def _give_way(self, count: int, error: RuntimeError, alone: bool) -> None:
        if count > 1 or not alone:
            self.limit_batch(max(1, count // 2))
        elif self.device.type != "cpu":
            logger.warning("out of memory on %s for one frame: going on on the CPU", self.device)
            self.to(torch.device("cpu"))
            torch.cuda.empty_cache()
        else:
            raise out_of_memory() from error
