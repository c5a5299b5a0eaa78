"""What is measured without an input: models, their batches, the report."""

from __future__ import annotations

import json
import weakref
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest

from vidcolor import Colorizer
from vidcolor.errors import WeightsError
from vidcolor.probe.models import ModelsReport, probe_models
from vidcolor.run.batch_cache import cached_batch


def test_parameters_and_multiply_adds_are_those_of_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDCOLOR_CACHE", str(tmp_path))
    fast = partial(Colorizer, "fast", device="cpu")
    (found,) = probe_models([fast], 64, 48, batches=[1], least=0.01).models
    assert found.parameters == pytest.approx(4.96e6, rel=0.01)
    assert found.gmacs == pytest.approx(1.58, rel=0.02)


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelsReport:
    monkeypatch.setenv("VIDCOLOR_CACHE", str(tmp_path / "cache"))
    makers = [partial(Colorizer, "_ramp", device="cpu", size=size) for size in (64, 96)]
    return probe_models(makers, 96, 64, batches=[1, 2], least=0.01)


def test_the_report(report: ModelsReport) -> None:
    assert report.frame == (96, 64) and report.device.startswith("cpu (")
    assert [model.size for model in report.models] == [64, 96]
    first = report.models[0]
    assert (first.model, first.precision, first.seen) == ("_ramp", "fp32", (56, 80))
    assert first.fastest in (1, 2) and first.largest >= 1
    values = json.loads(json.dumps(asdict(report)))
    assert values["models"][0]["rows"][0]["batch"] == 1
    assert values["models"][1]["rows"][1]["taken_bytes"] > 0


def test_the_fastest_batch_is_kept_for_auto(report: ModelsReport) -> None:
    for model in report.models:
        colorizer = Colorizer("_ramp", device="cpu", size=model.size)
        assert cached_batch(colorizer, 96, 64) == model.fastest
    assert cached_batch(Colorizer("_ramp", device="cpu", size=128), 96, 64) is None


def test_no_model_is_an_error() -> None:
    with pytest.raises(ValueError, match="no model"):
        probe_models([], 32, 32)


def test_a_model_that_cannot_be_loaded_takes_no_other_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDCOLOR_CACHE", str(tmp_path))
    good = partial(Colorizer, "_ramp", device="cpu", size=64)
    bad = partial(Colorizer, weights=tmp_path / "none.safetensors", device="cpu")
    report = probe_models([bad, good], 64, 48, batches=[1], least=0.01)
    assert [model.model for model in report.models] == ["_ramp"]
    assert len(report.problems) == 1 and "none.safetensors" in report.problems[0]
    assert report.device.startswith("cpu (") and report.memory
    with pytest.raises(WeightsError, match=r"none\.safetensors"):
        probe_models([bad, bad], 64, 48, batches=[1])


def test_a_model_is_gone_before_the_next_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDCOLOR_CACHE", str(tmp_path))
    made: list[weakref.ref[Colorizer]] = []

    def make() -> Colorizer:
        assert all(each() is None for each in made)
        colorizer = Colorizer("_ramp", device="cpu", size=64)
        made.append(weakref.ref(colorizer))
        return colorizer

    probe_models([make, make], 64, 48, batches=[1], least=0.01)
    assert len(made) == 2
