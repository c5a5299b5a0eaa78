"""What can be worked on in parts."""

from __future__ import annotations

from typing import Protocol, TypeVar

import torch

Part = TypeVar("Part", bound="Divisible")


class Divisible(Protocol):
    """What `Colorizer.with_backoff` can work on in parts: a `LumaBatch`, or several pictures."""

    def __len__(self) -> int: ...

    def __getitem__(self: Part, part: slice, /) -> Part: ...

    def to(self: Part, device: torch.device, /) -> Part: ...
