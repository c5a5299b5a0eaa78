"""`best`: a ResNet-50 encoder, attention over the whole picture, and a U-Net decoder.

The encoder is `resnet.ResNetEncoder`. At stride 16 its features are brought to `width` channels,
and transformer blocks (Vaswani et al. 2017; norm first) let every place see every other, so that
one sky gets one colour; a depthwise convolution before each block tells places apart at any size
(Chu et al. 2021, "Conditional Positional Encodings for Vision Transformers"). The decoder fuses
the skips at the strides 8 and 4 with plain 3x3 convolutions and predicts a*b* at a quarter of the
input.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import conv_norm_relu
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
        tokens = x.flatten(2).transpose(1, 2)
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(self.norm1(tokens)).chunk(3, dim=2)
        )
        seen = F.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.project(seen.transpose(1, 2).flatten(2))
        tokens = tokens + self.mlp(self.norm2(tokens))
        return tokens.transpose(1, 2).reshape(batch, channels, height, width)


def _skip(inputs: int, outputs: int) -> nn.Sequential:
    """Features of the encoder, which are sums without a norm, for the decoder."""
    return nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(), *conv_norm_relu(inputs, outputs, 1))


class Best(nn.Module):
    """L* `(B, 1, H, W)` in [0, 100], H and W multiples of 16, to a*b* `(B, 2, H/4, W/4)`.

    Args:
        width: channels at stride 16, a multiple of 64; the decoder's are 3/4 and 1/2 of it.
        blocks: transformer blocks.
    """

    stride = 16
    head_prefixes = ("neck.", "context.", "skip8.", "skip4.", "up8.", "up4.", "head.")

    def __init__(self, width: int = 256, blocks: int = 2) -> None:
        super().__init__()
        if width < 64 or width % 64 or blocks < 0:
            raise ValueError(
                f"width must be a multiple of 64 and blocks at least 0, not {width} and {blocks}"
            )
        self.encoder = ResNetEncoder()
        self.neck = _skip(1024, width)
        self.context = nn.Sequential(*(Attention(width, width // 32) for _ in range(blocks)))
        self.skip8 = _skip(512, width // 2)
        self.up8 = conv_norm_relu(width + width // 2, 3 * width // 4)
        self.skip4 = _skip(256, width // 4)
        self.up4 = nn.Sequential(
            conv_norm_relu(width, width // 2), conv_norm_relu(width // 2, width // 4)
        )
        self.head = nn.Conv2d(width // 4, 2, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def load_pretrained(self, tensors: dict[str, Tensor]) -> None:
        """Start the encoder from an ImageNet classifier; see `ResNetEncoder.load_imagenet`."""
        self.encoder.load_imagenet(tensors)

    def features(self, lightness: Tensor) -> dict[int, Tensor]:
        """The encoder's features by stride, 2, 4, 8 and 16, of L* `(B, 1, H, W)` in [0, 100]."""
        return self.encoder(lightness / 100)

    def forward(self, lightness: Tensor) -> Tensor:
        return self.from_features(self.features(lightness))

    def from_features(self, features: dict[int, Tensor]) -> Tensor:
        """What `forward` makes of `features`, a*b* `(B, 2, H/4, W/4)`."""
        x = self.context(self.neck(features[16]))
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear")
        x = self.up8(torch.cat([x, self.skip8(features[8])], dim=1))
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear")
        x = self.up4(torch.cat([x, self.skip4(features[4])], dim=1))
        # the head works in units of 50, about the largest chroma of a photograph
        return 50 * self.head(x).float()
