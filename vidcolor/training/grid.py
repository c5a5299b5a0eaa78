"""Grids and variants: many trainings of one recipe, resumable, several at a time."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import torch

from ..errors import DivergedError, TrainingError, VidcolorError
from ..system.devices import free_memory, processors
from .checkpoint import Shelf
from .data.dataset import DataSet
from .options import Listener, Options
from .prepare import open_dataset
from .recipe import overridden, recipe_values
from .recipe_files import RecipeFile
from .results.collect import settings_key
from .results.markdown import cell, setting, short_key, table
from .results.plots import plot_grid
from .results.report import grid_markdown, is_diverged, read_results, write_file
from .trainer import train

_DONE = ("finished", "stopped early", "diverged")
_MEMORY_PER_RUN = 3 << 30  # bytes: torch, the pictures and a small network with room to spare
# the keys of a recipe that its pictures in memory depend on
_OF_DATA = (
    *("data", "classes", "split", "test_part", "limit", "min_chroma", "seed"),
    *("size", "fit", "input_size"),
)
_loaded: dict[str, DataSet] = {}
_stopped = False


def jobs_that_fit(wanted: int = 0) -> int:
    """How many trainings to run at once: one for each core that memory allows, or `wanted`."""
    free = free_memory(torch.device("cpu"))
    return wanted or max(1, min(processors(), free // _MEMORY_PER_RUN))


def _dataset(file: RecipeFile, options: Options) -> DataSet:
    """The recipe's pictures; runs of a grid that follow each other share them."""
    values = recipe_values(file.recipe)
    wanted = str([[values[key] for key in _OF_DATA], options.root, options.validation])
    if wanted not in _loaded:
        _loaded.clear()
        _loaded[wanted] = open_dataset(file, options)
    return _loaded[wanted]


def _row(name: str, overrides: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
    """A grid's row: its settings, its status and the measures of its best epoch."""
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


def pivot_markdown(rows: Sequence[Mapping[str, Any]], monitor: str) -> str:
    """The grid as the documents print it: `monitor` by learning rate across and another key down,
    a table for each combination of the keys that remain; empty for a grid of one key.

    Args:
        rows: of a complete or half-done grid, in its order.
        monitor: the measure in the cells.
    """
    keys = list(rows[0]["settings"])
    if len(keys) < 2 or any(list(row["settings"]) != keys for row in rows):
        return ""
    across = "lr" if "lr" in keys else keys[-1]
    *others, down = [key for key in keys if key != across]
    columns = list(dict.fromkeys(row["settings"][across] for row in rows))
    tables: dict[str, dict[str, dict[Any, str]]] = {}
    for row in rows:
        settings = row["settings"]
        group = ", ".join(f"{short_key(key)} {setting(settings[key])}" for key in others)
        lines = tables.setdefault(group, {})
        text = "diverged" if is_diverged(row) else cell(row.get(monitor))
        lines.setdefault(setting(settings[down]), {})[settings[across]] = text
    head = [short_key(down), *(f"{short_key(across)} {setting(c)}" for c in columns)]
    texts = []
    for group, lines in tables.items():
        cells = [[name, *(line.get(c, "-") for c in columns)] for name, line in lines.items()]
        texts.append((f"{group}:\n\n" if group else "") + table(head, cells))
    return f"\nBest {monitor.replace('_', ' ')}:\n\n" + "\n\n".join(texts) + "\n"


def _become_worker(threads: int) -> None:
    torch.set_num_threads(threads)
    # between trainings Ctrl-C is the parent's business; a training notes it by itself
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _one(file: RecipeFile, output: Path, options: Options) -> dict[str, Any] | str:
    """Train one run, or read what it gave before; a failure's line is returned, not raised."""
    found = output / "results.json"
    try:
        dataset = _dataset(file, options)
        if found.is_file():
            results = read_results(found)
            if results.get("settings") != settings_key(file.recipe, dataset.sources):
                return f"{output}: holds a run with other settings; choose another folder with -o"
            if results["status"] in _DONE:
                return results
        resume = bool(Shelf(output).paths())
        return train(file, output, dataclasses.replace(options, resume=resume), Listener(), dataset)
    except DivergedError:
        return read_results(found)
    except VidcolorError as error:
        return str(error)


def _work(file: RecipeFile, output: Path, options: Options) -> dict[str, Any] | str:
    """`_one` in a worker process, which takes no further run once it was interrupted."""
    global _stopped
    if _stopped:
        raise KeyboardInterrupt
    try:
        return _one(file, output, options)
    except (KeyboardInterrupt, SystemExit):
        _stopped = True
        raise


def _in_parallel(
    files: Mapping[str, RecipeFile], output: Path, options: Options, jobs: int
) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Train runs in `jobs` processes; yields name and outcome as each ends."""
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
            f"{output}: a run was killed, perhaps for lack of memory; give the same command with "
            "fewer --jobs to go on"
        ) from error
    finally:
        if not done:
            for worker in multiprocessing.active_children():
                worker.terminate()  # a training saves and stops
        pool.shutdown(cancel_futures=True)


def run_grid(
    file: RecipeFile,
    runs: Mapping[str, Mapping[str, Any]],
    output: Path,
    options: Options,
    *,
    title: str,
    jobs: int = 1,
    report: Callable[[int, int, dict[str, Any]], None] = lambda done, total, row: None,
    notice: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Any]]:
    """Train `runs` of a recipe, each in its own folder below `output`.

    Runs that are done are read, not trained again; a run that was stopped goes on from its
    checkpoint. `grid.json`, `grid.md` and `grid.png` are written after every run.

    Args:
        file: the recipe.
        runs: overrides by the run's name.
        output: the folder.
        options: as for `train`.
        title: of the plot.
        jobs: trainings at a time, in processes of their own when more than one.
        report: called with the runs done, their number, and the row of each.
        notice: called with a line for each run that failed.

    Returns:
        The rows in the order of `runs`; runs that failed are left out.

    Raises:
        TrainingError: no run succeeded.
    """
    files = {
        name: dataclasses.replace(file, recipe=overridden(file.recipe, changes, f"run '{name}'"))
        for name, changes in runs.items()
    }
    rows: dict[str, dict[str, Any]] = {}

    def take(name: str, outcome: dict[str, Any] | str) -> None:
        if isinstance(outcome, str):
            notice(f"{name}: {outcome}")
            return
        rows[name] = _row(name, runs[name], outcome)
        ordered = [rows[n] for n in runs if n in rows]
        monitor = file.recipe.monitor
        output.mkdir(parents=True, exist_ok=True)
        write_file(output / "grid.json", (json.dumps(ordered, indent=1) + "\n").encode())
        text = grid_markdown(ordered, monitor) + pivot_markdown(ordered, monitor)
        write_file(output / "grid.md", text.encode())
        plot_grid(ordered, output / "grid.png", title, monitor)
        report(len(rows), len(runs), rows[name])

    if jobs == 1:
        for name, item in files.items():
            take(name, _one(item, output / name, options))
    else:
        for name, outcome in _in_parallel(files, output, options, jobs):
            take(name, outcome)
    if not rows:
        raise TrainingError(f"{output}: none of the {len(runs)} runs succeeded")
    return [rows[name] for name in runs if name in rows]
