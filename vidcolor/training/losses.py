"""Training objectives: each compares predicted and true a*b*, both `(B, 2, h, w)` in Lab units."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]


def huber(prediction: Tensor, target: Tensor) -> Tensor:
    """Huber loss with its knee at 10 Lab units, divided by 10; a scalar."""
    return F.huber_loss(prediction, target, delta=10.0) / 10


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error over 100 Lab units squared; a scalar."""
    return F.mse_loss(prediction, target) / 100


LOSSES: dict[str, Loss] = {"huber": huber, "mse": mse}
