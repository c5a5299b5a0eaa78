"""Signals at random moments: what is left under the final names, and what the next run makes of it.

A film is killed up to five times on its way and must then be the same, frame by frame and packet by
packet, as that of an uninterrupted run; so must a folder of pictures. Some runs are killed while
Python still imports.
"""

from __future__ import annotations

import random
import signal
from abc import ABC, abstractmethod
from pathlib import Path

from .inputs import OPTIONS, Film, Shelf, count_packets, picture_digest, read_film, reports
from .process import Arguments, Ended, Real, Run
from .tally import Tally

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_MOST_IN_A_ROW = 5
_REAL = 0.25  # share of kills of the whole program, imports and all
_EARLY, _LATE = 1.5, 0.4  # seconds after the program's first line, and around its end


def kill(shelf: Shelf, kills: int, chance: random.Random) -> Tally:
    """Kill runs `kills` times."""
    tally = Tally("kill")
    films, folders = _Films(shelf, tally), _Folders(shelf, tally)
    whole = max(2, kills // 6)
    seconds = _real_seconds(shelf)
    for number in range(whole):
        late = seconds + chance.uniform(-_LATE, _LATE / 2)
        moment = late if number % 2 else chance.uniform(0, _EARLY) * chance.random()
        _kill_program(shelf, tally, SIGNALS[1:][number % 3], moment)
    done, trial = whole, 0
    while done < kills:
        victim: _Victim = (films, folders)[trial % 2]
        done += victim.trial(chance, min(kills - done, chance.randint(1, _MOST_IN_A_ROW)))
        trial += 1
    for victim in (films, folders):
        if victim.done:
            tally.figures[f"{victim.name}_work_repeated_per_kill"] = round(
                victim.repeated / victim.done, 4
            )
    return tally


def _program(shelf: Shelf, *more: str) -> Real:
    """The whole program on a few pictures, from its first line on."""
    output = shelf.folder / "program" / "out"
    source = shelf.pictures() / "a"
    program = Real(["run", source, "-o", output, *OPTIONS, "-q", *more], shelf.logs)
    program.wait_for_handlers()
    return program


def _real_seconds(shelf: Shelf) -> float:
    shelf.fresh("program")
    _program(shelf).wait()
    return _program(shelf, "-y").wait().seconds


def _kill_program(shelf: Shelf, tally: Tally, number: int, seconds: float) -> None:
    """Kill the program near its start, most of it imports, or near its end."""
    folder = shelf.fresh("program")
    program = _program(shelf)
    sent = program.sleep(seconds) and program.send(number)
    name = f"{signal.Signals(number).name} after {seconds:.2f} s"
    _judge(tally, name, program.wait(), number if sent else 0)
    tally.count("kills", sent)
    again: Arguments = ["run", shelf.pictures() / "a", "-o", folder / "out", *OPTIONS]
    again += ["--skip-existing", "-q"]
    tally.ended(f"the run after {name}", Run(again, shelf.logs).wait(), (0,))
    count = len(_digests(folder / "out"))
    if count != len(list((shelf.pictures() / "a").iterdir())):
        tally.fault("frames_lost", f"{name}: {count} pictures")
    tally.nothing_left(name, folder)


def _judge(tally: Tally, what: str, ended: Ended, number: int) -> None:
    """Whether the exit code is the signal's; 0 for a run that had just ended."""
    codes = {0: (0,), signal.SIGKILL: (-signal.SIGKILL, 0)}.get(number, (128 + number, 0))
    if ended.code == -signal.SIGKILL and number == signal.SIGKILL:
        tally.count("runs")
        return
    tally.ended(what, ended, codes)


class _Victim(ABC):
    """Something to work on, killed on its way.

    Attributes:
        done: kills that a whole run has followed.
        repeated: shares of the work that these had to do again, added up.
    """

    name: str

    def __init__(self, shelf: Shelf, tally: Tally) -> None:
        self.shelf, self.tally = shelf, tally
        self.done = 0
        self.repeated = 0.0
        self.prepare()
        self.seconds = {kind: self._seconds(kind) for kind in (Run, Real)}

    def _seconds(self, kind: type[Run]) -> float:
        """Seconds that an uninterrupted run takes."""
        self.output = self.shelf.fresh(f"whole {self.name}") / "out"
        ended = self.start(kind).wait()
        self.tally.ended(f"a {self.name} without a kill", ended, (0,))
        return ended.seconds

    @abstractmethod
    def prepare(self) -> None:
        """Make the reference."""

    def trial(self, chance: random.Random, most: int) -> int:
        """Kill a run and those that go on with it, `most` times at most; the number of kills."""
        self.output = self.shelf.fresh(f"killed {self.name}") / "out"
        kills = 0
        before = self.written()
        while kills < most:
            number, kind = chance.choice(SIGNALS), Real if chance.random() < _REAL else Run
            run = self.start(kind)
            if kind is Real:
                run.wait_for_handlers()
            moment = chance.uniform(0, 1.05) * self.seconds[kind]
            if not run.sleep(moment) or not run.send(number):
                self.tally.ended(f"a {self.name} that was not killed", run.wait(), (0,))
                break
            kills += 1
            ended = run.wait(30)
            _judge(self.tally, f"{signal.Signals(number).name} to a {self.name}", ended, number)
            self.check(complete=False)
            if ended.code == 0:
                break
            before = self.written()
            self.tally.count(f"kills_{self.name}")
        ended = self.start(Run).wait()
        self.tally.ended(f"the {self.name} after {kills} kills", ended, (0,))
        self.check(complete=True)
        if kills:
            self.repeated += max(0.0, before - self.kept(ended)) / self.whole
            self.done += 1
        self.tally.count("kills", kills)
        return kills

    whole: int  # frames or pictures in all

    @abstractmethod
    def start(self, kind: type[Run]) -> Run:
        """Start the command; always the same one."""

    @abstractmethod
    def written(self) -> int:
        """Frames or pictures written so far."""

    @abstractmethod
    def kept(self, ended: Ended) -> int:
        """How many of them the last run has kept."""

    @abstractmethod
    def check(self, *, complete: bool) -> None:
        """Compare what lies under the final names with the reference."""


class _Films(_Victim):
    name = "film"
    reference: Film

    def prepare(self) -> None:
        first = self.shelf.fresh("reference film") / "out.mp4"
        command: Arguments = ["run", self.shelf.film(), *OPTIONS]
        Run([*command, "-o", first], self.shelf.logs).wait()  # the second is as quick as all later
        ended = Run([*command, "-o", first, "-y"], self.shelf.logs).wait()
        self.tally.ended("a film without a kill", ended, (0,))
        self.reference = read_film(first)
        self.whole = len(self.reference.frames)

    @property
    def _file(self) -> Path:
        return self.output.with_suffix(".mp4")

    def start(self, kind: type[Run]) -> Run:
        arguments: Arguments = ["run", self.shelf.film(), "-o", self._file, *OPTIONS, "--json"]
        if self._file.exists():  # a kill that came too late
            arguments.append("-y")
        return kind(arguments, self.shelf.logs)

    def written(self) -> int:
        films = self.output.parent.glob(".*/film-*")
        return max(map(count_packets, films), default=0)

    def kept(self, ended: Ended) -> int:
        (report,) = reports(ended.out) or [{}]
        return int(report.get("resumed", 0))

    def check(self, *, complete: bool) -> None:
        if not self._file.exists():
            if complete:
                self.tally.fault("frames_lost", "no film after the last run", self.whole)
            return
        try:
            found = read_film(self._file)
        except OSError as error:
            self.tally.fault("wrong_files", f"a film that cannot be decoded: {error}")
            return
        if found != self.reference:
            lost = max(0, self.whole - len(found.frames))
            self.tally.count("frames_lost", lost)
            same = sum(a == b for a, b in zip(found.frames, self.reference.frames, strict=False))
            times, sound = found.times == self.reference.times, found.sound == self.reference.sound
            self.tally.fault(
                "wrong_files",
                f"a film of {len(found.frames)} frames, {same} of them right; times "
                f"{'right' if times else 'wrong'}, sound {'right' if sound else 'wrong'}",
            )
        if complete:
            self.tally.count("films_compared")
            self.tally.nothing_left("a film", self.output.parent)


class _Folders(_Victim):
    name = "folder"
    reference: dict[str, str]

    def prepare(self) -> None:
        output = self.shelf.fresh("reference folder")
        command: Arguments = ["run", self.shelf.pictures(), "-o", output, *OPTIONS, "-y", "-q"]
        Run(command, self.shelf.logs).wait()
        ended = Run(command, self.shelf.logs).wait()
        self.tally.ended("a folder without a kill", ended, (0,))
        self.reference = _digests(output)
        self.whole = len(self.reference)

    def start(self, kind: type[Run]) -> Run:
        arguments: Arguments = ["run", self.shelf.pictures(), "-o", self.output, *OPTIONS]
        return kind([*arguments, "--skip-existing", "--json", "-q"], self.shelf.logs)

    def written(self) -> int:
        return len(_digests(self.output))

    def kept(self, ended: Ended) -> int:
        return sum(report["status"] == "skipped" for report in reports(ended.out))

    def check(self, *, complete: bool) -> None:
        found = _digests(self.output)
        wrong = [name for name, digest in found.items() if self.reference.get(name) != digest]
        if wrong:
            self.tally.fault("wrong_files", f"wrong pictures: {wrong[:3]}", len(wrong))
        if complete:
            lost = len(self.reference.keys() - found.keys())
            if lost:
                self.tally.fault("frames_lost", f"{lost} pictures are missing", lost)
            self.tally.count("folders_compared")
            self.tally.nothing_left("a folder", self.output)


def _digests(folder: Path) -> dict[str, str]:
    """The digests of the pictures under their final names."""
    return {
        str(path.relative_to(folder)): picture_digest(path)
        for path in sorted(folder.rglob("*.png"))
        if not path.name.startswith(".")
    }
