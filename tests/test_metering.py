"""Names, memory and seconds of a device."""

from __future__ import annotations

import mmap
import time

import pytest
import torch

from vidcolor import metering
from vidcolor.metering import (
    device_memory,
    device_name,
    free_memory,
    peak_memory,
    processors,
    resident_bytes,
    seconds_a_call,
)

CPU = torch.device("cpu")


def test_the_device_has_a_name_and_memory() -> None:
    assert device_name(CPU).startswith("cpu (") and f"{processors()} processors" in device_name(CPU)
    memory = device_memory(CPU)
    assert 2**28 < memory["memory_total"] < 2**50
    assert 0 < free_memory(CPU) <= memory["memory_total"]


def test_the_name_does_not_follow_torchs_threads() -> None:
    """The cache of batch sizes goes by it, and a run sets its threads when it has begun."""
    threads, name = torch.get_num_threads(), device_name(CPU)
    try:
        torch.set_num_threads(threads + 1)
        assert device_name(CPU) == name
    finally:
        torch.set_num_threads(threads)


def test_a_peak_is_seen_though_it_is_over() -> None:
    size = 96 << 20
    before = resident_bytes()
    with peak_memory(CPU) as peak, mmap.mmap(-1, size) as block:  # torch may have some to spare
        block.write(b"x" * size)
        time.sleep(0.1)
    assert before + size // 2 < peak.memory < before + 4 * size
    assert peak.of(CPU) == peak.memory and peak.vram == 0


def test_time_a_call_is_the_mean_after_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = [0.0], []

    def work() -> None:
        calls.append(clock[0])
        clock[0] += 100.0 if len(calls) == 1 else 0.2  # the first call is slow

    monkeypatch.setattr(metering.time, "perf_counter", lambda: clock[0])
    assert seconds_a_call(CPU, work) == pytest.approx(0.2)
    assert len(calls) == 1 + 3  # half a second of them


@pytest.mark.gpu
def test_a_gpu_reports_its_own_memory() -> None:
    device = torch.device("cuda")
    memory = device_memory(device)
    assert memory["VRAM_in_use"] + memory["VRAM_free"] == memory["VRAM_total"]
    with peak_memory(device) as peak:
        torch.ones(64 << 20, dtype=torch.uint8, device=device)
    assert 64 << 20 <= peak.vram < memory["VRAM_total"] and peak.of(device) == peak.vram
