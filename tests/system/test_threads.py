"""Stages that run ahead: order, errors, early ends, bounded queues."""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref
from collections.abc import Generator

import cv2
import pytest
import torch

from vidcolor.system.threads import (
    AHEAD,
    Threads,
    Workers,
    ahead,
    own_threads,
    share_threads,
    side_by_side,
)


def count(end: int, made: list[int], closed: list[bool] | None = None) -> Generator[int]:
    try:
        for i in range(end):
            made.append(i)
            yield i
    finally:
        if closed is not None:
            closed.append(True)


def settle(name: str) -> None:
    end = time.monotonic() + 20
    while any(thread.name.startswith(name) for thread in threading.enumerate()):
        assert time.monotonic() < end, "the thread was left over"
        time.sleep(0.01)


def test_everything_in_order_through_several_stages() -> None:
    def doubled() -> Generator[int]:
        for i in ahead(lambda: count(50, []), "first"):
            yield 2 * i

    assert list(ahead(doubled, "second")) == [2 * i for i in range(50)]
    settle("first")
    settle("second")


def test_it_runs_ahead_but_not_far() -> None:
    made: list[int] = []
    items = ahead(lambda: count(100, made), "runner")
    assert next(items) == 0
    time.sleep(0.3)
    assert 1 + AHEAD <= len(made) <= 2 + AHEAD  # taken, waiting, and one more in its hands
    items.close()
    settle("runner")


def test_errors_come_in_their_turn() -> None:
    def failing() -> Generator[int]:
        yield 1
        yield 2
        raise ZeroDivisionError("a bug")

    seen = []
    with pytest.raises(ZeroDivisionError, match="a bug"):
        for item in ahead(failing, "failing"):
            seen.append(item)
    assert seen == [1, 2]
    settle("failing")


def test_closing_closes_what_it_stands_on() -> None:
    closed: list[bool] = []
    items = ahead(lambda: count(10_000, [], closed), "closed")
    assert next(items) == 0
    items.close()
    settle("closed")
    assert closed == [True]


def test_side_by_side_in_order() -> None:
    """Two at once, or the barrier would break; and the last are slower than the first."""
    both = threading.Barrier(2, timeout=20)
    before = torch.get_num_threads()

    def work(number: int) -> tuple[int, int]:
        both.wait()
        time.sleep(0.002 * (number % 2 == 0))
        return number, torch.get_num_threads()

    results = side_by_side(lambda: count(40, []), work, "both", workers=2, threads=3)
    assert list(results) == [(number, 3) for number in range(40)]
    settle("both")
    assert torch.get_num_threads() == own_threads.available() == before


def test_side_by_side_is_not_far_ahead() -> None:
    made: list[int] = []
    results = side_by_side(lambda: count(100, made), lambda i: i, "near", workers=2, threads=1)
    assert next(results) == 0
    time.sleep(0.3)
    assert 1 + AHEAD <= len(made) <= 2 + AHEAD
    results.close()
    settle("near")


@pytest.mark.parametrize("where", ["items", "work"])
def test_errors_of_side_by_side_come_in_their_turn(where: str) -> None:
    closed: list[bool] = []

    def items() -> Generator[int]:
        yield from count(4, [], closed)
        if where == "items":
            raise ZeroDivisionError("a bug")
        yield from range(4, 100)

    def work(number: int) -> int:
        time.sleep(0.02)
        if number == 4:
            raise ZeroDivisionError("a bug")
        return number

    seen = []
    with pytest.raises(ZeroDivisionError, match="a bug"):
        for number in side_by_side(items, work, "failing", workers=2, threads=1):
            seen.append(number)
    assert seen == [0, 1, 2, 3] and closed == [True]
    settle("failing")
    assert own_threads.available() == torch.get_num_threads()


def test_a_failed_work_lets_go_of_what_it_held() -> None:
    class Held:
        pass

    held: list[weakref.ref[Held]] = []

    def work(number: int) -> None:
        thing = Held()
        held.append(weakref.ref(thing))
        raise ZeroDivisionError(str(number) + str(thing))

    gc.disable()
    try:
        with pytest.raises(ZeroDivisionError) as failed:
            list(side_by_side(lambda: count(3, []), work, "held", workers=1, threads=1))
        settle("held")
        del failed
        assert held and not any(each() for each in held)
    finally:
        gc.enable()


def test_opencv_that_cannot_be_loaded_does_not_stop_a_stage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Broken:
        def __getattr__(self, name: str) -> None:
            raise AttributeError("numpy.core.multiarray failed to import")

    monkeypatch.setitem(sys.modules, "cv2", Broken())
    assert list(ahead(lambda: count(3, []), "without", threads=1)) == [0, 1, 2]
    settle("without")


def test_closing_side_by_side_ends_it() -> None:
    closed: list[bool] = []
    done: list[int] = []
    results = side_by_side(
        lambda: count(10_000, [], closed), done.append, "ended", workers=2, threads=1
    )
    next(results)
    results.close()
    settle("ended")
    assert closed == [True] and len(done) < 20


def test_opencv_has_no_threads_of_its_own_meanwhile() -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        stage = ahead(lambda: count(10, []), "stage", threads=1)
        assert next(stage) == 0 and cv2.getNumThreads() == 1
        with Workers(2, "pool", 1) as pool:
            assert pool.submit(cv2.getNumThreads).result() == 1
            stage.close()
            assert cv2.getNumThreads() == 1  # the pool has not ended
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)


def test_threads_of_a_stage_are_its_own() -> None:
    before = torch.get_num_threads()

    def ask() -> Generator[int]:
        yield torch.get_num_threads()

    assert list(ahead(ask, "three", threads=3)) == [3]
    assert torch.get_num_threads() == before
    assert list(ahead(ask, "next")) == [before]


@pytest.mark.parametrize(
    ("cores", "shared"),
    [(1, Threads(1, 1)), (2, Threads(1, 1)), (4, Threads(2, 1)), (16, Threads(8, 7))],
)
def test_cores_are_shared(monkeypatch: pytest.MonkeyPatch, cores: int, shared: Threads) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
    assert share_threads(torch.device("cpu")) == shared
    assert share_threads(torch.device("cpu"), gmacs=1.6) == shared
    heavy = Threads(max(1, cores // 2), max(1, cores // 4), workers=min(2, cores))
    assert share_threads(torch.device("cpu"), gmacs=9.3) == heavy
    assert share_threads(torch.device("meta")) == Threads(cores, cores, prefetch=True)


def test_two_films_at_once_leave_the_threads_as_they_were() -> None:
    """Whichever ends first: what new threads begin with stays what it was."""
    before = torch.get_num_threads()
    seen: list[int] = []

    def ask() -> Generator[int]:
        for _ in range(3):
            yield torch.get_num_threads()

    first, second = ahead(ask, "first", threads=3), ahead(ask, "second", threads=5)
    assert (next(first), next(second)) == (3, 5)
    assert own_threads.available() == before
    assert share_threads(torch.device("meta")).model == before
    first.close()
    assert next(second) == 5
    second.close()
    settle("first")
    settle("second")
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert seen == [before]


def test_an_error_does_not_keep_the_items() -> None:
    import gc
    import weakref

    class Item:
        pass

    kept: list[weakref.ref[Item]] = []

    def failing() -> Generator[Item]:
        item = Item()
        kept.append(weakref.ref(item))
        yield item
        del item
        raise ZeroDivisionError

    gc.disable()
    try:
        with pytest.raises(ZeroDivisionError):
            for item in ahead(failing, "failing"):
                del item
        settle("failing")
        assert kept[0]() is None
    finally:
        gc.enable()
