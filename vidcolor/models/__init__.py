"""The architectures, by name.

The contract every model keeps: `forward` takes L* `(B, 1, H, W)` in [0, 100], with H and W
multiples of the class attribute `stride`, and returns a*b* `(B, 2, h, w)` in Lab units at any
h <= H, w <= W that spans the same field of view. Each picture of a batch is coloured on its own.
What a model predicts natively, and training compares with the truth, is a method of its own:
`rgb`, `logits` or `mean_ab`. The constructor's keyword arguments are the architecture's options;
they are recorded with the weights. `head_prefixes`, where a class has it, names the parameters
that `--freeze backbone` leaves trainable. A name with a leading underscore is hidden from
listings.

A model whose encoder can tell what stands where also offers `features`, L* `(B, 1, H, W)` to a
dict of stride to features `(B, C, H/stride, W/stride)`, strides 8 and 16 among them, and
`from_features`, that dict to a*b*; `forward(x)` is `from_features(features(x))`. Reference pictures
(`reference.py`) work with such models alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ..errors import WeightsError
from .best import Best
from .fast import Fast
from .ramp import Ramp
from .reproductions.autoencoder import Autoencoder
from .reproductions.cunet import CUnet
from .reproductions.deeplabv3 import DeepLabV3
from .reproductions.eccv16 import ECCV16
from .reproductions.mean_chroma import MeanChromaCNN, MeanChromaFC
from .reproductions.plain_cnn import PlainCNN
from .reproductions.pool_cnn import PoolCNN, PoolUNet
from .reproductions.siggraph17 import SIGGRAPH17
from .reproductions.skip_cnn import SkipCNN

MODELS: dict[str, Callable[..., nn.Module]] = {
    "fast": Fast,
    "best": Best,
    "skip_cnn": SkipCNN,
    "eccv16": ECCV16,
    "siggraph17": SIGGRAPH17,
    "cunet": CUnet,
    "plain_cnn": PlainCNN,
    "pool_cnn": PoolCNN,
    "pool_unet": PoolUNet,
    "deeplabv3": DeepLabV3,
    "mean_chroma_fc": MeanChromaFC,
    "mean_chroma_cnn": MeanChromaCNN,
    "autoencoder": Autoencoder,
    "_ramp": Ramp,
}


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Check the names of an architecture's options.

    Raises:
        WeightsError: the architecture `name` has no such option.
    """
    accepted = inspect.signature(MODELS[name]).parameters
    for key in options:
        if key not in accepted:
            known = ", ".join(accepted) or "none"
            raise WeightsError(f"the architecture '{name}' has no option '{key}'; it has: {known}")


def create_model(name: str, **options: Any) -> nn.Module:
    """A freshly initialised model of the architecture `name`.

    Args:
        name: a key of `MODELS`.
        options: the architecture's own keyword arguments.

    Raises:
        WeightsError: no architecture has that name, or it has no such option or value.
    """
    if name not in MODELS:
        known = ", ".join(sorted(n for n in MODELS if not n.startswith("_")))
        raise WeightsError(f"no model architecture is called '{name}'; there are: {known}")
    check_options(name, options)
    try:
        return MODELS[name](**options)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"the architecture '{name}': {error}") from error
