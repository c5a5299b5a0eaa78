"""What a training starts from, and what it refuses to start from."""

from __future__ import annotations

import dataclasses
import errno
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vidcolor.errors import TrainingError, VidcolorError, WeightsError
from vidcolor.models import create_model
from vidcolor.models.entry import Entry
from vidcolor.models.reproductions.deeplabv3 import DeepLabV3
from vidcolor.models.weights import import_weights, save_weights
from vidcolor.training.prepare import initial_model
from vidcolor.training.recipe import Recipe


def recipe(model: str = "plain_cnn", **keys: Any) -> Recipe:
    return Recipe(model=model, **keys)


def same(first: nn.Module, second: nn.Module) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def weights(path: Path, architecture: str = "plain_cnn", **options: Any) -> nn.Module:
    """Save a model of other values than a training starts from as `path`."""
    torch.manual_seed(1234)
    model = create_model(architecture, **options)
    save_weights(path, model.state_dict(), Entry(architecture, options=options), torch.float32)
    return model


def refused(settings: Recipe, init: str | None = None) -> str:
    with pytest.raises(VidcolorError) as caught:
        initial_model(dataclasses.replace(settings, init=init or ""))
    line = str(caught.value)
    assert "\n" not in line
    return line


# ------------------------------------------------------------------------------------------ fresh


def test_fresh_values_depend_on_the_seed_alone() -> None:
    torch.manual_seed(5)
    first = initial_model(recipe(seed=3))
    torch.manual_seed(6)
    torch.rand(10)
    second = initial_model(recipe(seed=3, lr=(0.5,), size=64, batch_size=2))
    assert same(first, second)
    assert not same(first, initial_model(recipe(seed=4)))


def test_options_reach_the_model() -> None:
    model = initial_model(recipe(model_options={"layers": 1}))
    assert [tuple(p.shape) for p in model.parameters()] == [(3, 1, 3, 3), (3,)]
    assert "layers must be a whole number" in refused(recipe(model_options={"layers": 0}))


def test_a_model_without_parameters_is_refused() -> None:
    assert refused(recipe("_ramp")) == "recipe key 'model': '_ramp' has nothing to train"


def test_the_frozen_part_is_marked() -> None:
    model = initial_model(recipe("deeplabv3", freeze="backbone"))
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained == ["net.classifier.4.weight", "net.classifier.4.bias"]
    assert "'freeze': this model has no head" in refused(recipe(freeze="backbone"))


# -------------------------------------------------------------------------------- one's own weights


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    saved = weights(path, kernels=4)
    model = initial_model(recipe(model_options={"kernels": 4}, init=str(path)))
    assert same(model, saved)
    assert all(p.requires_grad for p in model.parameters())


def test_stored_weights_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDCOLOR_WEIGHTS", str(tmp_path / "stored"))
    saved = weights(tmp_path / "w.safetensors")
    import_weights(tmp_path / "w.safetensors", "faces.v2")  # a name with a dot is no file's
    assert same(initial_model(recipe(init="faces.v2")), saved)


def test_a_public_checkpoint_is_of_the_recipes_model(tmp_path: Path) -> None:
    model = create_model("plain_cnn")
    torch.save(model.state_dict(), tmp_path / "public.pth")
    assert same(initial_model(recipe(init=str(tmp_path / "public.pth"))), model)


def test_weights_of_another_architecture(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    weights(path)
    line = refused(recipe("skip_cnn"), str(path))
    assert line == f"{path}: weights of 'plain_cnn', but the recipe trains 'skip_cnn'"


@pytest.mark.parametrize(
    ("theirs", "ours", "message"),
    [
        ({"kernels": 8}, {"kernels": 4}, "stack.0.weight has shape (8, 1, 3, 3), not (4, 1, 3, 3)"),
        # three kernels: the shorter network's shapes are those of the longer one's beginning
        (
            {"layers": 2, "kernels": 3},
            {"layers": 4, "kernels": 3},
            "stack.4.weight has shape none, not (3, 3, 3, 3)",
        ),
        (
            {"layers": 4, "kernels": 3},
            {"layers": 2, "kernels": 3},
            "stack.4.weight has shape (3, 3, 3, 3), not none",
        ),
    ],
)
def test_weights_of_other_options_name_the_shape(
    tmp_path: Path, theirs: dict[str, Any], ours: dict[str, Any], message: str
) -> None:
    path = tmp_path / "w.safetensors"
    weights(path, **theirs)
    line = refused(recipe(model_options=ours), str(path))
    assert line == f"{path}: does not fit the recipe's model_options: {message}"


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_a_missing_file_is_not_taken_for_a_name(suffix: str) -> None:
    line = refused(recipe(), f"none{suffix}")
    assert line == f"none{suffix}: no such weights file to start from"


def test_unknown_names_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no model is called 'mine'"):
        initial_model(recipe(init="mine"))
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"no tensors")
    assert str(path) in refused(recipe(), str(path))


def test_initial_weights_go_before_pretrained_ones(tmp_path: Path) -> None:
    # neither a download nor the missing file is asked for
    path = tmp_path / "w.safetensors"
    saved = weights(path)
    settings = recipe(encoder=str(tmp_path / "missing.safetensors"))
    assert same(initial_model(dataclasses.replace(settings, init=str(path))), saved)


# ------------------------------------------------------------------------------ pretrained values


def test_models_without_a_pretrained_part(tmp_path: Path) -> None:
    line = refused(recipe(encoder="torchvision"))
    assert line.startswith("torchvision: not an encoder for this model: torchvision has no weights")
    line = refused(recipe("fast", encoder="torchvision"))
    assert line.startswith("torchvision: not an encoder for this model: torchvision has no weights")
    (tmp_path / "e.pth").touch()
    line = refused(recipe(encoder=str(tmp_path / "e.pth")))
    assert line.startswith(f"{tmp_path / 'e.pth'}: not an encoder for this model: ")


@pytest.mark.parametrize(
    "tensors",
    [
        {"other": torch.zeros(1)},
        # as many convolutions as the encoder has, but of other shapes
        {
            f"conv_{number}_{kind}": torch.zeros(5, 3, 1, 1) if kind == "weight" else torch.zeros(5)
            for number in range(52)
            for kind in ("weight", "bias")
        },
        {f"conv_{number}_weight": torch.zeros(1, 1, 1, 1) for number in range(52)},
    ],
    ids=["names", "shapes", "biases"],
)
def test_a_file_that_is_no_encoder(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    path = tmp_path / "encoder.safetensors"
    save_file(tensors, path)
    line = refused(recipe("fast", encoder=str(path)))
    assert line.startswith(f"{path}: not an encoder for this model: ")


def test_an_encoder_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    assert str(path) in refused(recipe("fast", encoder=str(path)))
    path.write_bytes(b"no tensors")
    assert refused(recipe("fast", encoder=str(path))).startswith(f"{path}: not an encoder")


def test_torchvisions_values(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = recipe("deeplabv3", encoder="torchvision", model_options={"colors": 5})
    torch.manual_seed(77)
    given = create_model("deeplabv3", colors=21).net.state_dict()  # type: ignore[union-attr]
    monkeypatch.setattr(DeepLabV3, "download_pretrained", staticmethod(lambda: given))
    found = initial_model(settings).net.state_dict()  # type: ignore[union-attr]
    assert torch.equal(found["backbone.conv1.weight"], given["backbone.conv1.weight"])
    assert found["classifier.4.weight"].shape == (5, 256, 1, 1)  # the head is fresh

    del given["backbone.conv1.weight"]
    line = refused(settings)
    assert line.startswith("torchvision: not an encoder for this model: ")
    assert "backbone.conv1.weight" in line


def test_a_failed_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline() -> dict[str, Tensor]:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(DeepLabV3, "download_pretrained", staticmethod(offline))
    with pytest.raises(TrainingError) as caught:
        initial_model(recipe("deeplabv3", encoder="torchvision"))
    line = str(caught.value)
    assert line.startswith("torchvision's weights could not be downloaded (")
    assert "Network is unreachable" in line and "--encoder FILE" in line and "\n" not in line
