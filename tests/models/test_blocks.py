"""The blocks that several architectures share."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vidcolor.models.blocks import ConvReLU6


@pytest.mark.parametrize("size", [(9, 12), (8, 7)])
def test_a_strided_depthwise_convolution_is_the_same_in_training(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    conv = ConvReLU6(6, 6, 3, 2, 1, groups=6)
    pictures = [torch.rand(2, 6, *size, generator=torch.Generator().manual_seed(1)) for _ in "ab"]
    values: list[Tensor] = []
    slopes: list[tuple[Tensor | None, ...]] = []
    for picture, training in zip(pictures, (True, False), strict=True):
        picture.requires_grad_()
        conv.zero_grad()
        values.append(conv.train(training)(picture))
        values[-1].square().sum().backward()
        slopes.append((picture.grad, *(parameter.grad for parameter in conv.parameters())))
    torch.testing.assert_close(*values)
    for ours, theirs in zip(*slopes, strict=True):
        torch.testing.assert_close(ours, theirs)
