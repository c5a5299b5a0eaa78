"""`fast`: a MobileNetV2 encoder with a light U-Net decoder.

The encoder is MobileNetV2 1.0 (Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear
Bottlenecks", table 2) with batch norm folded into the convolutions, so the weights of an ImageNet
classifier load layer by layer. The decoder is this project's own: 1x1 from 1280 to 256 channels
with a global-average context, then plain 3x3 convolutions over upsampled features and the
encoder's skips at strides 16, 8 and 4. CPUs run plain convolutions fastest.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import FeatureModel
from .blocks import IMAGENET_MEAN, IMAGENET_STD, ConvReLU6, conv_norm_relu
from .registry import register_model

# (expansion, output channels, repeats, stride), MobileNetV2 table 2
_BOTTLENECKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_SKIPS = {24: 4, 32: 8, 96: 16}  # output channels of the last block at a stride: that stride


class Bottleneck(nn.Module):
    """Inverted residual without batch norm, `(B, C_in, H, W)` to `(B, C_out, H/s, W/s)`."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = ConvReLU6(inputs, hidden, 1) if expansion > 1 else None
        self.depthwise = ConvReLU6(hidden, hidden, 3, stride, 1, groups=hidden)
        self.project = nn.Conv2d(hidden, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        return x + y if self.residual else y


class MobileNetV2Encoder(nn.Module):
    """MobileNetV2 features of a gray image, `(B, 1, H, W)` in [0, 1].

    Returns a dict of stride to features: 4: 24 channels, 8: 32, 16: 96, 32: 1280.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvReLU6(1, 32, 3, 2, 1)
        blocks: list[nn.Module] = []
        channels = 32
        for expansion, outputs, repeats, stride in _BOTTLENECKS:
            for repeat in range(repeats):
                blocks.append(
                    Bottleneck(channels, outputs, expansion, stride if repeat == 0 else 1)
                )
                channels = outputs
        self.blocks = nn.ModuleList(blocks)
        self.top = ConvReLU6(320, 1280, 1)

    def forward(self, gray: Tensor) -> dict[int, Tensor]:
        x = self.stem(gray)
        features = {}
        for block in self.blocks:
            x = block(x)
            if x.shape[1] in _SKIPS:
                features[_SKIPS[x.shape[1]]] = x
        features[32] = self.top(x)
        return features

    def load_imagenet(self, tensors: dict[str, Tensor]) -> None:
        """Load an RGB ImageNet encoder: `conv_N_weight`, `conv_N_bias` in order of execution.

        The three input channels, with the ImageNet mean and deviation, are folded into one gray
        channel: a gray image gives the features the RGB network gives it (but for the zero
        padding at the border).
        """
        numbers = sorted(int(name.split("_")[1]) for name in tensors if name.endswith("_weight"))
        convs = [m for m in self.modules() if isinstance(m, nn.Conv2d)]
        # modules() walks the stem, the blocks in order and the top: the order of execution
        if len(numbers) != len(convs):
            raise ValueError(
                f"{len(numbers)} convolutions in the file, {len(convs)} in the encoder"
            )
        with torch.no_grad():
            for number, conv in zip(numbers, convs, strict=True):
                weight = tensors[f"conv_{number}_weight"].float()
                bias = tensors[f"conv_{number}_bias"].float()
                if conv is self.stem:
                    per_channel = weight / IMAGENET_STD[None, :, None, None]
                    bias = bias - (per_channel * IMAGENET_MEAN[None, :, None, None]).sum(
                        dim=(1, 2, 3)
                    )
                    weight = per_channel.sum(dim=1, keepdim=True)
                conv.weight.copy_(weight)
                conv.bias.copy_(bias)  # type: ignore[union-attr]


class FastDecoder(nn.Module):
    """The encoder's features at the strides 4 to 32 to a map of 64 channels at stride 4."""

    def __init__(self) -> None:
        super().__init__()
        self.neck = conv_norm_relu(1280, 256, 1)
        self.context = nn.Sequential(nn.Linear(1280, 256), nn.ReLU(), nn.Linear(256, 256))
        self.up16 = nn.Sequential(conv_norm_relu(256 + 96, 256), conv_norm_relu(256, 256))
        self.up8 = conv_norm_relu(256 + 32, 160)
        self.up4 = nn.Sequential(conv_norm_relu(160 + 24, 96), conv_norm_relu(96, 64))

    def decode(self, features: dict[int, Tensor]) -> Tensor:
        """`MobileNetV2Encoder`'s features to `(B, 64, H/4, W/4)`."""
        x: Tensor = self.neck(features[32])
        x = x + self.context(features[32].mean(dim=(2, 3)))[:, :, None, None]
        for stride, block in ((16, self.up16), (8, self.up8), (4, self.up4)):
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear")
            x = block(torch.cat([x, features[stride].to(x.dtype)], dim=1))
        return x


@register_model("fast")
class Fast(FeatureModel, FastDecoder):
    """L* `(B, 1, H, W)` in [0, 100], H and W multiples of 32, to a*b* `(B, 2, H/4, W/4)`."""

    stride = 32
    supports_mixed_precision = True
    head_prefixes = ("neck.", "context.", "up16.", "up8.", "up4.", "head.")

    def __init__(self) -> None:
        super().__init__()
        self.encoder = MobileNetV2Encoder()
        self.head = nn.Conv2d(64, 2, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def load_pretrained(self, tensors: dict[str, Tensor]) -> None:
        """Start the encoder from an ImageNet classifier; see `MobileNetV2Encoder.load_imagenet`."""
        self.encoder.load_imagenet(tensors)

    def features(self, lightness: Tensor) -> dict[int, Tensor]:
        """The encoder's features by stride, 4, 8, 16 and 32, of L* `(B, 1, H, W)` in [0, 100]."""
        features: dict[int, Tensor] = self.encoder(lightness / 100)
        return features

    def fp32_modules(self) -> Iterator[nn.Module]:
        """The encoder: in bf16 it changes up to a third of the pixels. The decoder does four
        fifths of the arithmetic, and in bf16 no pixel changes visibly."""
        return self.encoder.modules()

    def from_features(self, features: dict[int, Tensor]) -> Tensor:
        """a*b* `(B, 2, H/4, W/4)` from what `features` returns."""
        # the head works in units of 50, about the largest chroma of a photograph
        ab: Tensor = self.head(self.decode(features))
        return 50 * ab.float()
