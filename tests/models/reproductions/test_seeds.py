"""The seeds' networks: shapes, training mode, parameter counts by hand, units and options."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vidcolor.color.convert import gray_to_lightness, rgb_to_lab
from vidcolor.errors import WeightsError
from vidcolor.models import ColorModel, create_model
from vidcolor.models.reproductions.autoencoder import Autoencoder
from vidcolor.models.reproductions.cunet import CUnet, Dilated
from vidcolor.models.reproductions.deeplabv3 import DeepLabV3
from vidcolor.models.reproductions.mean_chroma import MeanChromaCNN
from vidcolor.models.reproductions.plain_cnn import PlainCNN
from vidcolor.models.reproductions.skip_cnn import SkipCNN
from vidcolor.models.reproductions.units import lightness_to_input, output_to_ab

# architecture, options that make it small, pixels of its output per pixel of its input
SEEDS: list[tuple[str, dict[str, Any], int]] = [
    ("skip_cnn", {}, 1),
    ("cunet", {"width": 4}, 1),
    ("plain_cnn", {}, 1),
    ("plain_cnn", {"layers": 4, "kernels": 2, "batch_norm": True, "tanh": True}, 1),
    ("plain_cnn", {"layers": 1}, 1),
    ("pool_cnn", {"filters": 4}, 1),
    ("pool_cnn", {"filters": 4, "colors": 3, "decode": "mean", "padding": "zeros"}, 1),
    ("pool_unet", {"filters": 4}, 1),
    ("mean_chroma_cnn", {"variant": 1}, 8),
    ("mean_chroma_cnn", {"activation": "tanh"}, 8),
    ("autoencoder", {}, 1),
    ("autoencoder", {"activation": "relu"}, 1),
    ("autoencoder", {"activation": "sigmoid"}, 1),
]


def text(value: Any) -> str | None:
    if isinstance(value, dict):
        return "-".join(f"{k}={v}" for k, v in value.items()) or "default"
    return None


def native(model: ColorModel, lightness: Tensor) -> Tensor:
    """What the model predicts natively."""
    method = getattr(model, model.native)
    reads_gray = "gray" in inspect.signature(method).parameters
    made: Tensor = method(lightness / 100 if reads_gray else lightness)
    return made


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(("name", "options", "shrinks"), SEEDS, ids=text)
def test_shapes_and_batches(name: str, options: dict[str, Any], shrinks: int) -> None:
    model = create_model(name, **options).eval()
    stride = model.stride
    for height, width in ((2 * stride, 2 * stride), (stride, 3 * stride)):
        lightness = 100 * torch.rand(3, 1, height, width)
        with torch.inference_mode():
            ab, together = model(lightness), native(model, lightness)
            alone = torch.cat([native(model, picture[None]) for picture in lightness])
        assert ab.shape == (3, 2, height // shrinks, width // shrinks)
        assert bool(ab.isfinite().all())
        torch.testing.assert_close(together, alone, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(("name", "options", "shrinks"), SEEDS, ids=text)
def test_native_prediction_trains_every_parameter(
    name: str, options: dict[str, Any], shrinks: int
) -> None:
    model = create_model(name, **options).train()
    stride = model.stride
    lightness = 100 * torch.rand(2, 1, 2 * stride, 2 * stride)
    if name == "cunet":  # its head begins at zero, and lets nothing through
        nn.init.normal_(model.get_parameter("head.weight"))
    (native(model, lightness) - 0.3).square().mean().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), key
        # batch norm takes a bias before it away, and the gradient with it: convolutions' alone
        if parameter.ndim > 1:
            assert float(parameter.grad.abs().max()) > 0, key


def test_skip_cnn_by_hand() -> None:
    model = SkipCNN()
    convolutions = (1, 16), (16, 16), (16, 32), (32, 32), (32, 64), (64, 64), (32, 3)
    expected = sum(9 * a * b + b for a, b in convolutions) + 112 * 32 + 32
    expected += 2 * (16 + 16 + 32 + 32 + 64 + 64 + 32)
    assert sum(p.numel() for p in model.parameters()) == expected == 76_787
    assert model.merge[0].in_channels == 112
    drops = [k for k, m in model.named_modules() if isinstance(m, nn.Dropout) and m.p == 0.3]
    assert drops == ["block2.6", "block3.6"]
    rgb = model.eval().rgb(torch.rand(1, 1, 5, 7)).detach()
    assert rgb.shape == (1, 3, 5, 7) and float(rgb.min()) > 0 and float(rgb.max()) < 1


def test_rgb_is_judged_by_its_color() -> None:
    model = PlainCNN(layers=1)
    conv = model.stack[0]
    assert isinstance(conv, nn.Conv2d) and conv.bias is not None
    with torch.no_grad():
        conv.weight.zero_()
        conv.bias.copy_(torch.tensor([0.8, 0.4, 1.7]))
    lightness = gray_to_lightness(torch.full((1, 1, 8, 8), 0.5))
    assert float(model.rgb(lightness / 100).detach().max()) == pytest.approx(1.7)  # not clamped
    expected = rgb_to_lab(torch.tensor([0.8, 0.4, 1.0])[:, None, None])[1:]
    torch.testing.assert_close(model(lightness)[0, :, :1, :1].detach(), expected)


def test_grays_stay_gray_in_bfloat16() -> None:
    model = PlainCNN(layers=1)
    conv = model.stack[0]
    assert isinstance(conv, nn.Conv2d) and conv.bias is not None
    with torch.no_grad():  # every channel is the picture
        conv.weight.zero_()
        conv.bias.zero_()
        conv.weight[:, 0, 1, 1] = 1
    lightness = torch.linspace(0, 100, 64).view(1, 1, 8, 8)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert model.rgb(lightness / 100).dtype == torch.bfloat16
        assert float(model(lightness).abs().max()) < 1e-3


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
def test_8_bit_lab_keeps_fine_steps_in_bfloat16(activation: str) -> None:
    model = Autoencoder(activation).eval()
    lightness = 100 * torch.rand(2, 1, 32, 64)
    with torch.inference_mode():
        exact = model(lightness)
        with torch.autocast("cpu", torch.bfloat16):
            found = model(lightness)
    assert float((found - exact).abs().max()) < 0.05  # a step of bfloat16 at 0.5 is a whole unit
    assert len(found.unique()) > 1000


def test_rgb_networks_see_the_gray_level() -> None:
    model = PlainCNN(layers=1)
    conv = model.stack[0]
    assert isinstance(conv, nn.Conv2d) and conv.bias is not None
    with torch.no_grad():  # red is the picture, green and blue are black
        conv.weight.zero_()
        conv.bias.zero_()
        conv.weight[0, 0, 1, 1] = 1
    gray = torch.rand(1, 1, 8, 8)
    red = torch.cat([gray, torch.zeros(1, 2, 8, 8)], dim=1)
    found = model(gray_to_lightness(gray)).detach()
    torch.testing.assert_close(found, rgb_to_lab(red)[:, 1:], atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize(("layers", "kernels"), [(1, 8), (2, 16), (4, 8)])
def test_plain_cnn_by_hand(layers: int, kernels: int) -> None:
    inner = {1: 30, 2: 10 * kernels + 27 * kernels + 3}
    inner[4] = inner[2] + 2 * (9 * kernels**2 + kernels)
    model = PlainCNN(layers, kernels)
    assert sum(p.numel() for p in model.parameters()) == inner[layers]
    normed = PlainCNN(layers, kernels, batch_norm=True)
    extra = 2 * (kernels * (layers - 1) + 3)
    assert sum(p.numel() for p in normed.parameters()) == inner[layers] + extra


def test_plain_cnn_tanh_spans_the_colors() -> None:
    model = PlainCNN(layers=1, tanh=True)
    conv = model.stack[0]
    assert isinstance(conv, nn.Conv2d) and conv.bias is not None
    with torch.no_grad():
        conv.weight.zero_()
        conv.bias.copy_(torch.tensor([-100.0, 0.0, 100.0]))
        found = model.rgb(torch.rand(1, 1, 2, 2))[0, :, 0, 0]
    assert found.tolist() == [0.0, 0.5, 1.0]


def test_cunet_begins_at_gray_and_sees_far() -> None:
    model = CUnet(width=4).eval()
    lightness = 100 * torch.rand(1, 1, 16, 24)
    assert float(model(lightness).detach().abs().max()) == 0
    # the convolutions' own reach: 1 + 2 + 4 + 8 pixels on each side
    bottom = Dilated(1, 1).eval()
    with torch.no_grad():
        for parameter in bottom.parameters():
            parameter.fill_(1.0)
        dot = torch.zeros(1, 1, 41, 41)
        dot[..., 20, 20] = 1
        reached = (bottom(dot) - bottom(torch.zeros_like(dot)))[0, 0, 20] > 0
    assert reached.nonzero().flatten().tolist() == list(range(5, 36))


def test_mean_chroma_units() -> None:
    model = MeanChromaCNN()
    last = model.layers[-1]
    assert isinstance(last, nn.Conv2d) and last.bias is not None
    assert [m.out_channels for m in model.layers if isinstance(m, nn.Conv2d)] == [
        *(16, 32, 64, 128, 256, 256),
        2,
    ]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor([(20 + 128) / 255, (-7 + 128) / 255]))
        mean = model.mean_ab(100 * torch.rand(3, 1, 16, 24))
        torch.testing.assert_close(mean, torch.tensor([[20.0, -7.0]]).expand(3, 2))
        ab = model(100 * torch.rand(1, 1, 16, 24))
    assert ab.shape == (1, 2, 2, 3)
    torch.testing.assert_close(ab[0, :, 1, 2], torch.tensor([20.0, -7.0]))


def test_mean_chroma_is_of_the_whole_picture_at_any_size() -> None:
    model = MeanChromaCNN().eval()
    large = 100 * torch.rand(1, 1, 32, 32).repeat_interleave(8, 2).repeat_interleave(8, 3)
    half = nn.functional.interpolate(large, size=(128, 128), mode="bilinear", antialias=True)
    with torch.inference_mode():
        torch.testing.assert_close(model.mean_ab(large), model.mean_ab(half))
        assert not torch.equal(model.mean_ab(large), model.mean_ab(100 - large))


def test_units_are_8_bit_lab_over_255() -> None:
    lightness = torch.tensor([0.0, 50.0, 100.0])
    assert lightness_to_input(lightness, "relu").tolist() == [0.0, 0.5, 1.0]
    assert lightness_to_input(lightness, "tanh").tolist() == [-1.0, 0.0, 1.0]
    y = torch.tensor([0.0, 128 / 255, 1.0])
    for activation, raw in (("relu", y), ("sigmoid", y), ("tanh", 2 * y - 1)):
        found = output_to_ab(raw, activation)
        torch.testing.assert_close(found, torch.tensor([-128.0, 0.0, 127.0]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
def test_autoencoder(activation: str) -> None:
    model = Autoencoder(activation).eval()
    with torch.inference_mode():
        ab = model(100 * torch.rand(2, 1, 32, 64))
    # fresh weights color faintly: the middle of the range is about gray
    assert ab.shape == (2, 2, 32, 64) and float(ab.mean().abs()) < 40
    assert float((ab > -127.9).float().mean()) > 0.9  # the ReLU is not dead
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [m.stride for m in convolutions] == [(2, 2)] * 5 + [(1, 1)] * 5
    layers = [m for m in model.modules() if not any(m.children())]
    for index, layer in enumerate(layers):
        if isinstance(layer, nn.Conv2d):
            assert isinstance(layers[index - 1], nn.BatchNorm2d)


def test_deeplabv3_loads_torchvisions_weights_but_for_the_last_layer() -> None:
    model = DeepLabV3(colors=3)
    names = [name for name, _ in model.named_parameters()]
    assert [n for n in names if n.startswith(model.head_prefixes)] == [
        "net.classifier.4.weight",
        "net.classifier.4.bias",
    ]
    own = model.net.state_dict()
    last = own["classifier.4.weight"].clone()
    # a single number, expanded, stands for a tensor of the full shape
    tensors = {k: torch.ones((), dtype=v.dtype).expand(v.shape) for k, v in own.items()}
    tensors["classifier.4.weight"] = torch.ones(21, 256, 1, 1)
    tensors["aux_classifier.4.bias"] = torch.ones(21)
    model.load_pretrained(tensors)
    found = model.net.state_dict()
    assert torch.equal(found["classifier.4.weight"], last)
    assert float(found["backbone.conv1.weight"].min()) == 1
    assert float(found["classifier.1.weight"].max()) == 1

    with pytest.raises(ValueError, match=r"no 'backbone\.layer3\.6\.conv1\.weight'"):
        model.load_pretrained({**tensors, "backbone.layer3.6.conv1.weight": torch.ones(1)})
    with pytest.raises(ValueError, match=r"'backbone\.conv1\.weight' has the shape \(1,\), not"):
        model.load_pretrained({**tensors, "backbone.conv1.weight": torch.ones(1)})
    del tensors["backbone.bn1.bias"]
    with pytest.raises(ValueError, match=r"needs 'backbone\.bn1\.bias', which is not there"):
        model.load_pretrained(tensors)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("skip_cnn", {"dropout": 1.0}, "dropout must be at least 0 and below 1, not 1.0"),
        ("plain_cnn", {"layers": 0}, "layers must be a whole number of at least 1, not 0"),
        ("plain_cnn", {"kernels": True}, "kernels must be a whole number of at least 1, not True"),
        ("plain_cnn", {"tanh": 1}, "tanh must be true or false, not 1"),
        ("pool_cnn", {"filters": 2.5}, "filters must be a whole number"),
        ("pool_cnn", {"colors": 1}, "colors must be a whole number of at least 2, not 1"),
        ("pool_unet", {"decode": "max"}, "decode must be one of argmax, mean, not 'max'"),
        ("pool_cnn", {"padding": "same"}, "padding must be one of replicate, zeros, not 'same'"),
        ("deeplabv3", {"colors": 0}, "colors must be a whole number of at least 2, not 0"),
        ("cunet", {"width": -1}, "width must be a whole number of at least 1, not -1"),
        ("mean_chroma_cnn", {"variant": 4}, "variant must be one of 1, 2, 3, not 4"),
        ("mean_chroma_fc", {"activation": "elu"}, "activation must be one of relu, tanh"),
        ("autoencoder", {"activation": "elu"}, "one of relu, sigmoid, tanh, not 'elu'"),
    ],
)
def test_bad_options_are_named(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(WeightsError) as caught:
        create_model(name, **options)
    assert str(caught.value).startswith(f"the architecture '{name}': ")
    assert message in str(caught.value)
