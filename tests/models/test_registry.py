"""Every registered model keeps the registry's contract."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vidcolor.errors import WeightsError
from vidcolor.models import (
    DEFAULT_MODEL,
    MODELS,
    ColorModel,
    FeatureModel,
    create_model,
    register_model,
)
from vidcolor.models.fast import Fast, MobileNetV2Encoder
from vidcolor.models.reproductions.classifier import PaletteClassifier
from vidcolor.models.reproductions.rgb import RgbModel
from vidcolor.models.reproductions.siggraph17 import SIGGRAPH17

NAMES = [name for name in MODELS if MODELS[name].__module__.startswith("vidcolor.")]


@pytest.fixture(scope="module", params=NAMES)
def model(request: pytest.FixtureRequest) -> ColorModel:
    """Each architecture with its defaults, made once: the largest has 172 M parameters."""
    torch.manual_seed(0)
    created = create_model(request.param)
    # heads may begin at zero; a small change makes the output depend on every layer
    with torch.no_grad():
        for parameter in created.parameters():
            if not bool(parameter.any()):
                parameter.add_(0.01 * torch.randn_like(parameter))
    return created


def lightness(model: ColorModel, batch: int, blocks: tuple[int, int] = (3, 2)) -> Tensor:
    """L* `(B, 1, H, W)` in [0, 100], H and W the model's stride times `blocks`."""
    generator = torch.Generator().manual_seed(1)
    height, width = (count * model.stride for count in blocks)
    return 100 * torch.rand(batch, 1, height, width, generator=generator)


def predictions(model: ColorModel, lightness: Tensor) -> list[Tensor]:
    """a*b*, and what the model predicts natively."""
    names = {"forward", model.native} | ({"logits"} if isinstance(model, SIGGRAPH17) else set())
    made = []
    for name in sorted(names):
        method = getattr(model, name)
        reads_gray = "gray" in inspect.signature(method).parameters
        made.append(method(lightness / 100 if reads_gray else lightness))
    return made


def test_shape_and_finite(model: ColorModel) -> None:
    gray = lightness(model, 2)
    with torch.inference_mode():
        ab = model.eval()(gray)
    assert ab.shape[:2] == (2, 2)
    assert ab.shape[2] <= gray.shape[2]
    assert ab.shape[3] <= gray.shape[3]
    # the same field of view: both sides shrink by the same whole factor
    assert gray.shape[2] % ab.shape[2] == 0
    assert gray.shape[2] // ab.shape[2] == gray.shape[3] // ab.shape[3]
    assert bool(ab.isfinite().all())


def test_black_and_white_pictures_stay_finite(model: ColorModel) -> None:
    gray = lightness(model, 2)
    gray[0], gray[1] = 0, 100
    with torch.inference_mode():
        assert bool(model.eval()(gray).isfinite().all())


def test_every_parameter_gets_a_gradient(model: ColorModel) -> None:
    gray = lightness(model, 2).requires_grad_()  # a model without parameters passes it on
    # evaluation mode, because in training batch norm takes a bias before it away; choosing the most
    # probable color has no gradient, its scores have
    made = [p for p in predictions(model.eval(), gray) if p.requires_grad]
    torch.stack([prediction.square().mean() for prediction in made]).sum().backward()
    assert gray.grad is not None
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
        assert float(parameter.grad.abs().max()) > 0, name
    model.zero_grad()


def test_batch_equals_singles(model: ColorModel) -> None:
    gray = lightness(model, 3)
    with torch.inference_mode():
        together = predictions(model.eval(), gray)
        singles = [predictions(model, picture[None]) for picture in gray]
    for whole, parts in zip(together, zip(*singles, strict=True), strict=True):
        torch.testing.assert_close(whole, torch.cat(parts), atol=1e-3, rtol=1e-4)


# Lab units that the rounding of R'G'B' to bfloat16 may move a*b* by: half a step of 1/256, as a
# picture of 8 bits would
RGB_STEP = 0.5


def test_colors_survive_bfloat16(model: ColorModel) -> None:
    gray = lightness(model, 6, (4, 4) if model.stride < 32 else (2, 2))
    before = model.palette.clone() if isinstance(model, PaletteClassifier) else None
    if isinstance(model, PaletteClassifier):
        # its grays have no colors, and a mean is what bfloat16 could blur
        palette = torch.rand(model.palette.shape, generator=torch.Generator().manual_seed(2))
        model.palette.copy_(palette)
        model.decode = "mean"
    with torch.inference_mode():
        exact = model.eval()(gray)
        with torch.autocast("cpu", torch.bfloat16):
            found = model(gray)
    if isinstance(model, PaletteClassifier) and before is not None:
        model.palette.copy_(before)
        model.decode = "argmax"
    allowed = 0.02 * float(exact.abs().max()) + (RGB_STEP if isinstance(model, RgbModel) else 0)
    assert float((found.float() - exact).abs().max()) < allowed
    # colors that were coded around 0.5 kept fewer than ten different values
    assert len(found.unique()) >= min(32, len(exact.unique()))


def test_unknown_model_is_named() -> None:
    with pytest.raises(WeightsError, match=r"'nothing'; there are: .*fast"):
        create_model("nothing")


def test_fast_begins_at_gray_and_is_small() -> None:
    with torch.inference_mode():
        assert float(Fast().eval()(torch.rand(1, 1, 64, 64) * 100).abs().max()) == 0
    with torch.device("meta"):
        assert sum(p.numel() for p in Fast().parameters()) < 8_000_000


def test_imagenet_encoder_loads_by_order_and_folds_the_colors() -> None:
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

    gray = torch.rand(1, 1, 16, 16)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    weight, bias = (tensors[f"conv_0_{kind}"].float() for kind in ("weight", "bias"))
    expected = nn.functional.conv2d((gray - mean) / std, weight, bias, stride=2, padding=1)
    with torch.inference_mode():
        found = nn.Conv2d.forward(encoder.stem, gray)  # without its ReLU6
    inside = (..., slice(1, None), slice(1, None))  # the padding of zeros means another gray there
    torch.testing.assert_close(found[inside], expected[inside], atol=1e-3, rtol=1e-3)

    del tensors["conv_0_bias"], tensors["conv_0_weight"]
    with pytest.raises(ValueError, match="51 convolutions in the file, 52 in the encoder"):
        encoder.load_imagenet(tensors)


def test_features_are_what_the_prediction_is_made_of(model: ColorModel) -> None:
    if not isinstance(model, FeatureModel):
        return
    gray = lightness(model, 2)
    with torch.inference_mode():
        features = model.eval().features(gray)
        assert torch.equal(model.from_features(features), model(gray))
    assert {8, 16} <= set(features)
    for stride, plane in features.items():
        assert plane.shape[::2] == (2, gray.shape[2] // stride)
        assert plane.shape[3] == gray.shape[3] // stride


def test_the_default_model_takes_references() -> None:
    assert issubclass(MODELS[DEFAULT_MODEL], FeatureModel)


def test_a_model_that_supports_mixed_precision_names_its_fp32_layers(model: ColorModel) -> None:
    assert model.supports_mixed_precision == any(True for _ in model.fp32_modules())


def test_defaults_of_the_contract() -> None:
    model = create_model("plain_cnn")
    assert (model.head_prefixes, model.min_training_batch, model.base_model) == ((), 1, "")
    with pytest.raises(WeightsError, match="no pretrained part"):
        model.load_pretrained({})
    with pytest.raises(WeightsError, match="torchvision has no weights"):
        model.download_pretrained()
    with pytest.raises(WeightsError, match="no smaller model"):
        model.load_base({})


# ------------------------------------------------------------------- registering another model


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is registered in a test is forgotten at its end."""
    list(MODELS)
    monkeypatch.setattr(MODELS, "_registered", dict(MODELS._registered))
    monkeypatch.setattr(MODELS, "_installed", MODELS._installed)


def test_one_file_adds_a_model(fresh: None) -> None:
    @register_model("orange")
    class Orange(ColorModel):
        """One color everywhere."""

        stride = 8

        def __init__(self, strength: float = 1.0) -> None:
            super().__init__()
            self.strength = strength

        def forward(self, lightness: Tensor) -> Tensor:
            color = self.strength * torch.tensor([20.0, 40.0])
            return color.view(1, 2, 1, 1).expand(len(lightness), 2, 8, 8)

    assert "orange" in list(MODELS) and MODELS["orange"] is Orange
    assert float(create_model("orange", strength=0.5)(torch.zeros(1, 1, 8, 8)).max()) == 20
    with pytest.raises(WeightsError, match="has no option 'size'; it has: strength"):
        create_model("orange", size=3)
    with pytest.raises(ValueError, match="two models are called 'fast'"):
        register_model("fast")(Orange)
    register_model("orange")(Orange)  # the same once more does no harm


CODE = """
import torch
from vidcolor.models import ColorModel

class Blue(ColorModel):
    stride = 16
    def forward(self, lightness):
        return torch.zeros(len(lightness), 2, 4, 4)

print("imported")
"""


def test_an_installed_package_adds_models(
    fresh: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    info = tmp_path / "other-1.0.dist-info"  # as pip leaves a package
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    objects = {"blue": "Blue", "fast": "Blue", "number": "torch", "gone": "Gone"}
    points = "".join(f"{name} = other_models:{value}\n" for name, value in objects.items())
    (info / "entry_points.txt").write_text(f"[vidcolor.models]\n{points}")
    (tmp_path / "other_models.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(MODELS, "_installed", None)

    assert {"blue", "number", "gone"} <= set(MODELS) and len(MODELS) == len(list(MODELS))
    assert "blue" in MODELS and capsys.readouterr().out == ""  # not imported until it is used
    assert create_model("blue").stride == 16 and capsys.readouterr().out == "imported\n"
    assert isinstance(create_model("fast"), Fast)  # the package's own models keep their names
    with pytest.raises(WeightsError, match="'number' of other_models:torch is not a ColorModel"):
        create_model("number")
    with pytest.raises(WeightsError, match=r"'gone' of other_models:Gone cannot be imp\w+ \(Attr"):
        create_model("gone")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("plain_cnn", {"kernels": 10**9}, "kernels must be true, false, a short text or a number"),
        ("plain_cnn", {"kernels": float("nan")}, "kernels must be"),
        ("plain_cnn", {"kernels": [3]}, "kernels must be"),
        ("pool_cnn", {"decode": "x" * 101}, "decode must be"),
        ("plain_cnn", {"kernels": "3"}, "kernels must be a whole number of at least 1"),
        ("eccv16", {"temperature": -1.0}, "temperature must be above 0"),
    ],
)
def test_options_that_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(WeightsError, match=message) as caught:
        create_model(name, **options)
    assert len(str(caught.value)) < 300


def test_what_torch_cannot_build_is_one_line(fresh: None) -> None:
    @register_model("vast")
    class Vast(ColorModel):
        stride = 1

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.empty(2**40, 2**20))

        def forward(self, lightness: Tensor) -> Tensor:
            return self.weight

    with pytest.raises(WeightsError, match="the architecture 'vast': ") as caught:
        create_model("vast")
    assert "\n" not in str(caught.value)
