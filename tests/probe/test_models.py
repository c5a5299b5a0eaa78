"""What is measured without an input: the film it is made on, the stages, the report."""

from __future__ import annotations

import json
import weakref
from dataclasses import asdict
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from vidcolor import Colorizer, EncoderSettings, Settings
from vidcolor.errors import WeightsError
from vidcolor.probe import models
from vidcolor.probe.models import ModelsReport, measure_stages, probe_models
from vidcolor.probe.synthetic import film_length, frames, write_film
from vidcolor.run.batch_cache import cached_batch

FAST_ENCODER = Settings(encoder=EncoderSettings(preset="ultrafast"))


def test_the_film_has_moving_shots_with_grain(tmp_path: Path) -> None:
    codes = frames(44, 96, 64)
    assert codes.shape == (44, 64, 96) and codes.dtype == np.uint8
    assert np.array_equal(codes, frames(44, 96, 64))  # the same every time
    assert codes.min() >= 16 and codes.max() <= 235 and codes.std() > 20
    step = np.abs(np.diff(codes.astype(int), axis=0)).mean(axis=(1, 2))
    assert step[39] > 1.7 * np.delete(step, 39).max()  # a cut
    moved = np.abs(codes[1, :, :-2].astype(int) - codes[0, :, 2:]).mean()
    assert 1 < moved < step[0]  # a pan, and grain that is new in each frame
    film = write_film(tmp_path, 96, 64, 44)
    read = np.concatenate([b.luma.numpy()[:, 0] for b in film.batches(8)])
    assert read.shape == codes.shape and np.abs(read.astype(int) - codes).mean() < 4
    assert (film.facts.codec, film.facts.pix_fmt, film.facts.average_rate) == (
        "h264",
        "yuv420p",
        Fraction(24),
    )


def test_large_frames_make_short_films() -> None:
    assert film_length(64, 48) == 120 and film_length(640, 480) == 120
    assert film_length(1920, 1080) < 40 and film_length(7680, 4320) == 24


STAGES = ("decode", "cuts", "prepare", "predict", "stabilize", "compose", "encode")


@pytest.mark.parametrize("steady", [True, False])
def test_every_stage_is_measured(tmp_path: Path, steady: bool) -> None:
    colorizer = Colorizer("_ramp", device="cpu", size=64)
    film = write_film(tmp_path, 96, 64, 24)
    settings = Settings(encoder=FAST_ENCODER.encoder, stabilize=steady)
    before = torch.get_num_threads()
    fps, end_to_end = measure_stages(colorizer, film, settings, tmp_path, 4)
    wanted = STAGES if steady else tuple(s for s in STAGES if s not in ("cuts", "stabilize"))
    assert tuple(fps) == wanted
    assert all(each > 0 for each in fps.values()) and end_to_end > 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.png", "film.mkv"]
    assert torch.get_num_threads() == before


def test_parameters_and_macs_are_those_of_the_model_as_it_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDCOLOR_CACHE", str(tmp_path))
    fast = partial(Colorizer, "fast", device="cpu")
    (found,) = probe_models([fast], 64, 48, FAST_ENCODER, batches=[1], least=0.01).models
    assert found.parameters == pytest.approx(4.96e6, rel=0.01)
    assert found.macs == pytest.approx(1.58e9, rel=0.02)


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelsReport:
    monkeypatch.setenv("VIDCOLOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        models, "write_film", lambda folder, width, height: write_film(folder, width, height, 24)
    )
    makers = [partial(Colorizer, "_ramp", device="cpu", size=size) for size in (64, 96)]
    return probe_models(makers, 96, 64, FAST_ENCODER, batches=[1, 2], least=0.01)


def test_the_report(report: ModelsReport) -> None:
    assert report.frame == (96, 64) and report.device.startswith("cpu (")
    assert [model.size for model in report.models] == [64, 96]
    first = report.models[0]
    assert (first.model, first.precision, first.seen) == ("_ramp", "fp32", (56, 80))
    assert first.fastest in (1, 2) and first.largest >= 1
    row = next(row for row in first.rows if row.batch == first.fastest)
    assert first.peak_bytes == row.taken_bytes and first.end_to_end > 0
    values = json.loads(json.dumps(asdict(report)))
    assert values["models"][0]["rows"][0]["batch"] == 1
    assert values["models"][0]["stages"].keys() == set(STAGES)
    assert values["models"][1]["peak_bytes"] > 0


def test_the_fastest_batch_is_kept_for_auto(report: ModelsReport) -> None:
    for model in report.models:
        colorizer = Colorizer("_ramp", device="cpu", size=model.size)
        assert cached_batch(colorizer, 96, 64) == model.fastest
    assert cached_batch(Colorizer("_ramp", device="cpu", size=128), 96, 64) is None


def test_no_model_is_an_error() -> None:
    with pytest.raises(ValueError, match="no model"):
        probe_models([], 32, 32, FAST_ENCODER)


def test_a_model_that_cannot_be_loaded_takes_no_other_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        models, "write_film", lambda folder, width, height: write_film(folder, width, height, 8)
    )
    monkeypatch.setenv("VIDCOLOR_CACHE", str(tmp_path))
    good = partial(Colorizer, "_ramp", device="cpu", size=64)
    bad = partial(Colorizer, weights=tmp_path / "none.safetensors", device="cpu")
    report = probe_models([bad, good], 64, 48, FAST_ENCODER, batches=[1], least=0.01)
    assert [model.model for model in report.models] == ["_ramp"]
    assert len(report.problems) == 1 and "none.safetensors" in report.problems[0]
    assert report.device.startswith("cpu (") and report.memory
    with pytest.raises(WeightsError, match=r"none\.safetensors"):
        probe_models([bad, bad], 64, 48, FAST_ENCODER, batches=[1])


def test_a_model_is_gone_before_the_next_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDCOLOR_CACHE", str(tmp_path))
    monkeypatch.setattr(
        models, "write_film", lambda folder, width, height: write_film(folder, width, height, 8)
    )
    made: list[weakref.ref[Colorizer]] = []

    def make() -> Colorizer:
        assert all(each() is None for each in made)
        colorizer = Colorizer("_ramp", device="cpu", size=64)
        made.append(weakref.ref(colorizer))
        return colorizer

    probe_models([make, make], 64, 48, FAST_ENCODER, batches=[1], least=0.01)
    assert len(made) == 2
