"""Workers and the prefetcher: the same frames in the same order, clean errors, clean ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

import vidcolor
from tests.helpers.clips import Clip
from vidcolor.errors import InputError
from vidcolor.frames import LumaBatch
from vidcolor.sources import FilmSource, load

CPU = torch.device("cpu")


@dataclass
class Numbers:
    """A source of batches that hold their number; fails before batch `fails_at`."""

    count: int
    fails_at: int | None = None
    with_bug: bool = False

    def batches(self, batch_size: int, worker: int = 0, workers: int = 1) -> Iterator[LumaBatch]:
        for j in range(self.count):
            if j == self.fails_at:
                if self.with_bug:
                    raise ZeroDivisionError("a bug")
                raise InputError("film.mp4: frame 7 is odd; cut the film there")
            if j % workers == worker:
                luma = torch.full((batch_size, 1, 4, 4), j, dtype=torch.uint8)
                yield LumaBatch(luma, 8, True, (j,) * batch_size, (0,) * batch_size, j)


def settle() -> None:
    """Wait until nothing of a loader is left; fail if something stays."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        threads = [t for t in threading.enumerate() if t.name == "prefetcher"]
        if not threads and not multiprocessing.active_children():
            return
        time.sleep(0.05)
    raise AssertionError("a thread or process was left over")


@pytest.mark.parametrize("prefetch", [True, False])
@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_every_frame_once_in_order(grey_film: Clip, workers: int, prefetch: bool) -> None:
    source = FilmSource(grey_film.path)
    batches = list(load(source, batch_size=2, workers=workers, device=CPU, prefetch=prefetch))
    luma = np.concatenate([b.luma.numpy()[:, 0] for b in batches])
    assert np.array_equal(luma, grey_film.luma)
    assert [b.first_index for b in batches] == [0, 2, 4, 6, 8, 10]
    settle()


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_come_out_as_they_were(workers: int) -> None:
    seen = []
    with pytest.raises(InputError) as caught:
        for batch in load(Numbers(9, fails_at=5), batch_size=1, workers=workers, device=CPU):
            seen.append(batch.first_index)
    assert str(caught.value) == "film.mp4: frame 7 is odd; cut the film there"
    assert type(caught.value) is InputError
    assert seen == [0, 1, 2, 3, 4]
    settle()


def test_bugs_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        list(load(Numbers(3, fails_at=1, with_bug=True), batch_size=1, workers=0, device=CPU))


@pytest.mark.parametrize("workers", [0, 2])
def test_stopping_early_leaves_nothing_behind(workers: int) -> None:
    batches = load(Numbers(10_000), batch_size=1, workers=workers, device=CPU)
    assert [next(batches).first_index for _ in range(3)] == [0, 1, 2]
    batches.close()
    settle()


def test_at_most_a_few_batches_ahead() -> None:
    pulled = []

    class Counting(Numbers):
        def batches(
            self, batch_size: int, worker: int = 0, workers: int = 1
        ) -> Iterator[LumaBatch]:
            for batch in super().batches(batch_size, worker, workers):
                pulled.append(batch.first_index)
                yield batch

    batches = load(Counting(100), batch_size=1, workers=0, device=CPU)
    next(batches)
    time.sleep(0.5)
    assert len(pulled) <= 5
    batches.close()
    settle()


@pytest.mark.slow
def test_ctrl_c_is_quiet_and_quick(tmp_path: Path, long_gop: Clip) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import time, torch\n"
        "from vidcolor.sources import FilmSource, load\n"
        "if __name__ == '__main__':\n"
        f"    source = FilmSource({str(long_gop.path)!r})\n"
        "    try:\n"
        "        for b in load(source, batch_size=1, workers=2, device=torch.device('cpu')):\n"
        "            print(b.first_index, flush=True)\n"
        "            time.sleep(0.5)\n"
        "    except KeyboardInterrupt:\n"
        "        print('interrupted')\n"
    )
    root = str(Path(vidcolor.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert process.stdout is not None and process.stdout.readline() == "0\n"
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers as well
    output, errors = process.communicate(timeout=30)
    assert output.endswith("interrupted\n")
    assert errors == ""


@pytest.mark.gpu
@pytest.mark.parametrize("workers", [0, 2])
def test_copies_to_the_gpu(workers: int) -> None:
    device = torch.device("cuda")
    total = 0
    for batch in load(Numbers(60), batch_size=8, workers=workers, device=device):
        assert batch.luma.device.type == "cuda"
        # Work that is still running when the next batch is copied.
        noise = torch.randn(512, 512, device=device)
        for _ in range(20):
            noise = noise @ noise.T / 512
        assert batch.luma.float().mean().item() == batch.first_index
        total += 1
    assert total == 60
