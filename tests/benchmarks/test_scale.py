"""The simulation of many workers: what it must give where the answer is known."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks.scale.simulation import Costs, Load, Site, simulate
from benchmarks.scale.tables import simulated, tables

CHEAP = Costs(color=1.0, segment=0.0, scan=0.0, join=0.0, dispatch=0.0, read=0.0, write=0.0)


def test_without_costs_workers_share_the_work() -> None:
    for workers in (1, 4, 60):
        done = simulate(CHEAP, Site(workers), Load(1, 3600.0, 60.0))
        assert done.seconds == pytest.approx(3600 / workers, rel=1e-6)
        assert done.efficiency == pytest.approx(1.0) and done.tasks == 60


def test_each_segment_costs() -> None:
    costs = Costs(**{**vars(CHEAP), "segment": 6.0})
    assert simulate(costs, Site(1), Load(1, 600.0, 60.0)).seconds == pytest.approx(660)


def test_one_scan_feeds_so_many_workers() -> None:
    """A film that is scanned ten times as fast as it is colored keeps ten workers busy."""
    costs = Costs(**{**vars(CHEAP), "scan": 0.1})
    few, many = (
        simulate(costs, Site(count, driver_cores=4), Load(3, 36_000.0, 60.0)) for count in (5, 40)
    )
    assert few.steady > 0.95
    assert many.steady == pytest.approx(10 / 40, rel=0.05)


def test_storage_is_a_limit() -> None:
    costs = Costs(**{**vars(CHEAP), "read": 1e6})
    site = Site(50, storage=10e6, network=1e6)
    done = simulate(costs, site, Load(20, 3600.0, 60.0))
    assert done.seconds == pytest.approx(20 * 3600 * 1e6 / 10e6, rel=0.05)


def test_failures_cost_what_was_under_way() -> None:
    site = Site(20, failures=1.0, restart=60.0)
    done = simulate(CHEAP, site, Load(10, 3600.0, 60.0))
    assert done.tasks == 600 and 0 < done.lost < 0.1 * 36_000
    assert 0.8 < done.efficiency < 1.0
    again = simulate(CHEAP, site, Load(10, 3600.0, 60.0))
    assert again == done


def test_second_copies_shorten_the_end() -> None:
    alone = Site(20, slow=0.2, slow_times=20.0, copies=False)
    helped = Site(20, slow=0.2, slow_times=20.0)
    load = Load(1, 3600.0, 60.0)
    assert simulate(CHEAP, helped, load, 1).seconds < 0.5 * simulate(CHEAP, alone, load, 1).seconds


def test_the_tables(tmp_path: Path) -> None:
    found = simulated(None, 10, tmp_path / "plot.png")
    assert len(list(tables(found))) == 3
    assert (tmp_path / "plot.png").stat().st_size > 1000
    for row in found["workers"]:
        assert 0.5 < row["efficiency"] < 1.1 and math.isfinite(row["dollars"])
