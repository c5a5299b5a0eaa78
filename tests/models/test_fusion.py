"""What makes a network quicker must not change what it says."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from vidcolor.models import ColorModel, create_model, fusion
from vidcolor.models.blocks import ConvReLU6
from vidcolor.models.fusion import FusedConv, optimize_for_inference


class Layers(ColorModel):
    """Layers in a row."""

    stride = 1

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, lightness: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.layers(lightness)
        return made


@pytest.fixture(params=["onednn", "torch"])
def operator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN's private operator, and torch's public one where that is missing."""
    if request.param == "torch":
        monkeypatch.setattr(fusion, "_onednn_convolution", lambda: None)


@pytest.mark.parametrize("name", ["fast", "best"])
@pytest.mark.usefixtures("operator")
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
    optimize_for_inference(ready)
    assert float(wanted.std()) > 0.1
    threads = torch.get_num_threads()
    for count in (1, 2):  # torch itself takes another way in a single thread
        torch.set_num_threads(count)
        torch.testing.assert_close(ready(light), wanted, rtol=1e-3, atol=1e-3)
    torch.set_num_threads(threads)
    with torch.autocast("cpu", torch.bfloat16):
        assert float((ready(light) - wanted).abs().mean()) < 0.1 * float(wanted.abs().mean()) + 0.1


@pytest.mark.usefixtures("operator")
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("kind", [nn.Conv2d, ConvReLU6])
@pytest.mark.parametrize("bf16", [True, False])
def test_one_convolution(
    groups: int, kind: type[nn.Conv2d], bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidcolor.models.fusion.has_bf16", lambda: bf16)  # if not, it goes to torch
    torch.manual_seed(0)
    conv = kind(4, 8, 3, stride=2, padding=1, groups=groups)
    nn.init.normal_(conv.weight, std=3)
    model = Layers(copy.deepcopy(conv))
    optimize_for_inference(model)
    (quick,) = model.layers
    assert isinstance(quick, FusedConv)
    x = torch.randn(1, 4, 17, 20)
    with torch.inference_mode():
        wanted = conv(x)
        assert (float(wanted.max()) == 6) == (kind is ConvReLU6)
        torch.testing.assert_close(quick(x), wanted, rtol=1e-4, atol=1e-5)
        for _ in range(2):
            with torch.autocast("cpu", torch.bfloat16):
                low = quick(x)
            assert low.dtype == torch.bfloat16
            # sums of 36 terms of about 3, each rounded to 8 bits
            torch.testing.assert_close(low.float(), wanted, rtol=0.02, atol=0.3)
    torch.testing.assert_close(quick(x), wanted)
    quick(x).sum().backward()  # training it is still possible
    assert quick.conv.weight.grad is not None


class Careful(Layers):
    """Two convolutions, the first of which must not be rounded."""

    supports_mixed_precision = True

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 2, 1))

    def fp32_modules(self) -> Iterator[nn.Module]:
        yield self.layers[0]


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_fp32_modules_are_not_rounded_to_bf16(kind: torch.dtype) -> None:
    model = Careful().eval()
    optimize_for_inference(model)
    x = torch.randn(1, 1, 8, 8)
    with torch.inference_mode(), torch.autocast("cpu", kind):
        first = model.layers[0](x)
        assert first.dtype == (torch.float32 if kind == torch.bfloat16 else kind)
        assert float(first.min()) == 0  # its ReLU is part of it
        assert isinstance(model.layers[2], nn.Identity)
        assert model(x).dtype == kind


def test_a_moved_model_has_no_stale_weights() -> None:
    conv = nn.Conv2d(1, 1, 1, bias=False)
    model = Layers(conv)
    optimize_for_inference(model)
    x = torch.ones(1, 1, 2, 2)
    for _ in range(2):
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(model(x).float(), conv.weight.bfloat16().float().expand_as(x))
        with torch.no_grad():
            conv.weight += 1
        model.to(torch.device("cpu"))


def test_norms_are_folded_and_odd_convolutions_left_alone() -> None:
    model = Layers(
        nn.Conv2d(1, 2, 3, padding="same"),
        nn.BatchNorm2d(2),
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
    ).eval()
    optimize_for_inference(model)
    assert isinstance(model.layers[1], nn.Identity)
    assert type(model.layers[0]) is nn.Conv2d and type(model.layers[2]) is nn.Conv2d


def test_once_more_changes_nothing() -> None:
    model = create_model("fast").eval()
    optimize_for_inference(model)
    before = [type(module) for module in model.modules()]
    optimize_for_inference(model)
    assert [type(module) for module in model.modules()] == before


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")
@pytest.mark.parametrize("name", ["none", "relu", "relu6"])
def test_the_private_operator_is_the_public_convolution(name: str) -> None:
    """Where this fails, torch has changed its operator; `FusedConv` then takes the slower way."""
    fused = fusion._onednn_convolution.__wrapped__()
    assert fused is not None
    activation = {"none": fusion._NONE, "relu": fusion._RELU, "relu6": fusion._RELU6}[name]
    x, weight, bias = 5 * torch.randn(2, 4, 9, 8), torch.randn(6, 2, 3, 3), torch.randn(6)
    places = (1, 2), (2, 1), (1, 2), 2  # padding, stride, dilation, groups
    with torch.no_grad():
        found = fused(x, weight, bias, *places, activation.name, activation.limits, "")
        plain = torch.nn.functional.conv2d(x, weight, bias, (2, 1), (1, 2), (1, 2), 2)
    torch.testing.assert_close(found, activation.apply(plain), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("error", [AttributeError, RuntimeError, TypeError, None])
def test_a_torch_without_the_private_operator(
    error: type[Exception] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(*_: object) -> torch.Tensor:
        if error:
            raise error("changed")
        return torch.ones(1, 1, 1, 1)  # another result

    monkeypatch.setattr(torch.ops.mkldnn, "_convolution_pointwise", changed, raising=False)
    assert fusion._onednn_convolution.__wrapped__() is None


def test_a_ready_network_runs_on_the_meta_device() -> None:
    """Which knows no autocast; architectures are described there."""
    model = create_model("fast").eval()
    optimize_for_inference(model)
    with torch.no_grad():
        ab = model.to("meta")(torch.empty(1, 1, 64, 96, device="meta"))
    assert ab.shape == (1, 2, 16, 24)
