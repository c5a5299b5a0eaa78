"""The figures as tables for a screen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.table import Table

_MIB, _MILLION, _BILLION = 1 << 20, 1e6, 1e9


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    return table


def _mib(count: float) -> str:
    return f"{count / _MIB:,.0f}"


def models(found: dict[str, Any], machine: dict[str, Any]) -> Iterator[Table]:
    """Cost of each model."""
    memory = "GPU MiB" if machine["device_type"] == "cuda" else "peak MiB"
    table = _table(
        "Models", "model", "size", "batch", "parameters M", "GMACs", "ms a frame", memory, "grown"
    )
    for row in found["rows"]:
        table.add_row(
            row["model"],
            str(row["size"]),
            str(row["batch"]),
            f"{row['parameters'] / _MILLION:.2f}",
            f"{row['macs'] / _BILLION:.2f}",
            f"{row['model_ms']:.2f}",
            _mib(row["peak_bytes"]),
            _mib(row["growth_bytes"]),
        )
    yield table


def stages(found: dict[str, Any], machine: dict[str, Any]) -> Iterator[Table]:
    """One row a film: every stage's fps alone, the whole, the bounds and what is reached."""
    for film in found["films"]:
        title = (
            f"Stages: {film['model']}, {film['frame']}, {film['frames']} frames, "
            f"batches of {film['batch_size']}"
        )
        table = _table(title, "stage alone", "fps", "ms a frame", "processor ms a frame")
        for row in film["rows"]:
            table.add_row(
                row["stage"],
                f"{row['stage_fps']:.1f}",
                f"{row['stage_ms']:.2f}",
                f"{row['stage_cpu_ms']:.2f}",
            )
        table.add_section()
        fps = film["end_to_end_fps"]
        table.add_row(
            f"end to end, {film['whole_frames']} frames",
            f"{fps:.1f}",
            f"{1000 / fps:.2f}",
            f"{film['end_to_end_cpu_ms']:.2f}",
        )
        cores = f"bound: {machine['cores']} cores"
        for name, bound, share in (
            (f"bound: {film['slowest_stage']}", "slowest_stage_fps", "of_slowest_stage"),
            (cores, "cores_bound_fps", "of_cores_bound"),
        ):
            table.add_row(name, f"{film[bound]:.1f}", f"{film[share]:.2f} reached", "")
        table.add_row("efficiency", "", f"{film['efficiency']:.2f}", "")
        yield table


def scaling(found: dict[str, Any], machine: dict[str, Any]) -> Iterator[Table]:
    """Films of several lengths and sizes, with the lines through them."""
    length, size = found["length"], found["frame_size"]
    table = _table(
        f"Against length: {found['model']}, {length['rows'][0]['frame']}",
        "frames",
        "seconds",
        "ms a frame",
        "peak MiB",
    )
    for row in length["rows"]:
        per_frame = 1000 * row["seconds"] / row["frames"]
        table.add_row(
            str(row["frames"]),
            f"{row['seconds']:.2f}",
            f"{per_frame:.2f}",
            _mib(row["peak_rss_bytes"]),
        )
    time, memory = length["seconds_fit"], length["peak_rss_fit"]
    table.add_section()
    table.add_row("slope, a frame", f"{time['slope']:.4f}", "", f"{memory['slope'] / _MIB:+.3f}")
    table.add_row("intercept", f"{time['intercept']:.2f}", "", _mib(memory["intercept"]))
    table.add_row("R²", f"{time['r_squared']:.4f}", "", f"{memory['r_squared']:.4f}")
    yield table
    table = _table(
        f"Against frame size: {found['model']}",
        "frame",
        "megapixels",
        "ms a frame",
        "ms a megapixel",
        "peak MiB",
    )
    for row in size["rows"]:
        per_frame, mega = 1000 * row["seconds"] / row["frames"], row["pixels"] / _MILLION
        table.add_row(
            row["frame"],
            f"{mega:.3f}",
            f"{per_frame:.2f}",
            f"{per_frame / mega:.1f}",
            _mib(row["peak_rss_bytes"]),
        )
    fit = size["seconds_a_frame_fit"]
    table.add_section()
    table.add_row("slope, a megapixel", "", f"{1000 * _MILLION * fit['slope']:.1f}", "", "")
    table.add_row("intercept", "", f"{1000 * fit['intercept']:.2f}", "", "")
    table.add_row("R²", "", f"{fit['r_squared']:.4f}", "", "")
    yield table


def startup(found: dict[str, Any], machine: dict[str, Any]) -> Iterator[Table]:
    """Waiting times."""
    table = _table("Start-up", "from the start of the process to", "seconds")
    for row in found["rows"]:
        table.add_row("end of " * ("run" not in row["wait"]) + row["wait"], f"{row['seconds']:.2f}")
    yield table


def peers(found: dict[str, Any], machine: dict[str, Any]) -> Iterator[Table]:
    """How many times as fast vidcolor is; frames a second only with a GPU's name beside them."""
    absolute = machine["device_type"] == "cuda"
    names = [row["model"] for row in found["models"]]
    table = _table(
        f"Peers in an OpenCV loop, {found['frame']}: vidcolor's fps / peer's",
        "peer",
        "input",
        "parameters M",
        "GMACs",
        *names,
        "peak MiB",
        *(["fps"] if absolute else []),
    )
    for row in found["rows"]:
        table.add_row(
            row["peer"],
            str(row["size"]),
            f"{row['parameters'] / _MILLION:.1f}",
            f"{row['all_macs'] / _BILLION:.1f}",
            *(f"{row['ratios'][name]['ratio']:.2f}" for name in names),
            _mib(row["peak_rss_bytes"]),
            *([f"{row['fps']:.1f}"] if absolute else []),
        )
    table.add_section()
    for row in found["models"]:
        rates: Sequence[str] = [f"{row['fps']:.1f}"] if absolute else []
        empty = [""] * (3 + len(names))
        table.add_row(f"vidcolor {row['model']}", *empty, _mib(row["peak_rss_bytes"]), *rates)
    yield table


TABLES: dict[str, Callable[[dict[str, Any], dict[str, Any]], Iterator[Table]]] = {
    "models": models,
    "stages": stages,
    "scaling": scaling,
    "startup": startup,
    "peers": peers,
}
