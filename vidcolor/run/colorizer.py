"""The colorizer: luma in, chroma out."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..color.bars import without_bars
from ..color.codes import luma_of_rgb
from ..color.compose import LARGE, compose, film_gray
from ..color.convert import gray_to_lightness
from ..color.resize import block_means, halved, upsample_chroma
from ..errors import DeviceError, WeightsError
from ..frames import LumaBatch, picture_format
from ..models import MODELS, FeatureModel
from ..models.fusion import optimize_for_inference
from ..models.weights import load_model, manifest
from ..motion.stabilizer import Stabilizer
from ..sources import FilmSource
from ..system.devices import PRECISIONS, choose_device, choose_precision, copy_network
from .batching import BatchRunner
from .prepared import Prepared, area_means, model_size, shrink
from .references.palette import STRIDES
from .references.references import References, read_references
from .references.shot_list import read_shots
from .references.stills import Stills
from .settings import ColorizerOptions

_CPU_PIXELS = 4 * 256**2  # in the network at once; more do not fit into the processor's cache


class Colorizer:
    """A model on a device, with everything between a frame's luma and its chroma.

    Args:
        options: the model, the device and so on; or only the model's name. The
            default model is `models.DEFAULT_MODEL`.
        **changes: fields of `ColorizerOptions` to set, such as `device="cpu"`.

    Attributes:
        options: as they were given; `device`, `precision` and `size` are what was chosen by them.

    Raises:
        WeightsError: the model or its weights cannot be loaded, or `references` are given and the
            model has no encoder features.
        DeviceError: the device or precision is not there.
        InputError: a reference cannot be read.
        ValueError: an option is out of range.
        TypeError: `changes` names something that is not an option.
    """

    def __init__(self, options: ColorizerOptions | str | None = None, **changes: Any) -> None:
        if not isinstance(options, ColorizerOptions):
            options = ColorizerOptions(model=options)
        self.options = options = replace(options, **changes)
        model, weights = options.model, options.weights
        self.device = choose_device(options.device)
        network, self.entry = load_model(model, None if weights is None else Path(weights))
        optimize_for_inference(network)
        self.model = network.to(self.device).to(memory_format=torch.channels_last)
        self._mixed = network.supports_mixed_precision
        self.precision = choose_precision(options.precision, self.device, self._mixed)
        self.name = self.entry.architecture if weights is not None or model is None else model
        self.stride = network.stride
        self.size = options.size or self.entry.input_size
        strength = 1.0 if options.reference_strength is None else options.reference_strength
        gray, self.shots = options.reference_gray, None
        if options.shots is not None:
            self.shots = read_shots(Path(options.shots))
            self.references: References = Stills(self.shots, self.shrink, strength, gray=gray)
        else:
            self.references = read_references(options.references, self.shrink, strength, gray=gray)
        hinted = self.shots is not None and self.shots.hints
        if (self.references.pictures or hinted) and not isinstance(network, FeatureModel):
            suitable = [
                name
                for name, entry in manifest().items()
                if issubclass(MODELS[entry.architecture], FeatureModel)
            ]
            raise WeightsError(
                f"the model '{self.name}' has no encoder features to compare pictures by; "
                f"reference pictures work with: {', '.join(suitable)}"
            )
        self.others = self._other_models()

    def _other_models(self) -> dict[str, Colorizer]:
        """The shipped models that single shots ask for, by name; frames have the same size."""
        shots = self.shots.shots if self.shots else ()
        own = None if self.options.weights else self.name
        names = {shot.model for shot in shots if shot.model not in (None, own)}
        others = {}
        for name in sorted(filter(None, names)):
            options = replace(self.options, model=name, weights=None, size=self.size, shots=None)
            other = Colorizer(replace(options, references=(), reference_strength=None))
            fits = other.stride == self.stride and other._scale() == self._scale()
            if not fits or (self.references and not isinstance(other.model, FeatureModel)):
                raise WeightsError(
                    f"{self.options.shots}: the model '{name}' cannot color single shots beside "
                    f"'{self.name}'; run it on the whole film"
                )
            other.references = self.references.copy()
            others[name] = other
        return others

    @torch.inference_mode()
    def _scale(self) -> int:
        """Sides of the network's input divided by those of its output."""
        blank = torch.zeros(1, 1, 2 * self.stride, 2 * self.stride, device=self.device)
        return 2 * self.stride // self._forward(blank, False)[0].shape[-1]

    def with_film(self, film: FilmSource) -> Colorizer:
        """A copy for the film that the listed shots are of, which knows the frames of the hints.

        Raises:
            InputError: it is another film.
        """
        if self.shots is None:
            return self
        self.shots.film.check(film.path, film.facts, film.deinterlace, self.shots.folder)
        other = copy.copy(self)
        assert isinstance(self.references, Stills)
        other.references = self.references.with_hints(film, self.lightness)
        other.others = {name: copy.copy(each) for name, each in self.others.items()}
        for each in other.others.values():
            each.references = other.references.copy()
        return other

    @property
    def gmacs(self) -> float:
        """Billions of multiply-adds for a frame, by what the weights say; 0 for unknown."""
        own = self.entry.gmacs * (self.size / self.entry.input_size) ** 2
        return max(own, *(each.gmacs for each in self.others.values()), 0.0)

    def on(self, device: torch.device) -> Colorizer:
        """A copy on another device, which shares nothing with this one that changes. If `device`
        does not support this one's precision, the copy's is chosen as by `auto`."""
        if device == self.device:
            return self
        other = copy.copy(self)
        other.device = device
        try:
            other.precision = choose_precision(self.options.precision, device, self._mixed)
        except DeviceError:
            other.precision = choose_precision("auto", device, self._mixed)
        other.model = copy_network(self.model, device)
        other.references = self.references.copy()
        other.others = {name: each.on(device) for name, each in self.others.items()}
        return other

    def __call__(self, batch: LumaBatch, stabilizer: Stabilizer | None = None) -> Tensor:
        """Predict a batch's chroma: `prepare`, `predict`, `stabilize`, `adjust`.

        Args:
            batch: luma on this colorizer's device.
            stabilizer: of the batch's film, to keep colors steady from frame to frame; it must get
                every frame once, in order.

        Returns:
            `(B, 2, h, w)` float32 a*b* at the model's output size, oriented like the batch's luma,
            of the picture between the bars.
        """
        prepared = self.prepare(batch, stabilizer)
        ab = self.predict(prepared)
        if stabilizer is not None:
            ab = self.stabilize(prepared, ab, stabilizer)
        assert ab is not None  # without a stabilizer every frame needs the network
        return self.adjust(prepared, ab)

    @torch.inference_mode()
    def prepare(self, batch: LumaBatch, stabilizer: Stabilizer | None = None) -> Prepared:
        """Make the network's input, L* at the model's size, and find how the frames move. It may
        be batches ahead of `predict`, in another thread; a stabilizer must get every frame once,
        in order."""
        lightness = self.lightness(batch)
        if stabilizer is None:
            return Prepared(batch, lightness)
        tracking = stabilizer.tracking if batch.checkpoint else None
        motions = stabilizer.track(lightness, batch.cuts)
        return Prepared(batch, lightness, tuple(motions), tracking)

    def predict(self, prepared: Prepared) -> Tensor | None:
        """Run the network on the n frames that need it.

        Batches may come in any order, and on the CPU from several threads at once.

        Returns:
            `(n, 2, h, w)` float32 a*b*, on the CPU if there is a stabilizer; None if n is 0.
        """
        needed, lightness = prepared.inference_indices, prepared.lightness
        shots, numbers = prepared.batch.shots, prepared.batch.numbers
        if not needed:
            return None
        if len(needed) < len(prepared):
            lightness, shots = lightness[needed], tuple(shots[i] for i in needed if shots)
            numbers = tuple(numbers[i] for i in needed if numbers)
        ab = self.network(lightness, shots, numbers)
        return ab.cpu() if prepared.motions else ab

    @torch.inference_mode()
    def stabilize(self, prepared: Prepared, ab: Tensor | None, stabilizer: Stabilizer) -> Tensor:
        """Keep the colors steady from frame to frame.

        Args:
            prepared: by `prepare` with this `stabilizer`; every frame once, in order. If the call
                fails, it can be made again, with fewer frames too.
            ab: what `predict` has returned.

        Returns:
            `(B, 2, h, w)` float32 a*b* of all frames, on the CPU.
        """
        return stabilizer.stabilize(prepared.motions, ab)

    @torch.inference_mode()
    def adjust(self, prepared: Prepared, ab: Tensor) -> Tensor:
        """Apply the color adjustment to a*b* of all frames, and turn it like the batch's luma."""
        ab = self._adjust(ab.to(prepared.lightness), prepared.lightness, prepared.batch.shots)
        if any(prepared.batch.tint):
            ab = ab + ab.new_tensor(prepared.batch.tint)[:, None, None]
        return torch.rot90(ab, prepared.batch.rotation // 90, (-2, -1))

    def input_size(self, picture: LumaBatch) -> tuple[int, int]:
        """Height and width of the network's input for an upright picture."""
        height, width = picture.luma.shape[-2:]
        return model_size(height, width, self.size, self.stride)

    @torch.inference_mode()
    def predict_batch(self, pictures: Sequence[LumaBatch]) -> list[Tensor]:
        """Predict the chroma of pictures of any sizes, but of one `input_size`, as one batch.

        On the CPU several threads may call it at once.

        Args:
            pictures: upright, on this colorizer's device.

        Returns:
            For each picture what `__call__` returns.
        """
        lightness = torch.cat([self.lightness(picture) for picture in pictures])
        ab = self._adjust(self.network(lightness), lightness)
        return list(torch.split(ab, [len(picture) for picture in pictures]))

    @torch.inference_mode()
    def lightness(self, batch: LumaBatch) -> Tensor:
        """The network's input for a batch: L* `(B, 1, h, w)` in [0, 100], upright, of the picture
        between the bars."""
        batch = without_bars(batch)
        codes = batch.luma
        least = self.input_size(batch)
        if batch.combed:
            codes = codes[..., ::2, :]  # the fields are two pictures
        height, width = codes.shape[-2:]
        # halved while the sides are even, on the codes, which is quick; the rest with a filter
        large = codes.numel() > LARGE
        while height >= 2 * least[0] and width >= 2 * least[1]:
            if large:
                codes = halved(codes)
            elif height % 2 or width % 2:
                break
            else:
                codes = block_means(codes, (2, 2))
            height, width = height // 2, width // 2
        gray = torch.rot90(film_gray(batch, codes), -(batch.rotation // 90), (-2, -1))
        upright = least if batch.rotation % 180 == 0 else least[::-1]
        return gray_to_lightness(shrink(gray, upright))

    def shrink(self, plane: Tensor) -> Tensor:
        height, width = plane.shape[-2:]
        return shrink(plane, model_size(height, width, self.size, self.stride))

    def _adjust(self, ab: Tensor, lightness: Tensor, shots: Sequence[int] = ()) -> Tensor:
        usual = self.options.adjustment
        if self.shots is None or not shots:
            return usual.apply(ab, area_means(lightness, ab) if usual.shifts else lightness)
        lightness, parts = area_means(lightness, ab), []
        for i, shot in enumerate(self.shots.shots[each] for each in shots):
            one = slice(i, i + 1)
            own = shot.adjustment(usual).apply(ab[one], lightness[one])
            parts.append(torch.zeros_like(own) if shot.skip else own)
        return torch.cat(parts)

    def _forward(self, lightness: Tensor, with_features: bool) -> tuple[Tensor, dict[int, Tensor]]:
        """The network's a*b* in Lab units, and its features where they are asked for."""
        lightness = lightness.contiguous(memory_format=torch.channels_last)
        # if values are out of the range of 16 bits, this batch again in fp32
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
    def describe(self, lightness: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
        """The network's a*b* and features of L* `(B, 1, h, w)`; only of a `FeatureModel`."""
        return self._forward(lightness, True)

    @torch.inference_mode()
    def network(
        self, lightness: Tensor, shots: Sequence[int] = (), numbers: Sequence[int] = ()
    ) -> Tensor:
        """What the network predicts, before stabilizing and adjusting.

        Args:
            lightness: `(B, 1, h, w)` L* at the model's size, from `lightness`.
            shots: number of each frame's shot, for references.
            numbers: number of each frame in its film, for references that are placed by it.

        Returns:
            `(B, 2, h', w')` float32 a*b*.
        """
        count = most = max(1, len(lightness))
        if self.device.type == "cpu":
            height, width = lightness.shape[-2:]
            most = max(1, _CPU_PIXELS // (height * width))
        step = math.ceil(count / math.ceil(count / most))  # parts of about one size
        parts = (slice(first, first + step) for first in range(0, count, step))
        return torch.cat([self._each(lightness[p], shots[p], numbers[p]) for p in parts])

    def _each(self, lightness: Tensor, shots: Sequence[int], numbers: Sequence[int]) -> Tensor:
        """`_network`, with the model of each frame's shot."""
        if not (self.others and self.shots and shots):
            return self._network(lightness, shots, numbers)
        names = [self.shots.shots[shot].model or "" for shot in shots]
        frames: list[Tensor] = [lightness] * len(names)
        for name in dict.fromkeys(names):
            same = [i for i, each in enumerate(names) if each == name]
            rows = [tuple(each[i] for i in same if each) for each in (shots, numbers)]
            ab = self.others.get(name, self)._network(lightness[same], *rows)
            for i, one in zip(same, ab.split(1), strict=True):
                frames[i] = one
        return torch.cat(frames)

    def _network(self, lightness: Tensor, shots: Sequence[int], numbers: Sequence[int]) -> Tensor:
        ab, features = self._forward(lightness, bool(self.references))
        if self.options.tta:
            ab = (ab + self._forward(lightness.flip(-1), False)[0].flip(-1)) / 2
        if self.references:
            ab = self.references.pull(ab, features, self.describe, shots, numbers)
        return ab

    @torch.inference_mode()
    def predict_full_size(self, lightness: Tensor) -> Tensor:
        """Predict full-resolution chroma for pictures.

        Args:
            lightness: `(B, 1, H, W)` L* in [0, 100].

        Returns:
            `(B, 2, H, W)` float32 a*b* on the colorizer's device, upsampled along L*'s edges.
        """
        lightness = lightness.to(self.device)
        small = self.shrink(lightness)
        return upsample_chroma(self._adjust(self.network(small), small), lightness)

    def colorize(self, picture: np.ndarray) -> np.ndarray:
        """Colorize one picture.

        Args:
            picture: `(H, W)` gray or `(H, W, 3)` R'G'B', uint8 or uint16; of a color picture the
                luma (BT.601) is used.

        Returns:
            `(H, W, 3)` R'G'B' of the same type.

        Raises:
            ValueError: another shape or type.
        """
        shape = picture.shape
        gray_or_rgb = len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)
        if picture.dtype not in (np.uint8, np.uint16) or not gray_or_rgb or 0 in shape:
            raise ValueError(
                f"uint8 or uint16, (H, W) or (H, W, 3) wanted, not {picture.dtype} {shape}"
            )
        gray = picture if picture.ndim == 2 else luma_of_rgb(picture)
        depth = 8 * picture.dtype.itemsize
        batch = LumaBatch(
            torch.from_numpy(np.ascontiguousarray(gray))[None, None], depth, True, (0,), (0,)
        )
        format = picture_format(depth)
        runner = BatchRunner(self)
        (color,) = runner.run(lambda model, part: compose(part, model(part), format), batch)
        rgb = torch.stack([plane[0] for plane in color.planes], dim=-1)
        return rgb.numpy().astype(picture.dtype)
