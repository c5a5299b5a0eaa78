"""Names, memory and seconds of a device."""

from __future__ import annotations

import mmap
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from vidcolor.probe.batches import seconds_a_call
from vidcolor.system import devices as metering
from vidcolor.system import memory
from vidcolor.system.devices import device_memory, device_name, free_memory, processors
from vidcolor.system.memory import peak_memory, resident_bytes

CPU = torch.device("cpu")


def test_the_device_has_a_name_and_memory() -> None:
    assert device_name(CPU).startswith("cpu (") and f"{processors()} processors" in device_name(CPU)
    memory = device_memory(CPU)
    assert 2**28 < memory["memory_total"] < 2**50
    assert 0 < free_memory(CPU) <= memory["memory_total"]


def files(root: Path, **texts: object) -> None:
    """A control group's files."""
    root.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (root / name.replace("__", ".")).write_text(f"{text}\n")


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Control groups of a machine with 9000 bytes free; those of version 2, without a limit."""
    root = tmp_path / "groups"
    files(root)
    (tmp_path / "own").write_text("0::/outer/inner\n")
    monkeypatch.setattr(metering, "_GROUPS", root)
    monkeypatch.setattr(metering, "_OWN_GROUPS", tmp_path / "own")
    memory = SimpleNamespace(available=9000, used=1000, total=10_000)
    monkeypatch.setattr(metering.psutil, "virtual_memory", lambda: memory)
    return root


def test_a_container_leaves_less_than_the_machine_has(groups: Path) -> None:
    assert free_memory(CPU) == 9000
    files(groups / "outer" / "inner", memory__max="max", memory__current=10)
    assert free_memory(CPU) == 9000
    files(groups / "outer", memory__max=5000, memory__current=1000)
    assert free_memory(CPU) == device_memory(CPU)["memory_free"] == 4000
    files(groups / "outer" / "inner", memory__max=3000, memory__current=900)
    assert free_memory(CPU) == 2100
    # read files that lie in the cache are no loss
    files(groups / "outer" / "inner", memory__stat="anon 300\ninactive_file 500\nslab 9")
    assert free_memory(CPU) == 2600
    files(groups / "outer" / "inner", memory__current=5000)
    assert free_memory(CPU) == 0
    files(groups / "outer" / "inner", memory__max=99_000)
    files(groups / "outer", memory__max=99_000)
    assert free_memory(CPU) == 9000


def test_the_first_version_of_control_groups(groups: Path, tmp_path: Path) -> None:
    (tmp_path / "own").write_text("5:cpu,cpuacct:/x\n4:memory:/docker/0123\n")
    # the container sees its own group as the root
    files(groups / "memory", memory__limit_in_bytes=4000, memory__usage_in_bytes=1500)
    assert free_memory(CPU) == 2500
    files(groups / "memory", memory__stat="total_inactive_file 100")
    assert free_memory(CPU) == 2600
    (tmp_path / "own").unlink()  # not Linux
    assert free_memory(CPU) == 9000


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


def test_a_peak_without_the_systems_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some sandboxes take the reset and have no VmHWM."""
    monkeypatch.setattr(memory.Path, "read_text", lambda self, **given: "VmRSS:  9 kB\n")
    assert memory.peak_resident_bytes() == 0
    before = resident_bytes()
    with peak_memory(CPU) as peak, mmap.mmap(-1, 96 << 20) as block:
        block.write(b"x" * (96 << 20))
        time.sleep(0.2)
    assert peak.memory > before + (48 << 20)


def test_time_a_call_is_the_mean_after_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = [0.0], []

    def work() -> None:
        calls.append(clock[0])
        clock[0] += 100.0 if len(calls) == 1 else 0.2  # the first call is slow

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
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
