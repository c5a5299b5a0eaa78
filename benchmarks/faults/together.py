"""Two runs at once on one output."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

from .inputs import OPTIONS, Shelf, picture_digest, read_film
from .process import LINES, Arguments, Run
from .tally import Tally

_LATER = 0.3  # seconds after which the second run begins


def together(shelf: Shelf, *, quick: bool) -> Tally:
    """Let two runs write the same film, and the same folder."""
    tally = Tally("together")
    command: Arguments
    kinds: tuple[tuple[str, ...], ...] = ((),) if quick else ((), ("--no-resume",))
    for kind in kinds:
        reference = shelf.fresh("alone") / "out.mp4"
        ended = Run(["run", shelf.film(), "-o", reference, *OPTIONS, *kind], shelf.logs).wait()
        tally.ended("a film alone", ended, (0,))
        whole = read_film(reference)  # without checkpoints an encoder sets other key frames
        moments = (0.0,) if quick else (0.0, _LATER)
        for later, overwrite in itertools.product(moments, ((), ("-y",))):
            more = (*kind, *overwrite)
            what = f"two runs on a film, {later} s apart {' '.join(more)}"
            folder = shelf.fresh("together")
            command = ["run", shelf.film(), "-o", folder / "out.mp4", *OPTIONS, *more]
            codes = _both(shelf, tally, what, command, later)
            if 0 not in codes:
                tally.fault("unexplained_exits", f"{what}: exit codes {codes}")
            for path in folder.glob("*.mp4"):
                if read_film(path) != whole:
                    tally.fault("wrong_files", f"{what}: {path.name}")
            if not (folder / "out.mp4").exists():
                tally.fault("frames_lost", f"{what}: no film", len(whole.frames))
            tally.nothing_left(what, folder)
    for more in (("--skip-existing",),) if quick else (("--skip-existing",), ("-y",)):
        what = f"two runs on a folder {' '.join(more)}"
        folder = shelf.fresh("together") / "out"
        command = ["run", shelf.pictures(), "-o", folder, *OPTIONS, *more, "-q"]
        _both(shelf, tally, what, command, _LATER, lines=3 * shelf.count + 10)
        names = [path for path in folder.rglob("*.png") if path.name[0] != "."]
        own = [path for path in names if "second" not in path.name]
        if len(own) != shelf.count:
            line = f"{what}: {len(own)} of {shelf.count} pictures"
            tally.fault("frames_lost", line, shelf.count - len(own))
        if not all(map(picture_digest, names)):
            tally.fault("wrong_files", f"{what}: a broken picture")
        tally.nothing_left(what, folder)
    return tally


def _both(
    shelf: Shelf,
    tally: Tally,
    what: str,
    command: list[str | Path],
    later: float,
    *,
    lines: int = LINES,
) -> list[int]:
    """Run a command twice at once; the exit codes."""
    runs = []
    for name in ("first", "second"):
        logs = shelf.logs / name
        logs.mkdir(exist_ok=True)
        runs.append(Run(command, logs))
        time.sleep(later)
    ended = [run.wait() for run in runs]
    for each in ended:
        tally.ended(what, each, lines=lines)
    return [each.code for each in ended]
