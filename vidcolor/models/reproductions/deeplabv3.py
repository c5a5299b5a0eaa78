"""`deeplabv3`: a segmentation network whose last layer chooses colors, S3c.

Source: Chen et al. 2017, "Rethinking Atrous Convolution for Semantic Image Segmentation", as
torchvision's `deeplabv3_resnet50`; seed document 003, question 3, tunes its last layer alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..blocks import IMAGENET_MEAN, IMAGENET_STD
from ..registry import register_model
from .classifier import PaletteClassifier

_LAST = "classifier.4."
_LEFT_OUT = (_LAST, "aux_classifier.")


@register_model("deeplabv3")
class DeepLabV3(PaletteClassifier):
    """L* `(B, 1, H, W)` in [0, 100], H and W multiples of 8, to a*b* `(B, 2, H, W)`.

    Natively `logits`. In training mode a batch of one picture fails with torch's ValueError: the
    image pooling branch has one value per channel and picture, and batch norm needs two. That is
    so with a frozen backbone too, unless its batch norm layers stay in evaluation mode.

    Args:
        colors: NC, at least 2.
        decode: `argmax` or `mean`, see `PaletteClassifier`.

    Raises:
        ValueError: an option is out of range.
    """

    stride = 8
    min_training_batch = 2
    head_prefixes = (f"net.{_LAST}",)

    def __init__(self, colors: int = 24, decode: str = "argmax") -> None:
        super().__init__(colors, decode)
        # imported here, because the model zoo takes time to import and other models do without it
        from torchvision.models.segmentation import deeplabv3_resnet50

        self.net = deeplabv3_resnet50(
            weights=None, weights_backbone=None, aux_loss=False, num_classes=colors
        )

    def logits(self, gray: Tensor) -> Tensor:
        """Gray levels `(B, 1, H, W)` in [0, 1] to scores before softmax, `(B, NC, H, W)`.

        The network works at an eighth of the size; its scores are upsampled bilinearly.
        """
        scales = zip(IMAGENET_MEAN.tolist(), IMAGENET_STD.tolist(), strict=True)
        channels = [(gray - mean) / std for mean, std in scales]
        scores: Tensor = self.net(torch.cat(channels, dim=1))["out"]
        return scores

    def download_pretrained(self) -> dict[str, Tensor]:
        """torchvision's state dict (COCO, VOC labels), from torch's hub cache or downloaded.

        Raises:
            OSError: the download fails.
        """
        from torchvision.models.segmentation import DeepLabV3_ResNet50_Weights

        weights = DeepLabV3_ResNet50_Weights.DEFAULT
        return dict(weights.get_state_dict(progress=False, check_hash=True))

    def load_pretrained(self, tensors: dict[str, Tensor]) -> None:
        """Load torchvision's state dict of a pretrained `deeplabv3_resnet50`.

        The last layer (it scores other classes) and the auxiliary classifier are left out.

        Args:
            tensors: the state dict, its keys as torchvision names them.

        Raises:
            ValueError: a key is missing, unknown, or of another shape; the first one is named.
        """
        own = {k: v for k, v in self.net.state_dict().items() if not k.startswith(_LEFT_OUT)}
        given = {k: v for k, v in tensors.items() if not k.startswith(_LEFT_OUT)}
        for key, tensor in own.items():
            if key not in given:
                raise ValueError(f"deeplabv3_resnet50 needs '{key}', which is not there")
            if given[key].shape != tensor.shape:
                found, wanted = tuple(given[key].shape), tuple(tensor.shape)
                raise ValueError(f"'{key}' has the shape {found}, not {wanted}")
        for key in given:
            # a deeper ResNet holds all of these keys and more
            if key not in own:
                raise ValueError(f"deeplabv3_resnet50 has no '{key}'; another network's weights?")
        self.net.load_state_dict(given, strict=False)
