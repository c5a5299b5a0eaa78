"""The contract that every model keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from ..errors import WeightsError


class ColorModel(nn.Module, ABC):
    """A network that predicts chroma from lightness, each picture of a batch on its own.

    The constructor's keyword arguments are the architecture's options. They are recorded with the
    weights; a bad value raises ValueError. What a subclass does not set keeps the default below.

    Attributes:
        stride: the input's height and width are multiples of it, in pixels.
        native: name of the method whose result training compares with the truth: `forward` (a*b*),
            `rgb`, `logits` or `mean_ab`. It takes one plane `(B, 1, H, W)`.
        supports_mixed_precision: whether bf16 leaves the colors as they are in fp32, because
            `fp32_modules` names the layers that need fp32. Without it, fp32 is the default on CPUs.
        head_prefixes: prefixes of the parameters that `freeze = "backbone"` leaves trainable.
        min_training_batch: fewest pictures in a training step.
        base_model: the model whose trained weights `load_base` takes, if any.
        public_checkpoint: file name of public weights that `vidcolor weights import` reads, if any.
        public_source: where to get that file.
    """

    stride: ClassVar[int]
    native: ClassVar[str] = "forward"
    supports_mixed_precision: ClassVar[bool] = False
    head_prefixes: ClassVar[tuple[str, ...]] = ()
    min_training_batch: ClassVar[int] = 1
    base_model: ClassVar[str] = ""
    public_checkpoint: ClassVar[str] = ""
    public_source: ClassVar[str] = ""

    @abstractmethod
    def forward(self, lightness: Tensor) -> Tensor:
        """Predict chroma.

        Args:
            lightness: L* `(B, 1, H, W)` in [0, 100].

        Returns:
            a*b* `(B, 2, h, w)` in Lab units, h <= H and w <= W; it covers the same field of view.
        """

    def fp32_modules(self) -> Iterator[nn.Module]:
        """The layers that stay in fp32 where autocast asks for bf16."""
        return iter(())

    def load_pretrained(self, tensors: dict[str, Tensor]) -> None:
        """Fill the pretrained part, usually the encoder, from another network's tensors by name.

        Raises:
            WeightsError: the model has no pretrained part.
            KeyError, ValueError, RuntimeError: the tensors do not fit.
        """
        raise WeightsError("the model has no pretrained part")

    def download_pretrained(self) -> dict[str, Tensor]:
        """The tensors for `load_pretrained` from torchvision.

        Raises:
            WeightsError: torchvision has none.
            OSError: the download fails.
        """
        raise WeightsError("torchvision has no weights of this model")

    def load_base(self, tensors: dict[str, Tensor]) -> None:
        """Fill the part that is a smaller model from the state dict of `base_model`.

        Raises:
            WeightsError: the model has no such part.
        """
        raise WeightsError("the model has no smaller model inside")

    if TYPE_CHECKING:

        def __call__(self, lightness: Tensor) -> Tensor:
            """`forward`, with nn.Module's hooks."""


class FeatureModel(ColorModel):
    """A model whose encoder tells places apart; reference pictures need one."""

    @abstractmethod
    def features(self, lightness: Tensor) -> dict[int, Tensor]:
        """Encode pictures.

        Args:
            lightness: L* `(B, 1, H, W)` in [0, 100].

        Returns:
            Features `(B, C, H/s, W/s)` by stride s; the strides 8 and 16 are among them.
        """

    @abstractmethod
    def from_features(self, features: dict[int, Tensor]) -> Tensor:
        """What `forward` returns for pictures with these `features`."""

    def forward(self, lightness: Tensor) -> Tensor:
        return self.from_features(self.features(lightness))
