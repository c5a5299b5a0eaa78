"""Threads of torch and OpenCV: shared between stages, and put back."""

from __future__ import annotations

import os
import sys
import threading

import cv2
import pytest
import torch

from vidcolor.system.threads import (
    StageThreads,
    keep_scheduling,
    share_threads,
    thread_budget,
)


@pytest.mark.parametrize(
    ("cores", "shared"),
    [
        (1, StageThreads(1, 1)),
        (2, StageThreads(1, 1)),
        (4, StageThreads(2, 1)),
        (16, StageThreads(8, 7)),
    ],
)
def test_cores_are_shared(
    monkeypatch: pytest.MonkeyPatch, cores: int, shared: StageThreads
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
    assert share_threads(torch.device("cpu")) == shared
    assert share_threads(torch.device("cpu"), gmacs=1.6) == shared
    heavy = StageThreads(max(1, cores // 2), max(1, cores // 4), workers=min(2, cores))
    assert share_threads(torch.device("cpu"), gmacs=9.3) == heavy
    assert share_threads(torch.device("meta")) == StageThreads(cores, cores, prefetch=True)


def test_a_thread_has_its_own_number_and_new_threads_the_old() -> None:
    before = torch.get_num_threads()
    found: list[int] = []

    def use(count: int) -> None:
        with thread_budget.use(count):
            found.append(torch.get_num_threads())
            assert thread_budget.available() == before

    for count in (3, 5):
        thread = threading.Thread(target=use, args=(count,))
        thread.start()
        thread.join()
    plain = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    plain.start()
    plain.join()
    assert found == [3, 5, before]
    assert torch.get_num_threads() == thread_budget.available() == before


def test_an_inner_block_gives_back_the_number_of_the_outer_one() -> None:
    before = torch.get_num_threads()
    with thread_budget.use(3):
        with thread_budget.use(5):
            assert torch.get_num_threads() == 5
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == before


def test_opencv_has_one_thread_until_the_last_block_ends() -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        with thread_budget.use(1):
            with thread_budget.use(1):
                assert cv2.getNumThreads() == 1
            assert cv2.getNumThreads() == 1
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)


def test_opencv_that_cannot_be_loaded_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def __getattr__(self, name: str) -> None:
            raise AttributeError("numpy.core.multiarray failed to import")

    monkeypatch.setitem(sys.modules, "cv2", Broken())
    before = torch.get_num_threads()
    with thread_budget.use(2):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == before


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root has realtime threads"
)
def test_realtime_threads_become_ordinary_again() -> None:
    policy, done = os.sched_getscheduler(0), threading.Event()
    with keep_scheduling():
        thread = threading.Thread(target=done.wait)
        thread.start()
        assert thread.native_id is not None
        for each in (0, thread.native_id):
            os.sched_setscheduler(each, os.SCHED_FIFO, os.sched_param(99))
    after = [os.sched_getscheduler(each) for each in (0, thread.native_id)]
    done.set()
    thread.join()
    assert after == [policy, policy]
