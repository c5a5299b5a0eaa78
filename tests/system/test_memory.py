"""Freed memory is retained with glibc only; the peak of a block is measured."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from tests.helpers.clips import encode, frames
from vidcolor import Settings
from vidcolor.cli.run import set_memory_policy
from vidcolor.run.plan import plan
from vidcolor.system import memory
from vidcolor.system.memory import peak_memory, peak_resident_bytes, resident_bytes

CPU = torch.device("cpu")
_MIB = 1 << 20
_BLOCK = 64  # MiB, above the largest block that glibc would keep by itself

# Prints whether the setting was made, how much of a freed block the process still holds, and how
# much 60 more rounds of blocks of several sizes add, both in MiB.
_FREE = f"""
import psutil, sys
from vidcolor.system.memory import retain_freed_memory

def held():
    return psutil.Process().memory_info().rss

def use(*sizes):
    blocks = []
    for size in sizes:
        blocks.append(bytearray(size * {_MIB}))
        blocks = blocks[-2:]

made = sys.argv[1] == "keep" and retain_freed_memory()
before = held()
use({_BLOCK})
freed = held() - before
for step in range(80):
    if step == 20:
        before = held()
    use(8, 14, 10, 12)
print(int(made), freed // {_MIB}, (held() - before) // {_MIB})
"""


def freed_block(mode: str) -> tuple[bool, int, int]:
    """Whether the setting was made, the MiB of a freed block still held, and the growth."""
    done = subprocess.run(
        [sys.executable, "-c", _FREE, mode],
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    made, held, grown = map(int, done.stdout.split())
    return bool(made), held, grown


def test_freed_memory_is_retained_and_reused() -> None:
    made, held, grown = freed_block("keep")
    assert made == hasattr(ctypes.CDLL(None), "gnu_get_libc_version")
    if made:
        assert held >= _BLOCK - 4
        assert freed_block("leave")[1] < _BLOCK // 4, "the system retains it without the setting"
    assert grown < 8


_HEAPS = """
import ctypes, sys, threading
from vidcolor.system.memory import limit_heaps

made = sys.argv[1] == "limit" and limit_heaps()
barrier = threading.Barrier(8)

def use():
    block = bytearray(100_000)
    barrier.wait()

threads = [threading.Thread(target=use) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
library = ctypes.CDLL(None)
library.fdopen.restype = ctypes.c_void_p
library.malloc_info(0, ctypes.c_void_p(library.fdopen(1, b"w")))
library.fflush(None)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="glibc only")
def test_threads_share_two_heaps() -> None:
    def heaps(mode: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", _HEAPS, mode], capture_output=True, text=True, check=True
        )
        return done.stdout.count("<heap nr=")

    assert heaps("limit") == 2 < heaps("leave")


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def loaded(name: str | None) -> None:
        raise AssertionError("loaded the C library")

    monkeypatch.setattr(ctypes, "CDLL", loaded)
    for platform in ("darwin", "win32"):
        monkeypatch.setattr(sys, "platform", platform)
        assert not memory.retain_freed_memory() and not memory.limit_heaps()


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Musl:
        def __getattr__(self, name: str) -> object:
            raise AttributeError(name)

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Musl())
    monkeypatch.setattr(sys, "platform", "linux")
    assert not memory.retain_freed_memory()


@pytest.mark.parametrize(
    ("names", "device", "kept"),
    [
        (("a.mkv", "b.mkv"), "cpu", True),
        (("a.mkv", "c.mkv"), "cpu", False),  # frames of two sizes leave gaps
        (("a.mkv", "p.png"), "cpu", False),
        (("p.png",), "cpu", False),
        (("a.mkv",), "cuda", False),
    ],
)
def test_memory_is_retained_for_films_of_one_size(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    names: tuple[str, ...],
    device: str,
    kept: bool,
) -> None:
    for name, side in (("a.mkv", 32), ("b.mkv", 32), ("c.mkv", 48)):
        encode(tmp_path / name, "ffv1", "yuv420p", frames(2, side, 32))
    Image.new("L", (32, 32)).save(tmp_path / "p.png")
    calls: list[bool] = []

    def record() -> bool:
        calls.append(True)
        return True

    monkeypatch.setattr(memory, "retain_freed_memory", record)
    jobs, problems = plan([tmp_path / name for name in names], tmp_path / "out", Settings())
    colorizer: Any = SimpleNamespace(device=torch.device(device))
    assert not problems and set_memory_policy(jobs, colorizer) == kept == bool(calls)


def test_a_peak_is_found_after_it_is_over() -> None:
    size = 96 << 20
    before = resident_bytes()
    with peak_memory(CPU) as peak, mmap.mmap(-1, size) as block:  # torch may reuse freed memory
        block.write(b"x" * size)
        time.sleep(0.1)
    assert before + size // 2 < peak.memory < before + 4 * size
    assert peak.of(CPU) == peak.memory and peak.vram == 0


def test_a_peak_without_the_systems_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some sandboxes accept the reset and have no VmHWM."""
    monkeypatch.setattr(Path, "read_text", lambda self, **given: "VmRSS:  9 kB\n")
    assert peak_resident_bytes() == 0
    before = resident_bytes()
    with peak_memory(CPU) as peak, mmap.mmap(-1, 96 << 20) as block:
        block.write(b"x" * (96 << 20))
        time.sleep(0.2)
    assert peak.memory > before + (48 << 20)


@pytest.mark.gpu
def test_the_peak_of_a_gpu() -> None:
    device = torch.device("cuda")
    with peak_memory(device) as peak:
        torch.ones(64 << 20, dtype=torch.uint8, device=device)
    total = torch.cuda.mem_get_info(device)[1]
    assert 64 << 20 <= peak.vram < total and peak.of(device) == peak.vram
