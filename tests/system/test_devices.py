"""Name, memory and precisions of a device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from vidcolor.system import limits
from vidcolor.system.devices import (
    device_memory,
    device_name,
    free_memory,
    has_bf16,
    processors,
)

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
    monkeypatch.setattr(limits, "_CGROUPS", root)
    monkeypatch.setattr(limits, "_OWN_CGROUPS", tmp_path / "own")
    memory = SimpleNamespace(available=9000, used=1000, total=10_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    return root


def test_a_container_leaves_less_than_the_machine_has(groups: Path) -> None:
    assert free_memory(CPU) == 9000
    files(groups / "outer" / "inner", memory__max="max", memory__current=10)
    assert free_memory(CPU) == 9000
    files(groups / "outer", memory__max=5000, memory__current=1000)
    assert free_memory(CPU) == device_memory(CPU)["memory_free"] == 4000
    files(groups / "outer" / "inner", memory__max=3000, memory__current=900)
    assert free_memory(CPU) == 2100
    # cached files can be freed
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
    """It is a key of the cache of batch sizes, and a run changes torch's threads."""
    threads, name = torch.get_num_threads(), device_name(CPU)
    try:
        torch.set_num_threads(threads + 1)
        assert device_name(CPU) == name
    finally:
        torch.set_num_threads(threads)


@pytest.fixture
def uncached() -> Iterator[None]:
    has_bf16.cache_clear()
    yield
    has_bf16.cache_clear()


def test_bf16_is_found_by_the_processors_flags(uncached: None) -> None:
    """Pins torch's answer against that of Linux; where that has none, no processor has bf16."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text(encoding="utf-8").split()) if cpuinfo.exists() else set()
    assert has_bf16() == bool(flags & {"avx512_bf16", "amx_bf16"})


@pytest.mark.parametrize("supported", [True, False, None])
def test_bf16_with_an_older_torch(
    uncached: None, monkeypatch: pytest.MonkeyPatch, supported: bool | None
) -> None:
    """Without `get_capabilities`, and without any function at all."""
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    if supported is not None:
        answer = supported
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: answer, raising=False)
    assert has_bf16() == bool(supported)


@pytest.mark.gpu
def test_a_gpu_reports_its_own_memory() -> None:
    memory = device_memory(torch.device("cuda"))
    assert memory["VRAM_in_use"] + memory["VRAM_free"] == memory["VRAM_total"]
