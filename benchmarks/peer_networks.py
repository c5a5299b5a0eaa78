"""Networks of the size of two well-known colorizers, with random values.

Written from the published descriptions: what they cost is theirs, what they would color is not,
because nothing is loaded. Both take L* `(B, 1, H, W)` in [0, 100] and return a*b* `(B, 2, h, w)`
in Lab units, as the networks of `vidcolor.models` do.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import convnext_tiny, resnet101

from vidcolor.models import ColorModel

_AB = 110.0


def gray_rgb(lightness: Tensor) -> Tensor:
    """L* `(B, 1, H, W)` to three equal channels of about [-0.5, 0.5]."""
    return (lightness / 100 - 0.5).expand(-1, 3, -1, -1)


def convolution(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Convolution, batch norm, ReLU; the size stays."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class ShuffleUp(nn.Module):
    """Upsampling by a 1x1 convolution and a pixel shuffle (Shi et al. 2016), then a 2x2 blur.

    `(B, inputs, H, W)` to `(B, outputs, factor H, factor W)`.
    """

    def __init__(self, inputs: int, outputs: int, factor: int = 2) -> None:
        super().__init__()
        self.spread = convolution(inputs, outputs * factor**2, 1)
        self.shuffle = nn.PixelShuffle(factor)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(self.shuffle(self.spread(x)), (1, 0, 1, 0), mode="replicate")
        return F.avg_pool2d(x, 2, 1)


class UnetBlock(nn.Module):
    """The decoder's step: up by 2, beside the encoder's features, one 3x3 convolution."""

    def __init__(self, inputs: int, skipped: int, outputs: int) -> None:
        super().__init__()
        self.up = ShuffleUp(inputs, outputs)
        self.norm = nn.BatchNorm2d(skipped)
        self.join = convolution(outputs + skipped, outputs, 3)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.up(x)
        if x.shape[-2:] != skip.shape[-2:]:  # the encoder has rounded up
            x = F.interpolate(x, size=skip.shape[-2:])
        joined: Tensor = self.join(F.relu(torch.cat([x, self.norm(skip)], dim=1)))
        return joined


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017): `(B, Q, width)` looks at `(B, K, width)`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        query, key, value = (
            layer(given).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, given in ((self.query, x), (self.key, memory), (self.value, memory))
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        attended: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return attended


class QueryLayer(nn.Module):
    """Color queries look at the picture, at each other, and think: a transformer's decoder."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.look, self.talk = Attention(width, heads), Attention(width, heads)
        self.think = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, width)
        )
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(3)])

    def forward(self, queries: Tensor, memory: Tensor) -> Tensor:
        queries = self.norms[0](queries + self.look(queries, memory))
        queries = self.norms[1](queries + self.talk(queries, queries))
        thought: Tensor = self.norms[2](queries + self.think(queries))
        return thought


class DDColorTinySized(ColorModel):
    """As large as DDColor tiny (Kang et al., ICCV 2023: 55.0 M parameters).

    A ConvNeXt-T encoder, a pixel decoder of three U-Net steps and an upsampling by four, and 100
    color queries of 256 values in nine transformer layers over the decoder's three scales. The
    product of queries and pixels, beside the picture, gives a*b*.
    """

    stride = 32
    queries, width, heads, hidden, rounds = 100, 256, 8, 2048, 3

    def __init__(self) -> None:
        super().__init__()
        self.encoder = convnext_tiny(weights=None).features
        self.blocks = nn.ModuleList(
            [UnetBlock(768, 384, 512), UnetBlock(512, 192, 512), UnetBlock(512, 96, 256)]
        )
        self.last = ShuffleUp(256, self.width, 4)
        self.project = nn.ModuleList([nn.Conv2d(c, self.width, 1) for c in (512, 512, 256)])
        self.colors = nn.Parameter(torch.randn(self.queries, self.width))
        self.layers = nn.ModuleList(
            [QueryLayer(self.width, self.heads, self.hidden) for _ in range(3 * self.rounds)]
        )
        self.embed = nn.Sequential(
            *(nn.Sequential(nn.Linear(self.width, self.width), nn.ReLU()) for _ in range(2)),
            nn.Linear(self.width, self.width),
        )
        self.refine = nn.Conv2d(self.queries + 3, 2, 1)

    def forward(self, lightness: Tensor) -> Tensor:
        rgb = gray_rgb(lightness)
        x, scales = rgb, []
        for number, stage in enumerate(self.encoder):
            x = stage(x)
            if number % 2:  # odd stages compute, even ones shrink
                scales.append(x)
        decoded = []
        for block, skip in zip(self.blocks, scales[2::-1], strict=True):
            x = block(x, skip)
            decoded.append(x)
        pixels = self.last(x)
        memories = [
            project(each).flatten(2).transpose(1, 2)
            for project, each in zip(self.project, decoded, strict=True)
        ]
        queries = self.colors.expand(len(lightness), -1, -1)
        for number, layer in enumerate(self.layers):
            queries = layer(queries, memories[number % 3])
        products = torch.einsum("bqc,bchw->bqhw", self.embed(queries), pixels)
        ab: Tensor = _AB * self.refine(torch.cat([products, rgb], dim=1))
        return ab


class SelfAttention(nn.Module):
    """Attention among all places of a map (Zhang et al. 2019), added to it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.key = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.value = nn.Conv2d(channels, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (layer(x).flatten(2) for layer in (self.query, self.key, self.value))
        weights = torch.bmm(query.transpose(1, 2), key).softmax(dim=1)
        return x + self.gamma * torch.bmm(value, weights).view_as(x)


class DeOldifySized(ColorModel):
    """As large as DeOldify's generator for video (github.com/jantic/DeOldify; 218 M parameters).

    A ResNet-101 encoder and a wide U-Net: 4096 channels in the middle, four steps up, the last
    upsampling beside the picture itself, and two convolutions of 259 channels at full size, which
    take most of the time.
    """

    stride = 16

    def __init__(self) -> None:
        super().__init__()
        self.encoder = resnet101(weights=None)
        self.encoder.fc = nn.Identity()
        self.middle = nn.Sequential(
            nn.BatchNorm2d(2048), nn.ReLU(), convolution(2048, 4096, 3), convolution(4096, 2048, 3)
        )
        self.blocks = nn.ModuleList(
            [
                UnetBlock(2048, 1024, 512),
                UnetBlock(512, 512, 512),
                UnetBlock(512, 256, 512),
                UnetBlock(512, 64, 256),
            ]
        )
        self.attention = SelfAttention(512)
        self.up = ShuffleUp(256, 256)
        self.last = nn.Sequential(convolution(259, 259, 3), convolution(259, 259, 3))
        self.out = nn.Conv2d(259, 2, 1)

    def forward(self, lightness: Tensor) -> Tensor:
        rgb, net = gray_rgb(lightness), self.encoder
        scales = [net.relu(net.bn1(net.conv1(rgb)))]
        x = net.maxpool(scales[0])
        for stage in (net.layer1, net.layer2, net.layer3):
            x = stage(x)
            scales.append(x)
        x = self.middle(net.layer4(x))
        for number, (block, skip) in enumerate(zip(self.blocks, scales[::-1], strict=True)):
            x = block(x, skip)
            if number == 1:
                x = self.attention(x)
        x = torch.cat([self.up(x), rgb], dim=1)
        ab: Tensor = _AB * self.out(x + self.last(x))
        return ab
