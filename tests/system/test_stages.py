"""The runner of stages: order, errors in turn, early ends, bounded look-ahead, the timer."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
import torch

from vidcolor.system.stages import LOOK_AHEAD, Stage, StageTimer, run_stages


def count(end: int, made: list[int], closed: list[bool] | None = None) -> Generator[int]:
    try:
        for i in range(end):
            made.append(i)
            yield i
    finally:
        if closed is not None:
            closed.append(True)


def sums(items: Iterator[int]) -> Iterator[int]:
    """Of two items at a time, and of what is left at the end."""
    held: list[int] = []
    for item in items:
        held.append(item)
        if len(held) == 2:
            yield sum(held)
            held = []
    if held:
        yield sum(held)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    threads = torch.get_num_threads()
    yield
    end = time.monotonic() + 20
    while set(threading.enumerate()) - before:
        assert time.monotonic() < end, "a thread was left over"
        time.sleep(0.01)
    assert torch.get_num_threads() == threads


# ---------------------------------------------------------------- order


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("joined", [True, False])
def test_results_come_in_order(workers: int, joined: bool) -> None:
    def twice(item: int) -> list[int]:
        time.sleep(0.002 * (item % 3 == 0))  # the last are quicker than the first
        return [item, item] if item % 2 else []

    stages: list[Stage[Any, Any]] = [
        Stage("twice", twice, workers=workers, joined=joined),
        Stage("sums", stream=sums),
        Stage("text", lambda item: [str(item)], joined=joined),
    ]
    found = list(run_stages(count(21, []), stages))
    assert found == [str(2 * i) for i in range(21) if i % 2]


def test_a_source_alone_and_an_empty_one() -> None:
    assert list(run_stages(range(5), [])) == [0, 1, 2, 3, 4]
    assert list(run_stages([], [Stage("sums", stream=sums)])) == []


def test_workers_work_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=20)

    def work(number: int) -> list[tuple[int, int]]:
        both.wait()
        return [(number, torch.get_num_threads())]

    stage: Stage[int, tuple[int, int]] = Stage("both", work, workers=2, threads=3)
    assert list(run_stages(range(40), [stage])) == [(number, 3) for number in range(40)]


def test_stages_share_one_pool() -> None:
    at_work: list[int] = []
    most: list[int] = []

    def work(number: int) -> list[int]:
        at_work.append(number)
        most.append(len(at_work))
        time.sleep(0.002)
        at_work.pop()
        return [number]

    stages: list[Stage[int, int]] = [Stage(name, work, workers=2) for name in ("one", "two")]
    assert list(run_stages(range(30), stages)) == list(range(30))
    assert max(most) == 2


def test_each_thread_has_its_own_number_of_torch_threads() -> None:
    def ask(item: list[int]) -> list[list[int]]:
        return [[*item, torch.get_num_threads()]]

    stages: list[Stage[Any, Any]] = [
        Stage("first", ask, threads=3, joined=True),
        Stage("second", ask, threads=5),
        Stage("third", ask, threads=4, joined=True),
    ]
    assert list(run_stages([[]], stages)) == [[3, 5, 5]]


def test_a_late_thread_of_the_pool_changes_no_later_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    before, set_threads, late = torch.get_num_threads(), torch.set_num_threads, threading.Event()

    def slowly(count: int) -> None:
        if threading.current_thread().name.startswith("pool_"):
            late.wait(0.3)  # until the stages' own threads have ended
        set_threads(count)

    monkeypatch.setattr(torch, "set_num_threads", slowly)
    stage: Stage[int, int] = Stage("pool", lambda i: [i], threads=before + 3, workers=3)
    assert list(run_stages(range(3), [stage])) == [0, 1, 2]
    with ThreadPoolExecutor(1) as new:
        assert new.submit(torch.get_num_threads).result() == before


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Stage("neither"),
        lambda: Stage("both", lambda item: [item], stream=iter),
        lambda: Stage("stream", stream=iter, workers=2),
        lambda: list(
            run_stages(
                [1], [Stage("pool", lambda i: [i], workers=2), Stage("x", stream=iter, joined=True)]
            )
        ),
    ],
)
def test_what_cannot_be_a_stage(wrong: Any) -> None:
    with pytest.raises(ValueError, match="stage"):
        wrong()


# ---------------------------------------------------------------- memory


@pytest.mark.parametrize("workers", [0, 2, 4])
def test_it_looks_ahead_but_not_far(workers: int) -> None:
    """Per thread two items wait, one is in its hands; workers may have one each instead."""
    made: list[int] = []
    stage: Stage[int, int] = Stage("stage", lambda i: [i], workers=workers)
    items = run_stages(count(100, made), [stage])
    assert next(items) == 0
    waiting = LOOK_AHEAD + max(LOOK_AHEAD, workers)
    end = time.monotonic() + 20
    while len(made) < 1 + waiting and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.2)
    assert 1 + waiting <= len(made) <= 3 + waiting
    items.close()


def test_items_are_not_kept() -> None:
    """No more than those that wait, are worked on, or are with the caller."""

    class Item:
        pass

    kept: list[weakref.ref[Item]] = []

    def items() -> Generator[Item]:
        for _ in range(40):
            item = Item()
            kept.append(weakref.ref(item))
            yield item
            del item

    stages: list[Stage[Any, Any]] = [
        Stage("first", lambda item: [item], joined=True),
        Stage("pool", lambda item: [item], workers=2),
        Stage("last", lambda item: [item]),
    ]
    gc.disable()
    try:
        most = 0
        for item in run_stages(items(), stages):
            del item
            most = max(most, sum(ref() is not None for ref in kept))
        assert 1 <= most <= 3 * (LOOK_AHEAD + 1) + 2
        assert not any(ref() for ref in kept)
    finally:
        gc.enable()


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("where", ["source", "work", "stream"])
def test_errors_come_in_their_turn(where: str, workers: int) -> None:
    closed: list[bool] = []

    def items() -> Generator[int]:
        yield from count(4, [], closed)
        if where == "source":
            raise ZeroDivisionError("a bug")
        yield from range(4, 100)

    def work(number: int) -> list[int]:
        time.sleep(0.01)
        if where == "work" and number == 4:
            raise ZeroDivisionError("a bug")
        return [number]

    def stream(numbers: Iterator[int]) -> Iterator[int]:
        for number in numbers:
            if where == "stream" and number == 4:
                raise ZeroDivisionError("a bug")
            yield number

    stages: list[Stage[int, int]] = [
        Stage("work", work, workers=workers),
        Stage("stream", stream=stream),
    ]
    found = []
    with pytest.raises(ZeroDivisionError, match="a bug"):
        for number in run_stages(items(), stages):
            found.append(number)
    assert found == [0, 1, 2, 3] and closed == [True]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_lets_go_of_what_it_held(workers: int) -> None:
    class Held:
        pass

    held: list[weakref.ref[Held]] = []

    def items() -> Generator[Held]:
        item = Held()
        held.append(weakref.ref(item))
        yield item

    def work(item: Held) -> list[int]:
        thing = Held()
        held.append(weakref.ref(thing))
        raise ZeroDivisionError(str(item) + str(thing))

    gc.disable()
    try:
        with pytest.raises(ZeroDivisionError) as failed:
            list(run_stages(items(), [Stage("held", work, workers=workers)]))
        del failed
        end = time.monotonic() + 5
        while any(ref() for ref in held) and time.monotonic() < end:
            time.sleep(0.01)  # until its threads have ended
        assert len(held) == 2 and not any(ref() for ref in held)
    finally:
        gc.enable()


# ---------------------------------------------------------------- early ends


@pytest.mark.parametrize("workers", [0, 2])
def test_closing_early_closes_the_source_and_ends_the_threads(workers: int) -> None:
    closed: list[bool] = []
    made: list[int] = []
    stages: list[Stage[int, int]] = [
        Stage("first", lambda i: [i], workers=workers),
        Stage("second", stream=sums),
    ]
    with closing(run_stages(count(10_000, made, closed), stages)) as items:
        assert next(items) == 1
    assert closed == [True] and len(made) < 40
    assert not [t for t in threading.enumerate() if t.name.startswith(("decode", "first"))]


def test_a_run_that_is_not_begun_has_no_threads() -> None:
    made: list[int] = []
    items = run_stages(count(3, made), [])
    items.close()
    assert made == []


# ---------------------------------------------------------------- timer


class Frames(list[int]):
    """An item that holds several frames."""


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("workers", [0, 2])
def test_the_timer_counts_frames_and_the_stages_own_time(overlap: bool, workers: int) -> None:
    def source() -> Generator[Frames]:
        for _ in range(5):
            time.sleep(0.01)
            yield Frames([1, 2, 3])

    def slow(item: Frames) -> list[Frames]:
        time.sleep(0.03)
        return [item]

    def busy(items: Iterator[Frames]) -> Iterator[int]:
        for item in items:
            end = time.thread_time() + 0.005
            while time.thread_time() < end:
                pass
            yield len(item)

    timer = StageTimer(overlap=overlap)
    stages: list[Stage[Any, Any]] = [
        Stage("slow", slow, workers=workers),
        Stage("busy", stream=busy),
    ]
    began = time.perf_counter()
    assert list(run_stages(source(), stages, timer=timer, name="source")) == [3] * 5
    wall = time.perf_counter() - began
    costs = timer.costs
    assert list(costs) == ["source", "slow", "busy"]
    assert [cost.frames for cost in costs.values()] == [15, 15, 15]
    assert costs["source"].seconds >= 0.05 and costs["slow"].seconds >= 0.15
    # none of the time that it waits for the others
    assert 0.025 <= costs["busy"].processor_seconds < 0.05
    assert costs["slow"].processor_seconds < 0.05
    assert costs["slow"].fps == pytest.approx(15 / costs["slow"].seconds)
    if not overlap:  # no time counts for two stages
        total = sum(cost.seconds for cost in costs.values())
        assert total == pytest.approx(wall, rel=0.2)


def test_without_overlap_all_stages_run_in_the_callers_thread() -> None:
    def name(item: int) -> list[str]:
        return [threading.current_thread().name]

    stages: list[Stage[int, str]] = [Stage("elsewhere", name, workers=2, threads=3)]
    here = threading.current_thread().name
    assert set(run_stages(range(4), stages, timer=StageTimer(overlap=False))) == {here}
    assert here not in set(run_stages(range(4), stages, timer=StageTimer()))


def test_a_timer_measures_a_block_of_the_caller() -> None:
    timer = StageTimer()
    for _ in range(2):
        with timer.measure("encode", 4):
            time.sleep(0.01)
    assert timer.costs["encode"].frames == 8 and timer.costs["encode"].seconds >= 0.02
