"""Full disks, folders that cannot be written, inputs and outputs that change under the run."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .inputs import OPTIONS, Film, Shelf, picture_digest, read_film, reports
from .process import Ended, Run
from .tally import Tally

_ROOM = 50 << 10  # bytes of a disk that is too small
_NO_PAUSE = ("--min-free", "0")  # or a run waits for room, as it should
_FULL: tuple[tuple[str, ...], ...] = (
    ("out.mp4",),
    ("out.mkv", "--encoder", "ffv1"),
    ("out.avi", "--copy", "none"),
    ("out.ts",),
)
# Standard output, standard error, an option, and the exit code.
_STREAMS = (
    ("", "closed", "", 0),
    ("closed", "closed", "--json", 0),
    ("/dev/full", "", "--json", 1),
    ("", "/dev/full", "", 0),
)


def disk(shelf: Shelf, chance: random.Random, *, quick: bool) -> Tally:
    """Work on disks and folders that do not do their part."""
    tally = Tally("disk")
    reference = shelf.fresh("whole") / "out.mp4"
    ended = Run(["run", shelf.film(), "-o", reference, *OPTIONS], shelf.logs).wait()
    tally.ended("a film on a good disk", ended, (0,))
    whole = read_film(reference)
    _full(shelf, tally, whole, _FULL[:1] if quick else _FULL)
    _unwritable(shelf, tally)
    _streams(shelf, tally, _STREAMS[:1] if quick else _STREAMS)
    _changes(shelf, tally, whole, chance.sample(list(_CHANGES), 2) if quick else list(_CHANGES))
    return tally


@contextmanager
def small_disk(shelf: Shelf, size: int) -> Iterator[tuple[Path, dict[int, int]]]:
    """A folder with little room, and limits for the run: a file system in memory where this process
    may mount one, else a largest size of files."""
    folder = shelf.fresh("small disk")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and not subprocess.run(mount, capture_output=True).returncode
    try:
        yield folder, {} if mounted else {resource.RLIMIT_FSIZE: size}
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def _says(tally: Tally, what: str, ended: Ended, *words: str) -> None:
    """Judge a run that was to fail and say one of these words."""
    if tally.ended(what, ended, (1,)) and not any(word in ended.text for word in words):
        tally.fault("unclear_messages", f"{what}: says none of {words}: {ended.said}")


def _full(shelf: Shelf, tally: Tally, whole: Film, outputs: Sequence[tuple[str, ...]]) -> None:
    for name, *more in outputs:
        with small_disk(shelf, _ROOM) as (folder, limits):
            run = Run(
                ["run", shelf.film(), "-o", folder / name, *OPTIONS, *_NO_PAUSE, *more],
                shelf.logs,
                limits=limits,
            )
            _says(tally, f"{name} on a full disk", run.wait(), "full", "too large", "written")
            if (folder / name).exists():
                tally.fault("wrong_files", f"{name} is there, on a full disk")
            # what is kept is the film in the making, for the next run
            if name == "out.mp4" and not limits:
                remount = ["mount", "-o", "remount,size=100m", str(folder)]
                subprocess.run(remount, check=True)
                again = Run(["run", shelf.film(), "-o", folder / name, *OPTIONS], shelf.logs)
                tally.ended("the run after a full disk", again.wait(), (0,))
                _compare(tally, "the film after a full disk", folder / name, whole)
                tally.nothing_left("the run after a full disk", folder)
            elif name.endswith("avi"):
                tally.nothing_left(f"{name} on a full disk", folder)
    with small_disk(shelf, _ROOM) as (folder, limits):
        ended = Run(
            ["run", shelf.pictures(), "-o", folder / "out", *OPTIONS, *_NO_PAUSE, "--json", "-q"],
            shelf.logs,
            limits={resource.RLIMIT_FSIZE: 4096} if limits else {},
        ).wait()
        lines = len(reports(ended.out))
        tally.ended("a folder on a full disk", ended, (1,), lines=3 * shelf.count + 10)
        done = sum(report["status"] == "done" for report in reports(ended.out))
        files = [path for path in (folder / "out").rglob("*.png") if path.name[0] != "."]
        if len(files) != done or lines != shelf.count or not all(map(picture_digest, files)):
            line = f"a folder on a full disk: {done} of {lines} done, {len(files)} files"
            tally.fault("wrong_files", line)
        tally.nothing_left("a folder on a full disk", folder)


def _unwritable(shelf: Shelf, tally: Tally) -> None:
    folder = shelf.fresh("read-only")
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)]
    root = os.geteuid() == 0
    if root and subprocess.run(mount, capture_output=True).returncode:
        tally.count("skipped")  # root may write everywhere else
        return
    folder.chmod(0o500) if not root else None
    try:
        for what, source in (("film", shelf.film()), ("folder", shelf.pictures())):
            output = folder / ("out.mp4" if what == "film" else "out")
            ended = Run(["run", source, "-o", output, *OPTIONS], shelf.logs).wait()
            _says(tally, f"a {what} into a read-only folder", ended, "Read-only", "Permission")
            lines = len(ended.err.splitlines())
            if lines > 3:
                line = f"a {what} into a read-only folder: {lines} lines"
                tally.fault("unclear_messages", line)
    finally:
        if root:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        else:
            folder.chmod(0o700)


def _streams(shelf: Shelf, tally: Tally, cases: Sequence[tuple[str, str, str, int]]) -> None:
    """Standard output and error that cannot be written: the work is done all the same."""
    for stdout, stderr, option, code in cases:
        folder = shelf.fresh("streams")
        ended = Run(
            ["run", shelf.pictures(), "-o", folder / "out", *OPTIONS, *filter(None, [option])],
            shelf.logs,
            stdout=stdout,
            stderr=stderr,
        ).wait()
        what = f"output to {stdout or 'a file'}, messages to {stderr or 'a file'}"
        tally.ended(what, ended, (code,), lines=shelf.count + 10)
        there = len(list((folder / "out").rglob("*.png")))
        if there != shelf.count:
            line = f"{what}: {there} of {shelf.count} pictures"
            tally.fault("frames_lost", line, shelf.count - there)


def _compare(tally: Tally, what: str, path: Path, whole: Film) -> None:
    try:
        found = read_film(path)
    except OSError as error:
        tally.fault("wrong_files", f"{what}: {error}")
        return
    if found != whole:
        tally.fault("wrong_files", f"{what}: is not that of an uninterrupted run")


def _replace(source: Path, output: Path) -> None:
    other = source.with_name("other.mp4")
    shutil.copy(source, other)
    with other.open("r+b") as file:
        file.truncate(other.stat().st_size * 2 // 3)
    os.replace(other, source)


# What happens to the input or the output's folder while a film is worked on, and the exit codes
# that may follow. What is open stays readable when its name goes, so a film may well be whole.
_CHANGES: dict[str, tuple[Callable[[Path, Path], object], tuple[int, ...]]] = {
    "the input is removed": (lambda source, output: source.unlink(), (0, 1)),
    "the input is replaced": (_replace, (0, 1)),
    "the input is cut short": (
        lambda source, output: os.truncate(source, source.stat().st_size // 2),
        (1,),
    ),
    "the input is emptied": (lambda source, output: os.truncate(source, 0), (0, 1)),
    "the output's folder is removed": (lambda source, output: shutil.rmtree(output), (1,)),
    "the output's folder is renamed": (
        lambda source, output: output.rename(output.with_name("moved")),
        (1,),
    ),
    "another file gets the output's name": (
        lambda source, output: (output / "out.mp4").write_text("another's"),
        (1,),
    ),
}


def _changes(shelf: Shelf, tally: Tally, whole: Film, chosen: Sequence[str]) -> None:
    for what in chosen:
        change, codes = _CHANGES[what]
        folder = shelf.fresh("changes")
        source, output = folder / "in.mp4", folder / "output"
        shutil.copy(shelf.film(), source)
        output.mkdir()
        run = Run(["run", source, "-o", output / "out.mp4", *OPTIONS, "--json"], shelf.logs)
        until = time.monotonic() + 30
        while not list(output.glob(".*/film-*")) and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.2)
        change(source, output)
        ended = run.wait()
        tally.ended(what, ended, codes)
        found = reports(ended.out)
        status = found[0]["status"] if found else ""
        made = output / "out.mp4"
        if status == "done" and not (made.exists() and read_film(made) == whole):
            tally.fault("wrong_files", f"{what}: done, but not as an uninterrupted run does it")
        if made.exists() and "another" in what and made.read_text("utf-8") != "another's":
            tally.fault("wrong_files", f"{what}: and was replaced")
