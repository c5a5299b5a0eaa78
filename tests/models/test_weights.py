"""Weights: checked at load, every fault named with its remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from vidcolor.errors import WeightsError
from vidcolor.models import create_model, weights
from vidcolor.models.base import ColorModel
from vidcolor.models.entry import Entry, make_entry
from vidcolor.models.weights import (
    load_model,
    manifest,
    read_entry,
    save_weights,
)

Own = tuple[Path, ColorModel]


@pytest.fixture
def own(tmp_path: Path) -> Own:
    torch.manual_seed(0)
    model = create_model("fast").eval()
    path = tmp_path / "my weights ü.safetensors"
    save_weights(
        path, model.state_dict(), Entry("fast", input_size=128, chroma_gain=1.5), torch.float16
    )
    return path, model


def test_shipped_weights_are_whole() -> None:
    entries = manifest()
    assert "fast" in entries
    for name, entry in entries.items():
        model, loaded = load_model(name)
        assert loaded == entry
        assert not model.training
        assert entry.parameters == sum(p.numel() for p in model.parameters())
        assert entry.license and entry.data and entry.recipe and entry.metrics
        files = [weights.shipped_folder() / file for file in (entry.file, *entry.shards)]
        assert sum(file.stat().st_size for file in files) < 60e6
        assert max(file.stat().st_size for file in files) < 20 * 2**20


def test_own_weights_round_trip(own: Own) -> None:
    path, model = own
    loaded, entry = load_model(file=path)
    assert entry.input_size == 128 and entry.chroma_gain == 1.5
    for name, value in model.state_dict().items():
        assert torch.allclose(loaded.state_dict()[name].float(), value.float(), atol=2e-3)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such weights file"):
        load_model(file=tmp_path / "none.safetensors")


def test_cut_short_file(own: Own) -> None:
    path, _ = own
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match="not a complete safetensors file"):
        load_model(file=path)


def test_not_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"PK\x03\x04 something else entirely")
    with pytest.raises(WeightsError, match="not a complete safetensors file"):
        load_model(file=path)


def test_weights_of_another_model(own: Own, tmp_path: Path) -> None:
    path, _ = own
    with pytest.raises(WeightsError, match="weights of 'fast', not of '_ramp'"):
        load_model("_ramp", path)
    tensors = load_file(path)
    removed = "head.weight"
    bare = tmp_path / "bare.safetensors"
    save_file({k: v for k, v in tensors.items() if k != removed}, bare)
    with pytest.raises(WeightsError, match="add --model"):
        load_model(file=bare)
    with pytest.raises(WeightsError, match="is missing"):
        load_model("fast", bare)
    save_file({**tensors, removed: torch.zeros(3)}, bare)
    with pytest.raises(WeightsError, match="has shape"):
        load_model("fast", bare)
    save_file({**tensors, "surplus": torch.zeros(3)}, bare)
    with pytest.raises(WeightsError, match="surplus is unknown"):
        load_model("fast", bare)
    save_file({**tensors, removed: torch.full_like(tensors[removed], float("nan"))}, bare)
    with pytest.raises(WeightsError, match="not finite"):
        load_model("fast", bare)


def test_unknown_model_lists_the_known() -> None:
    with pytest.raises(WeightsError, match="fast"):
        load_model("nonsense")


def test_a_source_tree_that_is_not_installed_has_its_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def not_installed(name: str) -> Path:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("importlib.resources.files", not_installed)
    assert load_model("fast")[1].architecture == "fast"


def test_altered_shipped_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = weights.shipped_folder()
    (tmp_path / "manifest.json").write_bytes((folder / "manifest.json").read_bytes())
    file = manifest()["fast"].file
    data = bytearray((folder / file).read_bytes())
    data[-1] ^= 1
    (tmp_path / file).write_bytes(data)
    monkeypatch.setattr(weights, "shipped_folder", lambda: tmp_path)
    with pytest.raises(WeightsError, match="SHA-256"):
        load_model("fast")
    (tmp_path / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(WeightsError, match="not readable"):
        load_model("fast")


def test_weights_in_shards(own: Own, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, model = own
    tensors = list(load_file(path).items())
    save_file(dict(tensors[:50]), tmp_path / "two.safetensors")
    save_file(dict(tensors[50:]), tmp_path / "two-2.safetensors")
    sums = {
        f"{name}.safetensors": weights.sha256_of(tmp_path / f"{name}.safetensors")
        for name in ("two", "two-2")
    }
    entry = {
        "architecture": "fast",
        "file": "two.safetensors",
        "sha256": sums["two.safetensors"],
        "shards": {"two-2.safetensors": sums["two-2.safetensors"]},
    }
    (tmp_path / "manifest.json").write_text(json.dumps({"two": entry}), encoding="utf-8")
    monkeypatch.setattr(weights, "shipped_folder", lambda: tmp_path)
    loaded, _ = load_model("two")
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.half().float()), name
    (tmp_path / "two-2.safetensors").write_bytes(b"cut short")
    with pytest.raises(WeightsError, match=r"two-2\.safetensors: missing, cut short or altered"):
        load_model("two")
    (tmp_path / "two-2.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"two-2\.safetensors: missing"):
        load_model("two")


def test_entry_from_a_newer_version(own: Own, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="unknown key 'color_model'"):
        make_entry({"architecture": "fast", "color_model": 1}, "file")
    path, _ = own
    entry = read_entry(path)
    assert entry == Entry("fast", input_size=128, chroma_gain=1.5)
    assert json.loads(json.dumps(entry.metrics)) == {}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("{bad", "not readable as JSON"),
        ("[1]", "not a vidcolor manifest entry"),
        ('{"architecture": "fast", "input_size": "256"}', "'input_size' is '256'"),
        ('{"architecture": "fast", "color_space": "oklab"}', "works in 'oklab'"),
    ],
)
def test_a_broken_entry_is_named(tmp_path: Path, header: str, message: str) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata={"vidcolor": header})
    with pytest.raises(WeightsError, match=message):
        load_model(file=path)
