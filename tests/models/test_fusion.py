"""What makes a network quicker must not change what it says."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from vidcolor.models import create_model
from vidcolor.models.blocks import ConvReLU6
from vidcolor.models.fusion import ReadyConv, make_ready


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
@pytest.mark.parametrize("kind", [nn.Conv2d, ConvReLU6])
@pytest.mark.parametrize("bf16", [True, False])
def test_one_convolution(
    groups: int, kind: type[nn.Conv2d], bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidcolor.models.fusion.has_bf16", lambda: bf16)  # if not, it goes to torch
    conv = kind(4, 8, 3, stride=2, padding=1, groups=groups)
    nn.init.normal_(conv.weight, std=3)
    quick = copy.deepcopy(conv)
    make_ready(quick)
    assert type(quick) is ReadyConv
    x = torch.randn(1, 4, 17, 20)
    with torch.inference_mode():
        wanted = conv(x)
        assert (float(wanted.max()) == 6) == (kind is ConvReLU6)
        torch.testing.assert_close(quick(x), wanted, rtol=1e-4, atol=1e-5)
        for _ in range(2):
            with torch.autocast("cpu", torch.bfloat16):
                low = quick(x)
            assert low.dtype == torch.bfloat16
            torch.testing.assert_close(low.float(), wanted, rtol=0.02, atol=0.1)
    torch.testing.assert_close(quick(x), wanted)
    quick(x).sum().backward()  # training it is still possible
    assert quick.weight.grad is not None


class Careful(nn.Sequential):
    """Two convolutions, the first of which must not be rounded."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 2, 1))

    def exact(self) -> Iterator[nn.Module]:
        yield self[0]


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_what_a_model_calls_exact_is_not_rounded_to_bf16(kind: torch.dtype) -> None:
    model = Careful().eval()
    make_ready(model)
    x = torch.randn(1, 1, 8, 8)
    with torch.inference_mode(), torch.autocast("cpu", kind):
        first = model[0](x)
        assert first.dtype == (torch.float32 if kind == torch.bfloat16 else kind)
        assert float(first.min()) == 0  # its ReLU is part of it
        assert isinstance(model[2], nn.Identity)
        assert model(x).dtype == kind


def test_a_moved_model_has_no_stale_weights() -> None:
    conv = nn.Conv2d(1, 1, 1, bias=False)
    make_ready(conv)
    x = torch.ones(1, 1, 2, 2)
    for _ in range(2):
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(conv(x).float(), conv.weight.bfloat16().float().expand_as(x))
        with torch.no_grad():
            conv.weight += 1
        conv.to(torch.device("cpu"))


def test_norms_are_folded_and_odd_convolutions_left_alone() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding="same"),
        nn.BatchNorm2d(2),
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
    ).eval()
    make_ready(model)
    assert isinstance(model[1], nn.Identity)
    assert type(model[0]) is nn.Conv2d and type(model[2]) is nn.Conv2d


def test_a_ready_network_runs_on_the_meta_device() -> None:
    """Which knows no autocast; architectures are described there."""
    model = create_model("fast").eval()
    make_ready(model)
    with torch.no_grad():
        ab = model.to("meta")(torch.empty(1, 1, 64, 96, device="meta"))
    assert ab.shape == (1, 2, 16, 24)
