"""The loader and the copy to a device: the same frames in the same order, clean errors and ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from tests.helpers.clips import Clip
from vidcolor.errors import InputError
from vidcolor.frames import LumaBatch
from vidcolor.sources import FilmSource, load
from vidcolor.sources.loader import copy_stages
from vidcolor.system.stages import run_stages

CPU = torch.device("cpu")


@dataclass
class Numbers:
    """A source of batches that hold their number; raises `error` before batch `fails_at`."""

    count: int
    fails_at: int | None = None
    error: Exception = field(default_factory=ZeroDivisionError)
    closed: bool = False

    def batches(self, batch_size: int) -> Generator[LumaBatch]:
        try:
            for number in range(self.count):
                if number == self.fails_at:
                    raise self.error
                luma = torch.full((batch_size, 1, 4, 4), number, dtype=torch.uint8)
                times = (number,) * batch_size
                yield LumaBatch(luma, 8, True, times, (0,) * batch_size, number)
        finally:
            self.closed = True


def test_every_frame_once_in_order(gray_film: Clip) -> None:
    batches = list(load(FilmSource(gray_film.path), batch_size=2, device=CPU))
    luma = np.concatenate([b.luma.numpy()[:, 0] for b in batches])
    assert np.array_equal(luma, gray_film.luma)
    assert [b.first_index for b in batches] == [0, 2, 4, 6, 8, 10]


@pytest.mark.parametrize("error", [InputError("film.mp4: frame 7 is odd"), KeyError("a bug")])
def test_errors_come_out_as_they_were(error: Exception) -> None:
    seen = []
    source = Numbers(9, 5, error)
    with pytest.raises(type(error)) as caught:
        for batch in load(source, batch_size=1, device=CPU):
            seen.append(batch.first_index)
    assert caught.value is error
    assert seen == [0, 1, 2, 3, 4] and source.closed


def test_stopping_early_closes_the_source() -> None:
    source = Numbers(10_000)
    with closing(load(source, batch_size=1, device=CPU)) as batches:
        assert [next(batches).first_index for _ in range(3)] == [0, 1, 2]
    assert source.closed


def test_the_callers_random_numbers_are_left_alone() -> None:
    before = torch.get_rng_state()
    assert len(list(load(Numbers(3), batch_size=1, device=CPU))) == 3
    assert torch.equal(torch.get_rng_state(), before)


def test_copying_runs_ahead_in_the_thread_that_decodes() -> None:
    threads: list[str] = []

    class Watched(Numbers):
        def batches(self, batch_size: int) -> Generator[LumaBatch]:
            for batch in super().batches(batch_size):
                threads.append(threading.current_thread().name)
                yield batch

    source = load(Watched(100), batch_size=1, device=CPU)
    with closing(run_stages(source, copy_stages(CPU))) as batches:
        assert next(batches).first_index == 0
        time.sleep(0.3)
        assert len(threads) <= 8
    assert set(threads) == {"copy"}


@pytest.mark.gpu
def test_copies_to_the_gpu() -> None:
    device = torch.device("cuda")
    total = 0
    source = load(Numbers(60), batch_size=8, device=device)
    for batch in run_stages(source, copy_stages(device)):
        assert batch.luma.device.type == "cuda"
        # Work that is still running when the next batch is copied.
        noise = torch.randn(512, 512, device=device)
        for _ in range(20):
            noise = noise @ noise.T / 512
        assert batch.luma.float().mean().item() == batch.first_index
        total += 1
    assert total == 60
