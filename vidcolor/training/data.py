"""Training samples: random crops, old-film degradations, and the order they come in."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torchvision.transforms.v2 as transforms
import torchvision.transforms.v2.functional as TF
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from ..color import grey_to_lightness, rgb_to_lab


def degrade(lightness: Tensor) -> Tensor:
    """Make L* `(1, H, W)` in [0, 100] look like old film: contrast, blur, grain, vignette."""
    height, width = lightness.shape[-2:]
    black, white = torch.rand(2).tolist()
    x = (lightness / 100) ** float(torch.empty(1).uniform_(-0.35, 0.35).exp())
    x = 0.12 * black + x * (1 - 0.12 * black - 0.12 * white)
    if torch.rand(1) < 0.5:
        x = TF.gaussian_blur(x, [5, 5], [float(torch.empty(1).uniform_(0.3, 1.5))])
    if torch.rand(1) < 0.3:
        y = torch.linspace(-1, 1, height)[:, None]
        r2 = y**2 + torch.linspace(-1, 1, width)[None, :] ** 2
        x = x * (1 - 0.2 * float(torch.rand(1)) * r2)
    x = x + float(torch.rand(1)) * 0.06 * torch.randn_like(x)
    return 100 * x.clamp(0, 1)


class CropDataset(Dataset[tuple[Tensor, Tensor]]):
    """Random square crops as (L* `(1, S, S)`, a*b* `(2, S, S)`).

    A sample's key is (epoch, index): its crop depends on these and the seed alone, so the stream
    is the same whatever the number of workers, and resumes at any step.
    """

    def __init__(
        self, pictures: list[np.ndarray], crop: int, min_scale: float, degraded: float, seed: int
    ) -> None:
        self.pictures = pictures
        self.degraded = degraded
        self.seed = seed
        self.augment = transforms.Compose(
            [
                transforms.RandomResizedCrop(crop, scale=(min_scale, 1.0), antialias=True),
                transforms.RandomHorizontalFlip(),
            ]
        )

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        epoch, index = key
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed((self.seed * 1_000_003 + epoch) * 1_000_003 + index)
            rgb = torch.from_numpy(self.pictures[index]).permute(2, 0, 1)
            rgb = self.augment(rgb).float() / 255
            lab = rgb_to_lab(rgb)
            lightness = lab[:1]
            if torch.rand(1) < 0.5:
                # film and video carry luma, whose grey differs from L* in saturated colours
                lightness = grey_to_lightness(TF.rgb_to_grayscale(rgb))
            if torch.rand(1) < self.degraded:
                lightness = degrade(lightness)
            return lightness, lab[1:]


class StepSampler(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index) keys from step `start` on, for ever; epochs are permutations."""

    def __init__(self, length: int, batch_size: int, seed: int, start: int = 0) -> None:
        self.length, self.batch_size, self.seed, self.start = length, batch_size, seed, start

    def _order(self, epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        return torch.randperm(self.length, generator=generator).tolist()

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        position = self.start * self.batch_size
        epoch = position // self.length
        order = self._order(epoch)
        while True:
            batch = []
            for _ in range(self.batch_size):
                if position // self.length != epoch:
                    epoch = position // self.length
                    order = self._order(epoch)
                batch.append((epoch, order[position % self.length]))
                position += 1
            yield batch
