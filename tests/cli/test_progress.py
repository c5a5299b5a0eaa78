"""What is shown of a run's progress: bars on a terminal, elsewhere a line a minute."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from vidcolor.cli.progress import describe, show_bars, show_lines
from vidcolor.run.job.progress import JobProgress
from vidcolor.run.plan import PicturesJob
from vidcolor.run.settings import Progress, Report

NAMES = [Path(f"{number}.png") for number in range(10)]
JOB = PicturesJob(tuple((name, name) for name in NAMES))


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def finish(job: JobProgress, number: int, status: str = "done") -> Progress:
    """One picture more; what the run tells."""
    job.finish(Report(NAMES[number], NAMES[number], status, 1))
    return Progress(NAMES[number], number + 1, 10)


def test_a_line_a_minute() -> None:
    clock = Clock()
    lines: list[str] = []
    job = JobProgress([JOB], clock)
    with show_lines(job, lines.append, clock) as on_progress:
        for number in range(9):
            clock.now += 25
            on_progress(finish(job, number, "failed" if number == 1 else "done"))
    assert lines == [  # at 75, 150 and 225 seconds
        f"{done} of 10 inputs, 1 not as wanted, 0:{left // 60:02}:{left % 60:02} left"
        for done, left in ((3, 175), (6, 100), (9, 25))
    ]


def test_unknown_time_is_not_made_up() -> None:
    job = JobProgress([JOB], Clock())
    assert describe(job) == "0 of 10 inputs, -:--:-- left"


def test_bars_for_the_job_and_for_the_present_input() -> None:
    clock = Clock()
    job, out = JobProgress([JOB], clock), io.StringIO()
    console = Console(file=out, force_terminal=True, width=120, legacy_windows=False)
    with show_bars(job, console) as on_progress:
        for number in range(4):
            clock.now += 60
            on_progress(finish(job, number))
    shown = out.getvalue()
    for text in ("all inputs", "4/10", "0:06:00", "3.png"):
        assert text in shown


def test_one_input_has_one_bar() -> None:
    one = PicturesJob(((NAMES[0], NAMES[0]),))
    job, out = JobProgress([one], Clock()), io.StringIO()
    console = Console(file=out, force_terminal=True, width=120, legacy_windows=False)
    with show_bars(job, console) as on_progress:
        on_progress(Progress(NAMES[0], 1, 1))
    assert "0.png" in out.getvalue() and "all inputs" not in out.getvalue()
