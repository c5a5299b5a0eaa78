"""The simulated runs of docs/SCALE.md, and all figures as tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from .simulation import Costs, Load, Outcome, Site, simulate

# One thread of a server, `fast`, 640x480, about; --costs gives those of a machine.
ROUGH = Costs(color=1.2, segment=0.5, scan=0.06, join=0.002)
WORKERS = (1, 10, 100, 1_000, 10_000)
LENGTHS = (10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
PER_DRIVER = (8, 16, 32, 64, 128, 256)
_HOUR = 3600.0
_TASKS = 40  # of a worker in a simulated run, about
_MILLION = 1e6
PRICE = 0.04  # dollars for an hour of a worker: one thread of a rented server, an assumption
# A worker is lost once in 500 hours, and comes back after two minutes; speeds differ by a tenth; of
# a hundred workers two are four times as slow. Storage gives 10 GB a second.
REAL = Site(1, failures=500.0, spread=0.1, slow=0.02, storage=10e9)

# Of the costs; see `Costs`.
_UNITS = {
    "color": "seconds of a worker for a second of film",
    "segment": "seconds of a worker for each",
    "scan": "seconds of the driver for a second of film",
    "join": "seconds of the driver for a second of film",
    "dispatch": "seconds for a task",
    "read": "bytes for a second of film",
    "write": "bytes for a second of film",
}


def _load(workers: int, segment: float, drivers: int) -> Load:
    films = max(3 * drivers, round(workers * _TASKS * segment / _HOUR))
    return Load(films, _HOUR, segment)


def run(costs: Costs, site: Site, segment: float) -> Outcome:
    """Simulate films of an hour, some 40 segments for each worker."""
    drivers = -(-site.workers // site.workers_per_driver)
    return simulate(costs, site, _load(site.workers, segment, drivers))


def simulated(figures: dict[str, Any] | None, most: int, plot: Path | None) -> dict[str, Any]:
    """Simulate 1 to `most` workers, several lengths of segments, several workers for a driver.

    Args:
        figures: of `measure`; None for rough ones.
        most: number of workers.
        plot: file of a picture of the first two; None for none.
    """
    costs = Costs(**figures["costs"]) if figures else ROUGH
    rows = []
    for workers in (count for count in WORKERS if count <= most):
        for name, site in (("ideal", Site(1)), ("real", REAL)):
            done = run(costs, replace(site, workers=workers), 60.0)
            hours = _MILLION * costs.color / (workers * done.steady)
            rows.append({
                "workers": workers,
                "site": name,
                "efficiency": done.steady,
                "with_end": done.efficiency,
                "tasks": done.tasks,
                "lost": done.lost / (workers * done.seconds),
                "copied": done.copied / (workers * done.seconds),
                "hours": hours,
                "dollars": hours * workers * PRICE,
            })  # fmt: skip
    many = min(1000, most)
    lengths = [
        {"segment": length, "efficiency": run(costs, replace(REAL, workers=many), length).steady}
        for length in LENGTHS
    ]
    drivers = [
        {
            "per_driver": count,
            "efficiency": run(
                costs, replace(Site(1), workers=count, workers_per_driver=count), 60.0
            ).steady,
        }
        for count in PER_DRIVER
        if count <= most
    ]
    found = {
        "kind": "simulated",
        "costs": vars(costs),
        "price": PRICE,
        "length_workers": many,
        "workers": rows,
        "lengths": lengths,
        "drivers": drivers,
    }
    if plot is not None:
        draw(found, plot)
    return found


def draw(found: dict[str, Any], path: Path) -> None:
    """Draw efficiency by workers and by length of the segments."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name in ("ideal", "real"):
        rows = [row for row in found["workers"] if row["site"] == name]
        left.semilogx(
            [row["workers"] for row in rows],
            [100 * row["efficiency"] for row in rows],
            marker="o",
            label=name,
        )
    left.set(xlabel="workers", ylabel="efficiency, %", ylim=(0, 105))
    left.legend()
    right.semilogx(
        [row["segment"] for row in found["lengths"]],
        [100 * row["efficiency"] for row in found["lengths"]],
        marker="o",
    )
    right.set(
        xlabel="seconds of a segment",
        ylabel="efficiency, %",
        title=f"{found['length_workers']:,} workers, real",
    )
    figure.savefig(path, dpi=120)


def tables(found: dict[str, Any]) -> Iterator[Figures]:
    """The figures of `measure` or `simulated`."""
    yield from _measured(found) if found["kind"] == "measured" else _simulated(found)


@dataclass
class Figures:
    """A table: its title, the columns' names, and the rows."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add_row(self, *cells: str) -> None:
        """Add a row."""
        self.rows.append(cells)

    def rich(self) -> Table:
        """The table for a screen."""
        table = Table(title=self.title, title_justify="left")
        for number, name in enumerate(self.columns):
            table.add_column(name, justify="right" if number else "left")
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """The table for a document."""
        lines = [self.columns, ("---", *("---:" for _ in self.columns[1:])), *self.rows]
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"{self.title}:\n\n{body}\n"


def write_into(document: Path, name: str, found: dict[str, Any]) -> None:
    """Put the tables between the marks `<!-- name -->` and `<!-- /name -->` of a document."""
    text = document.read_text(encoding="utf-8")
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, rest = text.split(begin)
    body = "\n".join(each.markdown() for each in tables(found))
    document.write_text(f"{before}{begin}\n{body}\n{end}{rest.split(end)[1]}", encoding="utf-8")


def _table(title: str, *columns: str) -> Figures:
    return Figures(title, columns)


def _measured(found: dict[str, Any]) -> Iterator[Figures]:
    title = f"Real runs: {found['model']}, {found['size']}, {found['processor']}"
    table = _table(title, "run", "seconds", "frames a second", "tasks")
    for name, each in found["runs"].items():
        if "frames" in each:
            rate = each["frames"] / each["seconds"]
            table.add_row(name, f"{each['seconds']:.1f}", f"{rate:.1f}", f"{each['tasks']:.0f}")
    yield table
    again, lost = found["killed_again"], found["killed_lost"]
    table = _table("Targets", "figure", "wanted", "measured")
    table.add_row("two workers to one, film", ">= 1.70", f"{found['film_speed_up']:.2f}")
    table.add_row("two workers to one, folder", ">= 1.70", f"{found['folder_speed_up']:.2f}")
    overhead = f"{100 * found['segment_overhead']:.2f} %"
    table.add_row("overhead of a segment of a minute", "< 2 %", overhead)
    table.add_row(
        "killed node: segments begun again", "<= 1 (the one it worked on)", f"{again:.0f}"
    )
    error = f"{100 * found['prediction_error']:+.1f} %"
    table.add_row("simulated to real seconds of two workers", "within 10 %", error)
    yield table
    table = _table("What they cost", "figure", "value")
    table.add_row("killed node: work lost, seconds", f"{lost:.1f}")
    table.add_row("killed node: the run took longer, seconds", f"{found['killed_seconds']:+.1f}")
    table.add_row("simulated seconds of two workers", f"{found['predicted']:.1f}")
    for name, value in found["costs"].items():
        table.add_row(f"{name}: {_UNITS[name]}", f"{value:.4g}")
    yield table


def _simulated(found: dict[str, Any]) -> Iterator[Figures]:
    table = _table(
        f"Simulated: segments of a minute, ${found['price']:g} an hour of a worker",
        "workers",
        "site",
        "efficiency",
        "lost",
        "copied",
        "hours for a million",
        "dollars",
    )
    for row in found["workers"]:
        table.add_row(
            f"{row['workers']:,}",
            row["site"],
            f"{100 * row['efficiency']:.1f} %",
            f"{100 * row['lost']:.2f} %",
            f"{100 * row['copied']:.2f} %",
            f"{row['hours']:,.0f}",
            f"{row['dollars']:,.0f}",
        )
    yield table
    title = f"Simulated: length of segments, {found['length_workers']:,} workers"
    table = _table(title, "seconds", "efficiency")
    for row in found["lengths"]:
        table.add_row(f"{row['segment']:g}", f"{100 * row['efficiency']:.1f} %")
    yield table
    table = _table("Simulated: workers of one driver", "workers", "efficiency")
    for row in found["drivers"]:
        table.add_row(str(row["per_driver"]), f"{100 * row['efficiency']:.1f} %")
    yield table
