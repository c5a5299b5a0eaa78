"""Where a model must count exactly, whatever the precision it runs in."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """A `with` block inside which autocast is off.

    bfloat16 holds eight binary digits: a step of 1/256 between 0.5 and 1, so 1 Lab unit where
    chroma is coded as (a* + 128) / 255. What turns a network's numbers into a*b* runs in float32.
    The tensors have to be float32 already: autocast that is off converts nothing back.

    Args:
        device: of the tensors; the meta device, which knows no autocast, does too.
    """
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
