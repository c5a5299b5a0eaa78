"""`siggraph17`: the user-guided network, used without hints (Zhang et al. 2017).

Source: Zhang, Zhu, Isola, Geng, Lin, Yu, Efros, "Real-time user-guided image colorization with
learned deep priors", SIGGRAPH 2017, with the layer numbers of the authors' PyTorch release
(github.com/richzhang/colorization, `siggraph17`), so that the released state dict loads key for
key.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..base import ColorModel
from ..registry import register_model
from .eccv16 import AB_NORM, conv_block, normalized_lightness
from .gamut import ab_grid

# (input channels, output channels, convolutions, dilation); the first reads L*, two planes of
# hinted a*b* and a mask of where the hints are
_BLOCKS = (
    (4, 64, 2, 1),
    (64, 128, 2, 1),
    (128, 256, 3, 1),
    (256, 512, 3, 1),
    (512, 512, 3, 2),
    (512, 512, 3, 2),
    (512, 512, 3, 1),
)
_HINTS = 3
_CLASSES = 529  # of the second head: the whole grid of a*b* from -110 to 110 in steps of 10


def _up(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1))


def _short(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1))


@register_model("siggraph17")
class SIGGRAPH17(ColorModel):
    """L* `(B, 1, H, W)` in [0, 100], H and W multiples of 8, to a*b* `(B, 2, H, W)`.

    The hints and their mask are zero: the automatic mode. Each block runs once; the release runs
    the last three twice, to the same result.

    Its colors come from the regression head; the second head, `logits`, is there because the
    release has it, and has no part in `forward`.
    """

    stride = 8
    head_prefixes = ("model_class.", "model_out.")
    public_checkpoint = "siggraph17-df00044c.pth"
    public_source = "github.com/richzhang/colorization"

    def __init__(self) -> None:
        super().__init__()
        for number, (inputs, outputs, convolutions, dilation) in enumerate(_BLOCKS, start=1):
            block = conv_block(inputs, outputs, convolutions, dilation=dilation)
            self.add_module(f"model{number}", nn.Sequential(*block))
        self.model8up, self.model3short8 = _up(512, 256), _short(256, 256)
        self.model8 = nn.Sequential(nn.ReLU(inplace=True), *conv_block(256, 256, 2))
        self.model9up, self.model2short9 = _up(256, 128), _short(128, 128)
        self.model9 = nn.Sequential(nn.ReLU(inplace=True), *conv_block(128, 128, 1))
        self.model10up, self.model1short10 = _up(128, 128), _short(64, 128)
        self.model10 = nn.Sequential(
            nn.ReLU(inplace=True), nn.Conv2d(128, 128, 3, padding=1), nn.LeakyReLU(0.2)
        )
        self.model_class = nn.Sequential(nn.Conv2d(256, _CLASSES, 1))
        self.model_out = nn.Sequential(nn.Conv2d(128, 2, 1), nn.Tanh())

    @property
    def bins(self) -> Tensor:
        """The colors of the classes, a*b* `(529, 2)` in Lab units."""
        return ab_grid()

    def _features(self, lightness: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features at strides 1 (64 channels), 2 (128) and, decoded, 4 (256)."""
        x = F.pad(normalized_lightness(lightness), (0, 0, 0, 0, 0, _HINTS))
        skips = []
        for number in range(1, len(_BLOCKS) + 1):
            x = self.get_submodule(f"model{number}")(x)
            if number <= 3:
                skips.append(x)
                x = x[:, :, ::2, ::2]  # the release drops three of four pixels here
        full, half, quarter = skips
        return full, half, self.model8(self.model8up(x) + self.model3short8(quarter))

    def logits(self, lightness: Tensor) -> Tensor:
        """L* `(B, 1, H, W)` to unnormalized log probabilities `(B, 529, H/4, W/4)`.

        Class i is the color `bins[i]`.
        """
        scores: Tensor = self.model_class(self._features(lightness)[2])
        return scores

    def forward(self, lightness: Tensor) -> Tensor:
        full, half, x = self._features(lightness)
        x = self.model9(self.model9up(x) + self.model2short9(half))
        x = self.model10(self.model10up(x) + self.model1short10(full))
        ab: Tensor = self.model_out(x)
        return AB_NORM * ab.float()
