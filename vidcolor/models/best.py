"""`best`: the prediction of `fast`, corrected by a ResNet-50, attention and a U-Net.

Two encoders see the picture, `fast`'s MobileNetV2 and `resnet.ResNetEncoder`. At stride 16 the
latter's features are brought to `width` channels, and transformer blocks (Vaswani et al. 2017; norm
first) let every place see every other, so that one sky gets one color; a depthwise convolution
before each block tells places apart at any size (Chu et al. 2021, "Conditional Positional Encodings
for Vision Transformers"). The decoder fuses the skips at the strides 8 and 4 with plain 3x3
convolutions. Its last map and that of `fast`'s own
decoder together give what is added to `fast`'s a*b*, at a quarter of the input.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import FeatureModel
from .blocks import conv_norm_relu
from .fast import FastDecoder, MobileNetV2Encoder
from .registry import register_model
from .resnet import ResNetEncoder


class Attention(nn.Module):
    """A positional convolution and a transformer block on a map, `(B, C, H, W)` to the same."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.position = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm1 = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 3 * channels), nn.GELU(), nn.Linear(3 * channels, channels)
        )
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.position(x)
        batch, channels, height, width = x.shape
        tokens: Tensor = x.flatten(2).transpose(1, 2)
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(self.norm1(tokens)).chunk(3, dim=2)
        )
        attended = F.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.project(attended.transpose(1, 2).flatten(2))
        tokens = tokens + self.mlp(self.norm2(tokens))
        return tokens.transpose(1, 2).reshape(batch, channels, height, width)


def _skip(inputs: int, outputs: int) -> nn.Sequential:
    """Features of the encoder, which are sums without a norm, for the decoder."""
    return nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(), *conv_norm_relu(inputs, outputs, 1))


class TwoEncoders(nn.Module):
    """ResNet-50's trunk and MobileNetV2 on the same gray picture, `(B, 1, H, W)` in [0, 1]."""

    mobilenet_channels: ClassVar = {4: 24, 8: 32, 16: 96, 32: 1280}

    def __init__(self) -> None:
        super().__init__()
        self.resnet = ResNetEncoder()
        self.mobilenet = MobileNetV2Encoder()

    def forward(self, gray: Tensor) -> dict[int, Tensor]:
        """Features by stride, 2 to 32; where both have some, the ResNet's channels come first."""
        features: dict[int, Tensor] = self.resnet(gray)
        for stride, small in self.mobilenet(gray).items():
            both = [features[stride], small] if stride in features else [small]
            features[stride] = torch.cat(both, dim=1)
        return features

    def split(self, features: dict[int, Tensor]) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """The ResNet's features and the MobileNet's."""
        small = {s: features[s][:, -count:] for s, count in self.mobilenet_channels.items()}
        large = {
            s: x[:, : x.shape[1] - self.mobilenet_channels.get(s, 0)] for s, x in features.items()
        }
        return large, small


@register_model("best")
class Best(FeatureModel):
    """L* `(B, 1, H, W)` in [0, 100], H and W multiples of 32, to a*b* `(B, 2, H/4, W/4)`.

    Args:
        width: channels at stride 16, a multiple of 64; the decoder's are 3/4 and 1/2 of it.
        blocks: transformer blocks.
    """

    stride = 32
    supports_mixed_precision = True
    base_model = "fast"
    head_prefixes = (
        *("neck.", "context.", "skip8.", "skip4.", "up8.", "up4."),
        *("base.", "base_head.", "join.", "head."),
    )

    def __init__(self, width: int = 256, blocks: int = 2) -> None:
        super().__init__()
        if width < 64 or width % 64 or blocks < 0:
            raise ValueError(
                f"width must be a multiple of 64 and blocks at least 0, not {width} and {blocks}"
            )
        self.encoder = TwoEncoders()
        self.neck = _skip(1024, width)
        self.context = nn.Sequential(*(Attention(width, width // 32) for _ in range(blocks)))
        self.skip8 = _skip(512, width // 2)
        self.up8 = conv_norm_relu(width + width // 2, 3 * width // 4)
        self.skip4 = _skip(256, width // 4)
        self.up4 = nn.Sequential(
            conv_norm_relu(width, width // 2), conv_norm_relu(width // 2, width // 4)
        )
        self.base, self.base_head = FastDecoder(), nn.Conv2d(64, 2, 1)
        self.join = conv_norm_relu(width // 4 + 64, 64)
        self.head = nn.Conv2d(64, 2, 1)
        for last in (self.base_head, self.head):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def load_pretrained(self, tensors: dict[str, Tensor]) -> None:
        """Start the ResNet from an ImageNet classifier; see `ResNetEncoder.load_imagenet`."""
        self.encoder.resnet.load_imagenet(tensors)

    def load_base(self, tensors: dict[str, Tensor]) -> None:
        """Fill the smaller half from the state dict of `fast`; with zero heads, the untrained rest
        then adds nothing to what `fast` predicts."""
        parts = {"encoder.": self.encoder.mobilenet, "head.": self.base_head, "": self.base}
        left = dict(tensors)
        for prefix, module in parts.items():
            names = [name for name in left if name.startswith(prefix)]
            module.load_state_dict({name.removeprefix(prefix): left.pop(name) for name in names})

    def features(self, lightness: Tensor) -> dict[int, Tensor]:
        """The encoders' features by stride, 2 to 32, of L* `(B, 1, H, W)` in [0, 100]."""
        features: dict[int, Tensor] = self.encoder(lightness / 100)
        return features

    def fp32_modules(self) -> Iterator[nn.Module]:
        """`fast`'s encoder, and what begins the sums of the ResNet."""
        yield from self.encoder.mobilenet.modules()
        yield from self.encoder.resnet.fp32_modules()

    def from_features(self, features: dict[int, Tensor]) -> Tensor:
        """a*b* `(B, 2, H/4, W/4)` from what `features` returns."""
        large, small = self.encoder.split(features)
        base = self.base.decode(small)
        x = self.context(self.neck(large[16]))
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear")
        x = self.up8(torch.cat([x, self.skip8(large[8])], dim=1))
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear")
        x = self.up4(torch.cat([x, self.skip4(large[4])], dim=1))
        change = self.head(self.join(torch.cat([x, base], dim=1)))
        # the heads work in units of 50, about the largest chroma of a photograph
        ab: Tensor = self.base_head(base) + change
        return 50 * ab.float()
