"""The figures of a part of the campaign, and what it found wrong."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from vidcolor.run.job.state_files import is_of_folder

from .process import LINES, Ended

# The figures that must be 0, in all parts.
ZEROS = (
    "frames_lost",
    "wrong_files",
    "unexplained_exits",
    "tracebacks",
    "leftovers",
    "unclear_messages",
)


@dataclass
class Tally:
    """Counts of one part.

    Attributes:
        part: its name.
        figures: counts, and other numbers.
        faults: one line for each thing that is wrong.
    """

    part: str
    figures: dict[str, float] = field(default_factory=lambda: dict.fromkeys(ZEROS, 0))
    faults: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    def count(self, name: str, number: float = 1) -> None:
        """Add to a figure."""
        self.figures[name] = self.figures.get(name, 0) + number

    def fault(self, figure: str, line: str, number: float = 1) -> None:
        """Note something wrong, and print it."""
        self.count(figure, number)
        self.faults.append(line)
        print(f"FAULT {self.part}: {line}", file=sys.stderr, flush=True)

    def ended(
        self, what: str, ended: Ended, codes: tuple[int, ...] = (0, 1, 2), *, lines: int = LINES
    ) -> bool:
        """Judge how a run has ended; whether nothing is wrong with it.

        Args:
            what: it was.
            ended: how.
            codes: exit codes that it may have.
            lines: on standard error that it may have.
        """
        self.count("runs")
        about = f"{what}: {{}} [{' '.join(ended.arguments)[:160]}] {ended.said}"
        found = ended.problems(lines)
        for problem in found:
            if problem == "traceback":
                figure = "tracebacks"
            elif problem.startswith(("exit code", "no end", "an unexpected", "processes")):
                figure = "unexplained_exits"
            else:
                figure = "unclear_messages"
            self.fault(figure, about.format(problem))
        if not found and ended.code not in codes:
            self.fault("unexplained_exits", about.format(f"exit code {ended.code}"))
            return False
        return not found

    def nothing_left(self, what: str, folder: Path) -> None:
        """Note hidden and temporary files below a folder, but for the state of a folder's runs."""
        found = (path for path in sorted(folder.rglob("*")) if not is_of_folder(path))
        left = [
            str(path.relative_to(folder))
            for path in found
            if path.name.startswith(".") or path.suffix == ".tmp"
        ]
        if left:
            self.fault("leftovers", f"{what}: left {left[:3]}", len(left))
