"""Every registered model keeps the registry's contract."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import Tensor, nn

from vidcolor.errors import WeightsError
from vidcolor.models import MODELS, create_model
from vidcolor.models.blocks import ConvReLU6
from vidcolor.models.describe import NATIVE
from vidcolor.models.fast import Fast, MobileNetV2Encoder
from vidcolor.models.rgb import RgbModel

NAMES = sorted(MODELS)


@pytest.fixture(scope="module", params=NAMES)
def model(request: pytest.FixtureRequest) -> nn.Module:
    """Each architecture with its defaults, made once: the largest has 172 M parameters."""
    torch.manual_seed(0)
    created = create_model(request.param)
    # heads may begin at zero; a small change makes the output depend on every layer
    with torch.no_grad():
        for parameter in created.parameters():
            if not bool(parameter.any()):
                parameter.add_(0.01 * torch.randn_like(parameter))
    return created


def lightness(model: nn.Module, batch: int, blocks: tuple[int, int] = (3, 2)) -> Tensor:
    """L* `(B, 1, H, W)` in [0, 100], H and W the model's stride times `blocks`."""
    generator = torch.Generator().manual_seed(1)
    stride = int(model.stride)  # type: ignore[arg-type]
    return 100 * torch.rand(batch, 1, blocks[0] * stride, blocks[1] * stride, generator=generator)


def predictions(model: nn.Module, lightness: Tensor) -> list[Tensor]:
    """a*b*, and what the model predicts natively."""
    made = [model(lightness)]
    for name in NATIVE:
        if hasattr(model, name):
            method = getattr(model, name)
            reads_grey = "grey" in inspect.signature(method).parameters
            made.append(method(lightness / 100 if reads_grey else lightness))
    return made


def test_shape_and_finite(model: nn.Module) -> None:
    grey = lightness(model, 2)
    with torch.inference_mode():
        ab = model.eval()(grey)
    assert ab.shape[:2] == (2, 2)
    assert ab.shape[2] <= grey.shape[2]
    assert ab.shape[3] <= grey.shape[3]
    # the same field of view: both sides shrink by the same whole factor
    assert grey.shape[2] % ab.shape[2] == 0
    assert grey.shape[2] // ab.shape[2] == grey.shape[3] // ab.shape[3]
    assert bool(ab.isfinite().all())


def test_black_and_white_pictures_stay_finite(model: nn.Module) -> None:
    grey = lightness(model, 2)
    grey[0], grey[1] = 0, 100
    with torch.inference_mode():
        assert bool(model.eval()(grey).isfinite().all())


def test_every_parameter_gets_a_gradient(model: nn.Module) -> None:
    grey = lightness(model, 2).requires_grad_()  # a model without parameters passes it on
    # evaluation mode, because in training batch norm takes a bias before it away; choosing the most
    # probable colour has no gradient, its scores have
    made = [p for p in predictions(model.eval(), grey) if p.requires_grad]
    torch.stack([prediction.square().mean() for prediction in made]).sum().backward()
    assert grey.grad is not None
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
        assert float(parameter.grad.abs().max()) > 0, name
    model.zero_grad()


def test_batch_equals_singles(model: nn.Module) -> None:
    grey = lightness(model, 3)
    with torch.inference_mode():
        together = predictions(model.eval(), grey)
        singles = [predictions(model, picture[None]) for picture in grey]
    for whole, parts in zip(together, zip(*singles, strict=True), strict=True):
        torch.testing.assert_close(whole, torch.cat(parts), atol=1e-3, rtol=1e-4)


# Lab units that the rounding of R'G'B' to bfloat16 may move a*b* by: half a step of 1/256, as a
# picture of 8 bits would
RGB_STEP = 0.5


def test_colours_survive_bfloat16(model: nn.Module) -> None:
    stride = int(model.stride)  # type: ignore[arg-type]
    grey = lightness(model, 6, (4, 4) if stride < 32 else (2, 2))
    before = {k: v.clone() for k, v in model.named_buffers() if k == "palette"}
    if before:  # its greys have no colours, and a mean is what bfloat16 could blur
        palette = torch.rand(before["palette"].shape, generator=torch.Generator().manual_seed(2))
        model.palette.copy_(palette)  # type: ignore[operator]
        model.decode = "mean"  # type: ignore[assignment]
    with torch.inference_mode():
        exact = model.eval()(grey)
        with torch.autocast("cpu", torch.bfloat16):
            found = model(grey)
    if before:
        model.palette.copy_(before["palette"])  # type: ignore[operator]
        model.decode = "argmax"  # type: ignore[assignment]
    allowed = 0.02 * float(exact.abs().max()) + (RGB_STEP if isinstance(model, RgbModel) else 0)
    assert float((found.float() - exact).abs().max()) < allowed
    # colours that were coded around 0.5 kept fewer than ten different values
    assert len(found.unique()) >= min(32, len(exact.unique()))


def test_unknown_model_is_named() -> None:
    with pytest.raises(WeightsError, match=r"'nothing'; there are: .*fast") as caught:
        create_model("nothing")
    assert "_ramp" not in str(caught.value)


def test_fast_begins_at_grey_and_is_small() -> None:
    with torch.inference_mode():
        assert float(Fast().eval()(torch.rand(1, 1, 64, 64) * 100).abs().max()) == 0
    with torch.device("meta"):
        assert sum(p.numel() for p in Fast().parameters()) < 8_000_000


def test_imagenet_encoder_loads_by_order_and_folds_the_colours() -> None:
    torch.manual_seed(0)
    encoder = MobileNetV2Encoder()
    convolutions = [m for m in encoder.modules() if isinstance(m, nn.Conv2d)]
    # numbers with gaps, as in the exported graph; the stem reads three channels
    tensors = {}
    for index, conv in enumerate(convolutions):
        shape = (32, 3, 3, 3) if index == 0 else conv.weight.shape
        tensors[f"conv_{3 * index}_weight"] = torch.randn(shape).half()
        tensors[f"conv_{3 * index}_bias"] = torch.randn(len(conv.weight)).half()
    encoder.load_imagenet(tensors)
    assert torch.equal(convolutions[-1].weight, tensors[f"conv_{3 * 51}_weight"].float())

    grey = torch.rand(1, 1, 16, 16)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    weight, bias = (tensors[f"conv_0_{kind}"].float() for kind in ("weight", "bias"))
    expected = nn.functional.conv2d((grey - mean) / std, weight, bias, stride=2, padding=1)
    with torch.inference_mode():
        found = nn.Conv2d.forward(encoder.stem, grey)  # without its ReLU6
    inside = (..., slice(1, None), slice(1, None))  # the padding of zeros means another grey there
    torch.testing.assert_close(found[inside], expected[inside], atol=1e-3, rtol=1e-3)

    del tensors["conv_0_bias"], tensors["conv_0_weight"]
    with pytest.raises(ValueError, match="51 convolutions in the file, 52 in the encoder"):
        encoder.load_imagenet(tensors)


def test_features_are_what_the_prediction_is_made_of(model: nn.Module) -> None:
    if not hasattr(model, "features"):
        assert not hasattr(model, "from_features")
        return
    grey = lightness(model, 2)
    with torch.inference_mode():
        features = model.eval().features(grey)  # type: ignore[operator]
        assert torch.equal(model.from_features(features), model(grey))  # type: ignore[operator]
    assert {8, 16} <= set(features)
    for stride, plane in features.items():
        assert plane.shape[::2] == (2, grey.shape[2] // stride)
        assert plane.shape[3] == grey.shape[3] // stride


def test_the_models_with_features() -> None:
    assert {"fast"} <= {name for name in NAMES if hasattr(MODELS[name], "features")}


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
