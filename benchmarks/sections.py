"""The five parts of `python -m benchmarks`; each returns what the JSON holds under its name."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from . import jobs, startup
from .alone import alone
from .films import RATE, FilmShelf, FilmSize, film_size
from .peers import PEERS, peer_cost, peer_size

Say = Callable[[str], None]

_480P, _720P, _1080P = film_size("480p"), film_size("720p"), film_size("1080p")


@dataclass(frozen=True)
class Choice:
    """What is measured, and how often.

    Attributes:
        models: names of vidcolor's models; where one is enough, the first.
        device: `cpu`, `cuda` or `cuda:N`.
        rounds: so often everything takes its turn; medians count.
        model_sizes: sides of the models' input, pixels.
        batches: frames a batch in `models`.
        least_seconds: of calls of a model in `models`.
        stage_films: size and seconds of the films of `stages`.
        whole_times: how many times as long the films are that go from end to end there.
        length_size: of the films of `length` in `scaling`.
        lengths: seconds of these films.
        scale_sizes, scale_seconds: of the films of `frame_size` in `scaling`.
        startup_warm_up: start everything in `startup` once before it is timed.
        peers: keys of `PEERS`.
        peer_film: size and seconds of the film of `peers`.
        peer_frames, peer_seconds: a peer's loop goes on for at least so long each round.
        peer_input: side of the peers' input; 0 for each one's own.
    """

    models: tuple[str, ...] = ("fast", "best")
    device: str = "cpu"
    rounds: int = 3
    model_sizes: tuple[int, ...] = (256, 512)
    batches: tuple[int, ...] = (1, 4)
    least_seconds: float = 3.0
    stage_films: tuple[tuple[FilmSize, float], ...] = (
        (_480P, 10.0),
        (_720P, 6.0),
        (_1080P, 4.0),
    )
    whole_times: int = 3
    length_size: FilmSize = _480P
    lengths: tuple[float, ...] = (2.0, 4.0, 8.0)
    scale_sizes: tuple[FilmSize, ...] = (_480P, _720P, _1080P)
    scale_seconds: float = 2.0
    startup_warm_up: bool = True
    peers: tuple[str, ...] = tuple(PEERS)
    peer_film: tuple[FilmSize, float] = (_480P, 60.0)
    peer_frames: int = 3
    peer_seconds: float = 5.0
    peer_input: int = 0


@dataclass(frozen=True)
class Bench:
    """What a section works with: the choice, films, a folder for outputs, and who listens."""

    choice: Choice
    films: FilmShelf
    folder: Path
    say: Say = print

    def film(self, size: FilmSize, seconds: float) -> Path:
        """A film of `size`, so many seconds long."""
        return self.films.film(size, max(1, round(seconds * RATE)))


def models(bench: Bench) -> dict[str, Any]:
    """Every model at every size and batch, each in its own process."""
    choice, rows = bench.choice, []
    for name in choice.models:
        for size in choice.model_sizes:
            for batch in choice.batches:
                bench.say(f"models: {name} at {size}, batch {batch}")
                given = {"name": name, "size": size, "batch": batch}
                found = alone(
                    jobs.model_cost,
                    **given,
                    device=choice.device,
                    least_seconds=choice.least_seconds,
                )
                rows.append({"model": name, **{k: given[k] for k in ("size", "batch")}, **found})
    return {"rows": rows}


def stages(bench: Bench) -> dict[str, Any]:
    """Stage by stage, and the whole of it, at each size, with each model."""
    films = []
    for name in bench.choice.models:
        for size, seconds in bench.choice.stage_films:
            bench.say(f"stages: {name} at {size.name}")
            found = alone(
                jobs.stage_costs,
                film=bench.film(size, seconds),
                whole=bench.film(size, bench.choice.whole_times * seconds),
                output=bench.folder / "stages.mp4",
                model=name,
                device=bench.choice.device,
                rounds=bench.choice.rounds,
            )
            films.append(
                {
                    "model": name,
                    "frame": size.name,
                    "width": size.width,
                    "height": size.height,
                    **found,
                }
            )
    return {"films": films}


def linear_fit(x: Sequence[float], y: Sequence[float]) -> dict[str, float]:
    """The least-squares line through points, and the share of y's variance on it.

    Returns:
        `slope`, `intercept` and `r_squared`: 1 minus the residuals' sum of squares over that
        around the mean; 1 where y is constant.

    Raises:
        ValueError: fewer than two different x.
    """
    if len(set(x)) < 2:
        raise ValueError("a line needs two different x")
    slope, intercept = np.polyfit(x, y, 1)
    given = np.asarray(y, float)
    spread = float(np.square(given - given.mean()).sum())
    missed = float(np.square(given - (slope * np.asarray(x) + intercept)).sum())
    return {
        "slope": float(slope),
        "intercept": float(intercept),
        "r_squared": 1 - missed / spread if spread else 1.0,
    }


def _film_rows(
    bench: Bench, name: str, kinds: Sequence[tuple[FilmSize, float]]
) -> list[dict[str, Any]]:
    """Medians of `film_cost` for films of several kinds, which take turns."""
    found: list[list[dict[str, Any]]] = [[] for _ in kinds]
    for number in range(bench.choice.rounds):
        bench.say(f"scaling: {name}, round {number + 1}")
        for (size, seconds), results in zip(kinds, found, strict=True):
            results.append(
                alone(
                    jobs.film_cost,
                    film=bench.film(size, seconds),
                    output=bench.folder / "scaling.mp4",
                    model=bench.choice.models[0],
                    device=bench.choice.device,
                )
            )
    return [
        {
            "frame": size.name,
            "pixels": size.pixels,
            "frames": results[0]["frames"],
            "batch_size": results[0]["batch_size"],
            "seconds": statistics.median(each["seconds"] for each in results),
            "cpu_seconds": statistics.median(each["cpu_seconds"] for each in results),
            "peak_rss_bytes": max(each["peak_rss_bytes"] for each in results),
            "gpu_bytes": results[0]["gpu_bytes"],
        }
        for (size, _), results in zip(kinds, found, strict=True)
    ]


def scaling(bench: Bench) -> dict[str, Any]:
    """Time against length, peak memory against length, and time a frame against frame size."""
    choice = bench.choice
    by_length = _film_rows(bench, "length", [(choice.length_size, s) for s in choice.lengths])
    by_size = _film_rows(
        bench, "frame size", [(size, choice.scale_seconds) for size in choice.scale_sizes]
    )
    frames = [row["frames"] for row in by_length]
    return {
        "model": choice.models[0],
        "length": {
            "rows": by_length,
            "seconds_fit": linear_fit(frames, [row["seconds"] for row in by_length]),
            "peak_rss_fit": linear_fit(frames, [row["peak_rss_bytes"] for row in by_length]),
        },
        "frame_size": {
            "rows": by_size,
            "seconds_a_frame_fit": linear_fit(
                [row["pixels"] for row in by_size],
                [row["seconds"] / row["frames"] for row in by_size],
            ),
        },
    }


def starting(bench: Bench) -> dict[str, Any]:
    """Waiting times of the command line."""
    bench.say("startup")
    choice = bench.choice
    rows = startup.startup_costs(
        film=bench.film(*choice.peer_film),
        model=choice.models[0],
        device=choice.device,
        rounds=choice.rounds,
        warm_up=choice.startup_warm_up,
    )
    return {"rows": rows}


def peers(bench: Bench) -> dict[str, Any]:
    """vidcolor from end to end, and the networks in their loops, in turns on one film."""
    choice = bench.choice
    size, seconds = choice.peer_film
    film, output = bench.film(size, seconds), bench.folder / "peers.mp4"
    work: dict[str, Callable[[], dict[str, Any]]] = {}
    for name in choice.models:
        work[name] = partial(
            alone, jobs.film_cost, film=film, output=output, model=name, device=choice.device
        )
    for name in choice.peers:
        work[name] = partial(
            alone,
            peer_cost,
            name=name,
            film=film,
            output=output,
            device=choice.device,
            frames=choice.peer_frames,
            seconds=choice.peer_seconds,
            size=choice.peer_input,
        )
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in work}
    for number in range(choice.rounds):
        for name, measure in work.items():
            bench.say(f"peers: {name}, round {number + 1}")
            found[name].append(measure())
    rates = {name: [each["fps"] for each in results] for name, results in found.items()}
    memory = {name: max(each["peak_rss_bytes"] for each in found[name]) for name in found}
    return {
        "frame": size.name,
        "models": [
            {"model": n, "fps": statistics.median(rates[n]), "peak_rss_bytes": memory[n]}
            for n in choice.models
        ],
        "rows": [
            {
                "peer": name,
                **peer_size(name, choice.peer_input),
                "frames": found[name][0]["frames"],
                "threads": found[name][0]["threads"],
                "fps": statistics.median(rates[name]),
                "peak_rss_bytes": memory[name],
                "ratios": _ratios(rates, choice.models, name),
            }
            for name in choice.peers
        ],
    }


def _ratios(
    rates: dict[str, list[float]], names: Sequence[str], peer: str
) -> dict[str, dict[str, Any]]:
    """How many times a peer's fps each model reaches: the median over rounds, and each round."""
    each = {n: [a / b for a, b in zip(rates[n], rates[peer], strict=True)] for n in names}
    return {n: {"ratio": statistics.median(r), "rounds": r} for n, r in each.items()}


SECTIONS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "models": models,
    "stages": stages,
    "scaling": scaling,
    "startup": starting,
    "peers": peers,
}
