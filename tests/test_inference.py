"""What makes a network quicker must not change what it says."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from vidcolor.inference import OneDnnConv, make_ready
from vidcolor.models import create_model


@pytest.mark.parametrize("name", ["fast", "best"])
@torch.no_grad()
def test_the_results_stay(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name)
    model.train()(100 * torch.rand(4, 1, 64, 64))  # the norms' statistics are not neutral
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.out_channels == 2:
            nn.init.normal_(module.weight, std=0.1)
    light = 100 * torch.rand(2, 1, 64, 96)
    wanted = model(light)
    ready = copy.deepcopy(model)
    make_ready(ready)
    assert float(wanted.std()) > 0.1
    threads = torch.get_num_threads()
    for count in (1, 2):  # torch itself takes another way in a single thread
        torch.set_num_threads(count)
        torch.testing.assert_close(ready(light), wanted, rtol=1e-3, atol=1e-3)
    torch.set_num_threads(threads)
    with torch.autocast("cpu", torch.bfloat16):
        assert float((ready(light) - wanted).abs().mean()) < 0.1 * float(wanted.abs().mean()) + 0.1


@pytest.mark.parametrize("groups", [1, 4])
def test_one_convolution(groups: int) -> None:
    conv = nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=groups)
    quick = copy.deepcopy(conv)
    make_ready(quick)
    assert type(quick) is OneDnnConv
    x = torch.randn(1, 4, 17, 20)
    with torch.inference_mode():
        torch.testing.assert_close(quick(x), conv(x), rtol=1e-4, atol=1e-5)
    quick(x).sum().backward()  # training it is still possible
    assert quick.weight.grad is not None


def test_norms_are_folded_and_odd_convolutions_left_alone() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding="same"),
        nn.BatchNorm2d(2),
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
    ).eval()
    make_ready(model)
    assert isinstance(model[1], nn.Identity)
    assert type(model[0]) is nn.Conv2d and type(model[2]) is nn.Conv2d
