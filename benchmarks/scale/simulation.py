"""Simulate a run by many workers, event by event (SimPy).

The parts are those of `run.parallel.distribute`: drivers that scan films and hand out segments,
a bounded window of segments for each, workers that take them, storage that all share, the joining
of finished parts, workers that fail, slow workers, and second copies of tasks that take too long.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simpy

_PER_SCAN = 4  # processors for each film that is scanned, as in `run.parallel.distribute`
_AHEAD = 4  # segments for each worker in a driver's window, as in `run.parallel.distribute`
_SLOW, _LEAST_SLOW, _LEAST_DONE = 2.0, 10.0, 2  # when a task is done twice (`run.parallel.pool`)

_STEADY = 0.2, 0.8  # shares of the tasks between which a run counts as steady
_LOOK = 5.0  # seconds after which an idle worker looks for a slow task again

Event = Generator[simpy.Event, Any, None]


@dataclass(frozen=True)
class Costs:
    """What one film costs, in seconds for each second of film unless another unit is given.

    Attributes:
        color: of one worker.
        segment: seconds of one worker for each segment beside that: begin, seek, verify.
        scan: of the driver, one film at a time.
        join: of the driver.
        dispatch: seconds from the end of a task to the begin of the next.
        read, write: bytes a second of film, of the input and of the part.
    """

    color: float
    segment: float
    scan: float
    join: float
    dispatch: float = 0.01
    read: float = 500e3
    write: float = 500e3


@dataclass(frozen=True)
class Site:
    """The machines.

    Attributes:
        workers: number of them.
        workers_per_driver: of one driver at most; more workers mean more drivers, each with its
            own films.
        driver_cores: processors of a driver; a quarter of them scan films, as in
            `run.parallel.distribute`.
        storage: bytes a second that the shared storage gives at most.
        network: bytes a second of one worker.
        failures: hours between two failures of a worker, the mean; infinite for none.
        restart: seconds that a failed worker is away.
        spread: standard deviation of the logarithm of the workers' speeds.
        slow: share of the workers that are slow, and how many times.
        slow_times: see `slow`.
        copies: tasks that take too long are done a second time.
    """

    workers: int
    workers_per_driver: int = 64
    driver_cores: int = 16
    storage: float = math.inf
    network: float = 1e9 / 8
    failures: float = math.inf
    restart: float = 120.0
    spread: float = 0.0
    slow: float = 0.0
    slow_times: float = 4.0
    copies: bool = True


@dataclass(frozen=True)
class Load:
    """The films: their number, and seconds of each; seconds of a segment."""

    films: int
    seconds: float
    segment: float = 60.0


@dataclass
class Outcome:
    """What a simulated run took.

    Attributes:
        seconds: from begin to end.
        efficiency: the work that one worker of ordinary speed would have had, without any overhead,
            divided by workers times seconds.
        steady: the same between a fifth and four fifths of the tasks: what a long run has.
        lost: seconds of work that failures destroyed.
        copied: seconds of work on second copies.
        tasks: that were done.
    """

    seconds: float
    efficiency: float
    steady: float
    lost: float
    copied: float
    tasks: int


@dataclass(eq=False)
class _Task:
    film: _Film
    seconds: float  # of film
    began: float = 0.0
    running: int = 0
    done: bool = False
    joining: bool = False


@dataclass(eq=False)
class _Film:
    left: float  # seconds that are not scanned
    tasks: deque[_Task] = field(default_factory=deque)  # not joined, in order


class _Simulation:
    def __init__(self, costs: Costs, site: Site, load: Load, seed: int) -> None:
        self.costs, self.site, self.load = costs, site, load
        self.env = simpy.Environment()
        self.random = np.random.default_rng(seed)
        streams = max(1, int(min(site.storage / site.network, site.workers)))
        self.rate = min(site.network, site.storage)
        self.storage = simpy.Resource(self.env, streams)
        self.lost = self.copied = 0.0
        self.ends: list[float] = []  # of the tasks, seconds

    def transfer(self, size: float) -> Event:
        """Move bytes between a worker and the storage; as many at once as the storage feeds."""
        with self.storage.request() as turn:
            yield turn
            yield self.env.timeout(size / self.rate)

    def run(self) -> Outcome:
        site, load = self.site, self.load
        drivers = math.ceil(site.workers / site.workers_per_driver)
        ends = []
        for number in range(drivers):
            workers = len(range(number, site.workers, drivers))
            films = len(range(number, load.films, drivers))
            ends.append(_Driver(self, workers, films).end)
        self.env.run(until=simpy.AllOf(self.env, ends))
        work = load.films * load.seconds * self.costs.color
        seconds = float(self.env.now)
        first, last = (self.ends[int(share * (len(self.ends) - 1))] for share in _STEADY)
        share = _STEADY[1] - _STEADY[0]
        return Outcome(
            seconds,
            work / (site.workers * seconds),
            share * work / (site.workers * (last - first)) if last > first else 0.0,
            self.lost,
            self.copied,
            len(self.ends),
        )


class _Driver:
    """A driver with its workers and films."""

    def __init__(self, whole: _Simulation, workers: int, films: int) -> None:
        self.whole, self.workers, self.left = whole, workers, films
        self.env, self.end = whole.env, whole.env.event()
        cores = whole.site.driver_cores
        self.cores = simpy.Resource(self.env, cores)
        self.scanning = simpy.Resource(self.env, max(1, cores // _PER_SCAN))
        self.waiting: deque[_Task] = deque()
        self.running: set[_Task] = set()
        self.slowest: list[tuple[float, int, _Task]] = []  # tasks by the time they began
        self.idle: list[simpy.Event] = []  # workers that wait for a task
        self.room: list[simpy.Event] = []  # scans that wait for room
        self.count, self.total, self.number = 0, 0.0, 0
        if not films:
            self.end.succeed()
            return
        for _ in range(films):
            self.env.process(self._film())
        site = whole.site
        for _ in range(workers):
            speed = float(np.exp(whole.random.normal(0, site.spread))) if site.spread else 1.0
            if whole.random.random() < site.slow:
                speed *= site.slow_times
            self.env.process(self._worker(speed))

    # ------------------------------------------------------------------ the driver

    def _film(self) -> Event:
        costs, load = self.whole.costs, self.whole.load
        film = _Film(load.seconds)
        with self.scanning.request() as turn:
            yield turn
            while film.left > 1e-9:
                seconds = min(load.segment, film.left)
                film.left -= seconds
                yield from self._work(costs.scan * seconds)
                while len(self.waiting) >= self.workers or len(film.tasks) > _AHEAD * self.workers:
                    free = self.env.event()
                    self.room.append(free)
                    yield free
                task = _Task(film, seconds)
                film.tasks.append(task)
                self._give(task)
        while film.tasks:
            done = self.env.event()
            self.room.append(done)
            yield done
        self.left -= 1
        if not self.left:
            self.end.succeed()

    def _work(self, seconds: float) -> Event:
        with self.cores.request() as turn:
            yield turn
            yield self.env.timeout(seconds)

    def _give(self, task: _Task) -> None:
        self.waiting.append(task)
        if self.idle:
            self.idle.pop().succeed()

    def _wake(self) -> None:
        room, self.room = self.room, []
        for event in room:
            event.succeed()

    def _join(self, task: _Task) -> Event:
        """Join the parts that are next, now that one more is done."""
        film, costs = task.film, self.whole.costs
        while film.tasks and film.tasks[0].done:
            part = film.tasks[0]
            if part.joining:
                return
            part.joining = True
            yield from self._work(costs.join * part.seconds)
            film.tasks.popleft()
            self._wake()

    # ------------------------------------------------------------------ the workers

    def _take(self) -> _Task | None:
        if self.waiting:
            task = self.waiting.popleft()
            self._wake()
            return task
        return self._slow()

    def _slow(self) -> _Task | None:
        if not self.whole.site.copies or self.count < _LEAST_DONE:
            return None
        limit = max(_LEAST_SLOW, _SLOW * self.total / self.count)
        while self.slowest:
            began, _, task = self.slowest[0]
            if task.done or task.running != 1 or task.began != began:
                heapq.heappop(self.slowest)
                continue
            return task if self.env.now - began > limit else None
        return None

    def _worker(self, speed: float) -> Event:
        whole, costs, site = self.whole, self.whole.costs, self.whole.site
        hours = site.failures
        fails = math.inf
        if math.isfinite(hours):
            fails = whole.random.exponential(hours * 3600)
        while not self.end.triggered:
            task = self._take()
            if task is None:
                event = self.env.event()
                self.idle.append(event)
                yield event | self.env.timeout(_LOOK)
                if event in self.idle:
                    self.idle.remove(event)
                continue
            copy = task.running > 0
            task.running += 1
            began = self.env.now
            if not copy:
                task.began = began
                self.number += 1
                heapq.heappush(self.slowest, (began, self.number, task))
            yield self.env.timeout(costs.dispatch)
            yield from whole.transfer(costs.read * task.seconds)
            work = speed * (costs.color * task.seconds + costs.segment)
            if self.env.now + work > fails:
                yield self.env.timeout(max(0.0, fails - self.env.now))
                task.running -= 1
                whole.lost += self.env.now - began
                if not task.done and not task.running:
                    self.waiting.appendleft(task)
                    if self.idle:
                        self.idle.pop().succeed()
                yield self.env.timeout(site.restart)
                fails = self.env.now + whole.random.exponential(hours * 3600)
                continue
            yield self.env.timeout(work)
            yield from whole.transfer(costs.write * task.seconds)
            task.running -= 1
            if task.done:
                whole.copied += self.env.now - began
                continue
            task.done = True
            whole.ends.append(self.env.now)
            self.count, self.total = self.count + 1, self.total + self.env.now - began
            self.env.process(self._join(task))


def simulate(costs: Costs, site: Site, load: Load, seed: int = 0) -> Outcome:
    """Run a load on a site; the same seed gives the same outcome."""
    return _Simulation(costs, site, load, seed).run()
