"""What `probe` reports: every batch size measured, memory, and what does not fit."""

from __future__ import annotations

import json

import pytest
import torch

from vidcolor import probe as probing
from vidcolor.colorizer import Colorizer
from vidcolor.probe import ProbeReport, Row, device_memory, device_name, probe


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure two calls instead of half a second of them."""
    real = probing._seconds
    monkeypatch.setattr(probing, "_seconds", lambda device, work: real(device, work, least=0))


def test_the_batches_are_measured(quick: None) -> None:
    report = probe(Colorizer("_ramp", device="cpu", size=64), 64, 48, [4, 1, 4])
    assert (report.model, report.precision, report.frame) == ("_ramp", "fp32", (64, 48))
    assert [row.batch for row in report.rows] == [1, 4]
    for row in report.rows:
        assert row.model_ms is not None and row.compose_ms is not None and row.fps is not None
        assert row.model_ms > 0 and row.compose_ms > 0
        assert row.fps == pytest.approx(1000 / (row.model_ms + row.compose_ms))
        assert (
            row.taken_bytes is not None and row.taken_bytes > 50 * 2**20
        )  # torch alone takes that
    assert report.fastest in (1, 4)
    assert report.memory["memory_total"] >= report.memory["memory_free"] > 0


def test_time_a_call_is_the_mean_after_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = [0.0], []

    def work() -> None:
        calls.append(clock[0])
        clock[0] += 100.0 if len(calls) == 1 else 0.2  # the first call is slow

    monkeypatch.setattr(probing.time, "perf_counter", lambda: clock[0])
    assert probing._seconds(torch.device("cpu"), work) == pytest.approx(0.2)
    assert len(calls) == 1 + 3  # half a second of them


def test_a_batch_that_does_not_fit_is_said(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    colorizer = Colorizer("_ramp", device="cpu", size=64)
    inner = colorizer.model

    class Cramped(torch.nn.Module):
        def forward(self, lightness: torch.Tensor) -> torch.Tensor:
            if len(lightness) > 2:
                raise torch.OutOfMemoryError("injected")
            return inner(lightness)

    colorizer.model = Cramped()
    report = probe(colorizer, 64, 48, [1, 2, 8])
    assert report.rows[2] == Row(8)
    assert report.fastest in (1, 2)
    assert all(row.fps for row in report.rows[:2])


def test_other_errors_are_not_taken_for_a_full_memory(quick: None) -> None:
    colorizer = Colorizer("_ramp", device="cpu", size=64)

    class Broken(torch.nn.Module):
        def forward(self, lightness: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("shapes do not match")

    colorizer.model = Broken()
    with pytest.raises(RuntimeError, match="shapes"):
        probe(colorizer, 64, 48, [1])


def test_the_fastest_batch_and_json() -> None:
    rows = (Row(1, 2.0, 2.0, 250.0, 10), Row(4, 1.0, 1.0, 500.0, 20), Row(16))
    report = ProbeReport("cpu", "m", "fp32", (64, 48), {"memory_total": 1}, rows)
    assert report.fastest == 4
    values = json.loads(json.dumps(report.to_dict()))
    assert values["fastest"] == 4 and values["frame"] == [64, 48]
    assert values["rows"][2] == {
        "batch": 16,
        "model_ms": None,
        "compose_ms": None,
        "fps": None,
        "taken_bytes": None,
    }
    nothing = ProbeReport("cpu", "m", "fp32", (64, 48), {}, (Row(1),))
    assert nothing.fastest is None


def test_the_device_has_a_name_and_memory() -> None:
    device = torch.device("cpu")
    assert "threads" in device_name(device)
    assert 2**28 < device_memory(device)["memory_total"] < 2**50


@pytest.mark.gpu
def test_a_gpu_reports_its_own_memory(quick: None) -> None:
    report = probe(Colorizer("fast", device="cuda"), 640, 480, [1, 8])
    memory = report.memory
    assert memory["VRAM_in_use"] + memory["VRAM_free"] == memory["VRAM_total"]
    one, eight = (row.taken_bytes for row in report.rows)
    assert one is not None and eight is not None and 0 < one < eight < memory["VRAM_total"]
