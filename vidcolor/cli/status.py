"""`vidcolor status`: how far a run is, asked from another terminal."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .log import verbosity
from .options import FilePath
from .text import json_text, say

if TYPE_CHECKING:
    from ..run.job.state import InputRow, Snapshot

_STATUSES = ("done", "renamed", "incomplete", "failed", "working", "waiting")
_WORDS = {"renamed": "done under another name", "working": "under way"}


@click.command("status")
@click.argument("output", type=FilePath(), default=".")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line for each job.")
@verbosity
def status_command(output: Path, as_json: bool) -> None:
    """Tell how far the run is that writes OUTPUT [the current folder].

    \b
    vidcolor status color/
    vidcolor status color.mp4

    OUTPUT is the folder or file that 'vidcolor run' writes: what was given with -o, or
    FOLDER.color, or without either the folder or name of the input. Use this while the run works
    or after it; it changes nothing.

    \b
    Exit codes: 0 told, 1 no run is known there.
    """
    from ..run.job.state import read_state
    from ..run.job.state_files import find_states

    found = [each for path in find_states(output) if (each := read_state(path)) is not None]
    if not found:
        say(f"error: {output}: no run is known here; give the output of 'vidcolor run'", err=True)
        sys.exit(1)
    for snapshot in found:
        values = describe(snapshot, time.time())
        for line in [json_text(values)] if as_json else _lines(values):
            say(line)


def describe(snapshot: Snapshot, now: float) -> dict[str, Any]:
    """What is told of a job, as JSON values; moments are seconds since 1970."""
    job, rows = snapshot.job, snapshot.of_job
    from ..run.job.state_files import output_of

    running = job.is_running(now)
    state = "running" if running else job.outcome or "died"
    counts = Counter(row.status for row in rows)
    working = [row for row in rows if row.status == "working"]
    films = [row for row in working if row.total != 1]
    free = shutil.disk_usage(snapshot.path.parent).free
    return {
        "output": str(output_of(snapshot.path)),
        "state": state,
        "host": job.host,
        "pid": job.pid,
        "begun": job.begun,
        "ended": job.ended,
        "updated": job.updated,
        "restarts": job.restarts,
        "inputs": job.inputs,
        **{status: counts[status] for status in _STATUSES},
        "from_earlier_runs": sum(row.ended is not None and row.ended < job.begun for row in rows),
        "fps": _rate(rows),
        "seconds_left": seconds_left(rows) if running else None,
        "free_bytes": free,
        "under_way": [
            {
                "input": str(row.input),
                "frames": row.frames,
                "total": row.total,
                "fps": _rate([row]),
            }
            for row in films or working
        ],
        "failures": [
            {"input": str(row.input), "status": row.status, "error": row.error}
            for row in rows
            if row.error and row.status not in ("working", "waiting")
        ],
    }


def _rate(rows: Sequence[InputRow]) -> float | None:
    """Frames a second of work on the rows, as measured; None if nothing was measured."""
    frames = sum(row.frames - row.resumed for row in rows)
    seconds = sum(row.seconds for row in rows)
    return round(frames / seconds, 2) if frames > 0 and seconds > 0 else None


def seconds_left(rows: Sequence[InputRow]) -> float | None:
    """The time that the rest takes, by what was measured of films and of pictures; None if unknown.

    Args:
        rows: of a job.
    """
    left = 0.0
    for kind in (True, False):
        same = [row for row in rows if (row.total == 1) is kind]
        rest = [row for row in same if row.status in ("working", "waiting")]
        rate = _rate(same)
        if rest and (rate is None or any(row.total is None for row in rest)):
            return None
        if rest and rate:
            left += sum(max(0, (row.total or 0) - row.frames) for row in rest) / rate
    return round(left, 1)


def _lines(values: dict[str, Any]) -> list[str]:
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(values["begun"]))
    words = {
        "running": f"running since {since}, process {values['pid']} on {values['host']}",
        "died": f"begun {since}; its process has ended before the work was done",
        "interrupted": f"begun {since}, interrupted",
    }
    restarts = values["restarts"]
    crashed = f"; {restarts} crash{'es' * (restarts > 1)} survived" if restarts else ""
    counts = ", ".join(
        f"{values[status]} {_WORDS.get(status, status)}" for status in _STATUSES if values[status]
    )
    earlier = values["from_earlier_runs"]
    lines = [
        f"{values['output']}: {words.get(values['state'], f'begun {since}, ended')}{crashed}",
        f"  {values['inputs']} inputs: {counts}"
        + (f" ({earlier} done by earlier runs)" if earlier else ""),
    ]
    for each in values["under_way"][:5]:
        total = each["total"]
        far = f", frame {each['frames']} of {total or '?'}" if total != 1 else ""
        part = f" ({each['frames'] / total:.0%})" if total and total > 1 else ""
        rate = f", {each['fps']:.1f} fps" if each["fps"] else ""
        lines.append(f"  under way: {each['input']}{far}{part}{rate}")
    if len(values["under_way"]) > 5:
        lines.append(f"  under way: {len(values['under_way']) - 5} more")
    rate, left = values["fps"], values["seconds_left"]
    facts = [f"{rate:.1f} fps"] if rate else []
    facts += [f"{_duration(left)} left"] if left is not None else []
    lines.append("  " + ", ".join([*facts, f"{values['free_bytes'] / 1e9:.1f} GB free"]))
    lines += [f"  {each['status']}: {each['error']}" for each in values["failures"]]
    return lines


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
