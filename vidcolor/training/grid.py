"""Grids and variants: many trainings of one recipe, resumable, several at a time."""

from __future__ import annotations

import dataclasses
import itertools
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import torch

from ..errors import DivergedError, TrainingError
from ..run.settings import error_line
from ..system.devices import choose_device, free_memory, processors
from .checkpoint import CheckpointManager
from .data.dataset import DataSet
from .options import TrainCallbacks, TrainOptions
from .prepare import open_dataset
from .recipe import Recipe, overridden, recipe_values
from .recipe_file import RecipeFile
from .results.collect import settings_key
from .results.plots import plot_grid
from .results.report import read_results, write_file
from .results.tables import grid_markdown, pivot_markdown
from .start import settle
from .trainer import train

_DONE = ("finished", "stopped early", "diverged")
_MEMORY_PER_RUN = 3 << 30  # bytes: torch, the pictures and a small network
# the keys that decide the pictures in memory
_DATA_KEYS = (
    *("data", "data_root", "validation", "classes", "split", "test_part"),
    *("limit", "min_chroma", "seed"),
    *("size", "fit", "input_size"),
)
_loaded: dict[str, DataSet] = {}
_stopped = False


def combinations(
    grid: Mapping[str, list[Any]], given: Mapping[str, Any] | None = None
) -> dict[str, dict[str, Any]]:
    """Every combination of a grid's values: overrides by a name such as `lr=0.1,kernels=8`.

    Args:
        grid: keys and the values to try.
        given: keys of the command line, which have that one value in every run.
    """
    given = given or {}
    grid = {key: [given[key]] if key in given else values for key, values in grid.items()}
    runs = {}
    for values in itertools.product(*grid.values()):
        overrides = dict(zip(grid, values, strict=True))
        parts = (f"{key.rpartition('.')[2]}={value}" for key, value in overrides.items())
        runs[",".join(parts)] = overrides
    return runs


def jobs_that_fit(wanted: int = 0) -> int:
    """The number of trainings to run at once: `wanted`, or one for each core if memory allows."""
    free = free_memory(torch.device("cpu"))
    return wanted or max(1, min(processors(), free // _MEMORY_PER_RUN))


def _dataset(file: RecipeFile, options: TrainOptions) -> DataSet:
    """The recipe's pictures; consecutive runs with the same data share them."""
    values = recipe_values(file.recipe)
    wanted = str([values[key] for key in _DATA_KEYS])
    if wanted not in _loaded:
        _loaded.clear()
        _loaded[wanted] = open_dataset(file, options)
    return _loaded[wanted]


def _row(name: str, overrides: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the grid; see `results.tables`."""
    measures = {k: v for k, v in (results.get("best") or {}).items() if k not in ("epoch", "lr")}
    return {
        **measures,
        "name": name,
        "settings": dict(overrides),
        "lr": results["recipe"]["lr"][0],
        "status": results["status"],
        "epochs": results["epochs"],
        "seconds": results["wall_seconds"],
    }


def _become_worker(threads: int) -> None:
    torch.set_num_threads(threads)
    # between trainings the parent handles Ctrl-C; a training handles it by itself
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="end with parent", daemon=True).start()


def _end_with_parent() -> None:
    """End this worker after its parent was killed: nobody takes its results any more.

    A training is stopped as by SIGTERM, so it writes a checkpoint; then `_work` ends the process.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _one(file: RecipeFile, output: Path, options: TrainOptions) -> dict[str, Any] | str:
    """Train one run, or read its results; a failure is returned as a line, not raised."""
    found = output / "results.json"
    try:
        dataset = _dataset(file, options)
        if found.is_file():
            results = read_results(found)
            if results.get("settings") != settings_key(file.recipe, dataset.sources):
                return f"{output}: holds a run with other settings; choose another folder with -o"
            if results["status"] in _DONE:
                return results
        resume = bool(CheckpointManager(output).paths())
        return train(
            file, output, dataclasses.replace(options, resume=resume), TrainCallbacks(), dataset
        )
    except DivergedError:
        return read_results(found)
    except Exception as error:  # one run does not stop the others
        return error_line(output, error)


def _work(file: RecipeFile, output: Path, options: TrainOptions) -> dict[str, Any] | str:
    """`_one` in a worker process, which starts no further run after an interruption."""
    global _stopped
    if _stopped:
        raise KeyboardInterrupt
    try:
        return _one(file, output, options)
    except (KeyboardInterrupt, SystemExit):
        _stopped = True
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():
            os._exit(1)  # the pool would wait for its dead parent's next run
        raise


def _in_parallel(
    files: Mapping[str, RecipeFile], output: Path, options: TrainOptions, jobs: int
) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Train runs in `jobs` processes; yields each name and outcome when it ends."""
    context = multiprocessing.get_context("spawn")
    threads = max(1, processors() // jobs)
    pool = ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_become_worker, initargs=(threads,)
    )
    waiting = {
        pool.submit(_work, file, output / name, options): name for name, file in files.items()
    }
    done = False
    try:
        for future in as_completed(waiting):
            yield waiting[future], future.result()
        done = True
    except BrokenProcessPool as error:
        raise TrainingError(
            f"{output}: a run was killed, perhaps for lack of memory; continue with the same "
            "command and fewer --jobs"
        ) from error
    finally:
        if not done:
            for worker in multiprocessing.active_children():
                worker.terminate()  # a training writes a checkpoint and stops
        pool.shutdown(cancel_futures=True)


def _run_recipe(file: RecipeFile, name: str, changes: Mapping[str, Any]) -> Recipe:
    """The recipe of a run; what the command line gives counts more than the run's own keys."""
    return overridden(file.recipe, {**changes, **file.changed}, f"run '{name}'")


def run_grid(
    file: RecipeFile,
    runs: Mapping[str, Mapping[str, Any]],
    output: Path,
    options: TrainOptions,
    *,
    title: str,
    jobs: int = 1,
    on_row: Callable[[int, int, dict[str, Any]], None] = lambda done, total, row: None,
    on_notice: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Any]]:
    """Train `runs` of a recipe, each in its own folder below `output`.

    The results of finished runs are read; a run that was stopped resumes from its checkpoint.
    `grid.json`, `grid.md` and `grid.png` are written after every run.

    Args:
        file: the recipe.
        runs: overrides by the run's name.
        output: the folder.
        options: as for `train`.
        title: of the plot.
        jobs: trainings at a time, in processes of their own when more than one.
        on_row: called with the number of finished runs, the number of runs, and the new row.
        on_notice: called with a line for each run that failed.

    Returns:
        The rows in the order of `runs`, without those that failed.

    Raises:
        TrainingError: no run succeeded.
    """
    device = choose_device(options.device)
    files = {
        name: dataclasses.replace(file, recipe=settle(_run_recipe(file, name, changes), device))
        for name, changes in runs.items()
    }
    rows: dict[str, dict[str, Any]] = {}

    def take(name: str, outcome: dict[str, Any] | str) -> None:
        if isinstance(outcome, str):
            on_notice(f"{name}: {outcome}")
            return
        rows[name] = _row(name, runs[name], outcome)
        ordered = [rows[n] for n in runs if n in rows]
        monitor = file.recipe.monitor
        output.mkdir(parents=True, exist_ok=True)
        write_file(output / "grid.json", json.dumps(ordered, indent=1) + "\n")
        text = grid_markdown(ordered, monitor) + pivot_markdown(ordered, monitor)
        write_file(output / "grid.md", text)
        plot_grid(ordered, output / "grid.png", title, monitor)
        on_row(len(rows), len(runs), rows[name])

    if jobs == 1:
        for name, item in files.items():
            take(name, _one(item, output / name, options))
    else:
        for name, outcome in _in_parallel(files, output, options, jobs):
            take(name, outcome)
    if not rows:
        raise TrainingError(f"{output}: none of the {len(runs)} runs succeeded")
    return [rows[name] for name in runs if name in rows]
