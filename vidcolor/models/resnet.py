"""The encoder of `best`: a pre-activation ResNet-50 without its last stage.

He, Zhang, Ren and Sun 2016, "Identity Mappings in Deep Residual Networks": batch norm and ReLU
stand before each convolution. The stride of a stage is in the 3x3 convolution of its first unit.
The batch norms keep the statistics they were loaded with: fine-tuning sees few pictures a step, and
a colorizer must treat each picture of a batch on its own while it is trained, too.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import IMAGENET_MEAN, IMAGENET_STD

STAGES = ((64, 256, 3, 1), (128, 512, 4, 2), (256, 1024, 6, 2))  # hidden, output, units, stride


class Unit(nn.Module):
    """One bottleneck unit, `(B, C_in, H, W)` to `(B, C_out, H/s, W/s)`."""

    def __init__(self, inputs: int, hidden: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.body = nn.Sequential(  # convolution and batch norm side by side can be folded
            nn.Conv2d(inputs, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, stride, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, outputs, 1, bias=False),
        )
        first = stride > 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if first else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm(x), inplace=True)
        shortcut: Tensor = x if self.shortcut is None else self.shortcut(y)
        change: Tensor = self.body(y)
        return shortcut + change


class ResNetEncoder(nn.Module):
    """Features of a gray image, `(B, 1, H, W)` in [0, 1], H and W multiples of 16.

    Returns a dict of stride to features: 2: 64 channels, 4: 256, 8: 512, 16: 1024. Those of the
    strides 4 to 16 are the sums of the residual stages, without a norm.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 64, 7, 2, 3), nn.BatchNorm2d(64), nn.ReLU())
        stages = []
        channels = 64
        for hidden, outputs, count, stride in STAGES:
            units = []
            for unit in range(count):
                units.append(Unit(channels, hidden, outputs, stride if unit == 0 else 1))
                channels = outputs
            stages.append(nn.Sequential(*units))
        self.stages = nn.ModuleList(stages)

    def train(self, mode: bool = True) -> ResNetEncoder:
        """As usual, but batch norm keeps its statistics."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, gray: Tensor) -> dict[int, Tensor]:
        features = {2: self.stem(gray)}
        x = F.max_pool2d(features[2], 3, 2, 1)
        for number, stage in enumerate(self.stages):
            x = features[4 << number] = stage(x)
        return features

    def fp32_modules(self) -> Iterator[nn.Module]:
        """The layers that stay in fp32 beside bf16: those whose output begins the sums of the
        residual units. What each unit adds may be rounded."""
        yield self.stem[0]
        for stage in self.stages:
            for unit in stage.children():
                if isinstance(unit, Unit) and unit.shortcut is not None:
                    yield unit.shortcut

    def load_imagenet(self, tensors: dict[str, Tensor]) -> None:
        """Load an RGB ImageNet trunk, names `stageS_convN_weight`, `stageS_batchnormN_gamma` ...

        A stage's convolutions and batch norms are counted in order of execution, the shortcut of
        its first unit as that unit's last. The three input channels, with the ImageNet mean and
        deviation and the norm of the input, are folded into one gray channel: a gray image gives
        the features the RGB network gives it (but for the zero padding at the border).

        Raises:
            KeyError: a tensor is missing.
            ValueError: there are tensors that the encoder has no place for.
            RuntimeError: a tensor has another shape.
        """
        left = dict(tensors)
        norm = [left.pop(f"batchnorm0_{key}").float() for key in _NORM]
        slope = norm[0] / (norm[3] + 1e-5).sqrt()
        offset = norm[1] - slope * norm[2]  # of the input's norm; then that of the picture's
        slope, offset = slope / IMAGENET_STD, offset - slope * IMAGENET_MEAN / IMAGENET_STD
        weight = left.pop("conv0_weight").float()
        with torch.no_grad():
            stem, stem_norm, _ = self.stem
            assert isinstance(stem, nn.Conv2d)
            assert stem.bias is not None
            assert isinstance(stem_norm, nn.BatchNorm2d)
            stem.weight.copy_((weight * slope[:, None, None]).sum(dim=1, keepdim=True))
            stem.bias.copy_((weight * offset[:, None, None]).sum(dim=(1, 2, 3)))
            _load_norm(stem_norm, left, "batchnorm1")
            for name, module in self._in_order():
                if isinstance(module, nn.BatchNorm2d):
                    _load_norm(module, left, name)
                else:
                    module.weight.copy_(left.pop(f"{name}_weight"))
        if left:
            raise ValueError(f"{len(left)} tensors too many, such as {sorted(left)[0]}")

    def _in_order(self) -> Iterator[tuple[str, nn.Conv2d | nn.BatchNorm2d]]:
        """The stages' layers with the names they have in a file."""
        for number, stage in enumerate(self.stages, start=1):
            conv = norm = 0
            for unit in stage.children():
                assert isinstance(unit, Unit)
                for layer in (unit.norm, *unit.body, unit.shortcut):
                    if isinstance(layer, nn.BatchNorm2d):
                        yield f"stage{number}_batchnorm{norm}", layer
                        norm += 1
                    elif isinstance(layer, nn.Conv2d):
                        yield f"stage{number}_conv{conv}", layer
                        conv += 1


_NORM = ("gamma", "beta", "running_mean", "running_var")


def _load_norm(module: nn.BatchNorm2d, tensors: dict[str, Tensor], name: str) -> None:
    places = (module.weight, module.bias, module.running_mean, module.running_var)
    for key, place in zip(_NORM, places, strict=True):
        place.copy_(tensors.pop(f"{name}_{key}"))  # type: ignore[union-attr]
    # a channel that never varied passes on nothing; its norm would blow up a hundredfold the first
    # thing that fine-tuning puts into it
    assert module.running_var is not None
    module.running_var[module.running_var < module.eps] = 1.0
