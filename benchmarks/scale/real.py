"""Real runs by one worker on one processor, by two workers on two, and by two nodes."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from vidcolor.run.identity import checkpoint_spacing
from vidcolor.run.parallel.distribute import run_on
from vidcolor.run.parallel.segments import scan
from vidcolor.run.parallel.workers import Workers
from vidcolor.run.plan import FilmJob, plan
from vidcolor.run.settings import ColorizerOptions, Settings
from vidcolor.sources.loader import load
from vidcolor.system.devices import device_name

from ..films import RATE, FilmShelf, film_size, texture
from .nodes import run_nodes
from .simulation import Costs, Load, Site, simulate

_LONG, _SHORT = 60, 10  # seconds of a segment
_BATCH = 8


def _alone(work: Callable[..., dict[str, Any]], **given: Any) -> dict[str, Any]:
    """What `work` returns in a process of its own, which may start others."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, **given).result()


def _use(cores: int) -> None:
    """Keep this process, and those that it starts, on so many processors."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    torch.set_num_threads(cores)


def run_workers(
    source: Path, output: Path, model: str, workers: int, cores: int, length: int
) -> dict[str, Any]:
    """Color `source` with workers of one thread each.

    Returns:
        `seconds` of the run, after the workers have their models; `driver` seconds of processor
        time of this process; `frames`, `tasks` handed out, and `bytes` written.
    """
    _use(cores)
    settings = Settings(overwrite=True, batch_size=_BATCH)
    jobs, problems = plan([source], output, settings)
    if problems:
        raise RuntimeError(str(problems))
    counted = 0
    options = ColorizerOptions(model=model, device="cpu", precision="fp32")
    with Workers(options, ["cpu"] * workers, threads=1) as pool:
        submit = pool.submit

        def counting(*given: Any) -> Any:
            nonlocal counted
            counted += 1
            return submit(*given)

        pool.submit = counting  # type: ignore[method-assign, assignment]
        began, own = time.perf_counter(), time.process_time()
        reports = list(run_on(pool, jobs, settings, length=Fraction(length)))
        seconds, driver = time.perf_counter() - began, time.process_time() - own
    wrong = [report.error for report in reports if report.status != "done"]
    if wrong:
        raise RuntimeError(str(wrong))
    paths = [path for path in output.rglob("*") if path.is_file()] if output.is_dir() else [output]
    return {
        "seconds": seconds,
        "driver": driver,
        "frames": sum(report.frames for report in reports),
        "tasks": counted,
        "bytes": sum(path.stat().st_size for path in paths),
    }


def scan_film(source: Path) -> dict[str, Any]:
    """Seconds of scanning a film on one processor."""
    _use(1)
    (job,), _ = plan([source], source.with_name("scanned.mp4"), Settings())
    assert isinstance(job, FilmJob)
    began = time.perf_counter()
    batches = load(job.source, batch_size=_BATCH, device=torch.device("cpu"))
    spacing, unit = checkpoint_spacing(0.0), job.source.facts.time_base
    found = list(scan(batches, unit, spacing, shots=True, length=Fraction(_LONG)))
    return {"seconds": time.perf_counter() - began, "segments": len(found)}


def _pictures(folder: Path, count: int) -> Path:
    random = np.random.default_rng(7)
    folder.mkdir()
    for number in range(count):
        gray = texture(960, 1280, 2.0, random)
        Image.fromarray(gray).save(folder / f"{number:04}.jpg", quality=90)
    return folder


def _median(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    return {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}


def measure(
    *, seconds: float, pictures: int, minutes: float, model: str, size: str
) -> dict[str, Any]:
    """Run one and two workers, and two nodes; the medians, the costs, and what they predict.

    Args:
        seconds: of the film.
        pictures: in the folder.
        minutes: for all; rounds of the runs by workers are repeated while another fits in.
        model: the model's name.
        size: of the film's frames.
    """
    started = time.monotonic()
    runs: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        film = FilmShelf(work).film(film_size(size), round(seconds * RATE))
        photos = _pictures(work / "photos", pictures)
        given: dict[str, tuple[Path, Path, int, int, int]] = {
            "film, 1 worker": (film, work / "1.mp4", 1, 1, _LONG),
            "film, 2 workers": (film, work / "2.mp4", 2, 2, _SHORT),
            "film, 1 worker, short segments": (film, work / "s.mp4", 1, 1, _SHORT),
            "folder, 1 worker": (photos, work / "one", 1, 1, _LONG),
            "folder, 2 workers": (photos, work / "two", 2, 2, _LONG),
        }
        for name, kill in (("film, 2 nodes", False), ("film, 2 nodes, one killed", True)):
            print(name, file=sys.stderr)
            output = work / "nodes.mp4"
            done = _alone(_nodes, source=film, output=output, model=model, kill=kill)
            runs[name] = [done]
            output.unlink()
        rounds, longest = 0, 0.0
        while not rounds or time.monotonic() - started + longest < 60 * minutes:
            rounds, began = rounds + 1, time.monotonic()
            for name, (source, output, workers, cores, length) in given.items():
                print(f"{name}, round {rounds}", file=sys.stderr)
                done = _alone(
                    run_workers,
                    source=source,
                    output=output,
                    model=model,
                    workers=workers,
                    cores=cores,
                    length=length,
                )
                runs.setdefault(name, []).append(done)
                shutil.rmtree(output) if output.is_dir() else output.unlink()
            runs.setdefault("scan", []).append(_alone(scan_film, source=film))
            longest = max(longest, time.monotonic() - began)
        read = film.stat().st_size / seconds
    found = {name: _median(each) for name, each in runs.items()}
    costs = _costs(found, seconds, read)
    # the driver's work is in `color` too
    alike = replace(costs, scan=0.0, join=0.0)
    predicted = simulate(alike, Site(2), Load(1, seconds, _SHORT)).seconds
    two, one = found["film, 2 workers"]["seconds"], found["film, 1 worker"]["seconds"]
    folders = [found[f"folder, {name}"]["seconds"] for name in ("1 worker", "2 workers")]
    killed, whole = found["film, 2 nodes, one killed"], found["film, 2 nodes"]
    return {
        "kind": "measured",
        "processor": device_name(torch.device("cpu")),
        "model": model,
        "size": size,
        "film_seconds": seconds,
        "pictures": pictures,
        "rounds": rounds,
        "runs": found,
        "costs": vars(costs),
        "film_speed_up": one / two,
        "folder_speed_up": folders[0] / folders[1],
        "segment_overhead": (costs.segment + costs.dispatch) / (60 * costs.color),
        "killed_again": killed["again"],
        "killed_lost": killed["lost"],
        "killed_seconds": killed["seconds"] - whole["seconds"],
        "predicted": predicted,
        "prediction_error": predicted / two - 1,
    }


def _nodes(**given: Any) -> dict[str, float]:
    _use(2)
    return run_nodes(**given, length=_SHORT, batch_size=_BATCH)


def _costs(found: dict[str, dict[str, Any]], seconds: float, read: float) -> Costs:
    """The costs of a second of film, from runs with few and with many segments.

    In these runs the driver has no processor of its own, so its work is part of `color` too.
    """
    long, short = found["film, 1 worker"], found["film, 1 worker, short segments"]
    more = max(1, short["tasks"] - long["tasks"])
    segment = max(0.0, (short["seconds"] - long["seconds"]) / more)
    return Costs(
        color=(long["seconds"] - segment * long["tasks"]) / seconds,
        segment=segment,
        scan=found["scan"]["seconds"] / seconds,
        dispatch=found["film, 2 nodes"]["dispatch"],
        join=max(0.0, long["driver"] - found["scan"]["seconds"]) / seconds,
        read=read,
        write=long["bytes"] / seconds,
    )
