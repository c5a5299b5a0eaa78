"""What `vidcolor run` prints: progress, finished lines and tables, or JSON lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .log import show_errors_only, show_log
from .progress import show_bars, show_lines
from .text import json_text, printable

if TYPE_CHECKING:
    from ..run.job.progress import JobProgress
    from ..run.plan import Job
    from ..run.settings import ProgressCallback, Report


def width_of(stream: TextIO) -> int | None:
    """None for a terminal (rich finds its width); else wide enough for whole names."""
    return None if stream.isatty() else 10_000


def _text(value: object) -> Text:
    return Text(printable(str(value)))


class Screen:
    """Messages and progress on standard error, JSON on standard output."""

    def __init__(self, *, quiet: bool, as_json: bool, watching: bool = False) -> None:
        self.console = Console(stderr=True, highlight=False, width=width_of(sys.stderr))
        self.quiet, self.as_json = quiet, as_json
        self.lost = False  # standard output cannot be written
        self._error = ""  # that was printed last
        # what a search of watched folders has said before is not said again
        once = "vidcolor.sources" if watching else None
        show_log(lambda line: self._show(_text(line)), once=once)
        if quiet:
            show_errors_only()

    def _show(self, line: Text) -> None:
        """Print to standard error; the work goes on if nobody can read it."""
        try:
            self.console.print(line, soft_wrap=True)
        except OSError:
            self.quiet = True

    def print_line(self, line: str) -> None:
        """Print one line to standard error, unless quiet."""
        if not self.quiet:
            self._show(_text(line))

    def error(self, line: str) -> None:
        """Print what went wrong to standard error, also if quiet."""
        self._show(_text(f"error: {line}"))

    def _print_json(self, values: dict[str, Any]) -> None:
        """Print one line to standard output.

        If that cannot be written (a full disk), the work goes on and one line reports it.

        Raises:
            BrokenPipeError: its reader has ended.
        """
        if self.lost:
            return
        try:
            print(json_text(values), flush=True)
        except BrokenPipeError:
            raise
        except OSError as error:
            self.lost = True
            self.error(f"standard output cannot be written ({error.strerror})")

    def progress(self, job: JobProgress) -> AbstractContextManager[ProgressCallback]:
        """Show how far a job is: bars if standard error is a terminal, else a line a minute."""
        if self.console.is_terminal and not self.quiet:
            return show_bars(job, self.console)
        return show_lines(job, self.print_line)

    def sheet(self, report: Report) -> None:
        """Print the line of a finished preview."""
        self._announce(report)
        self.print_line(f"{report.output}: {report.frames} before/after pairs")

    def _announce(self, report: Report) -> None:
        if self.as_json:
            self._print_json(report.to_dict())
        for warning in report.warnings:
            self.print_line(f"warning: {warning}")

    def finished(self, report: Report) -> None:
        """Print the line of a finished input."""
        self._announce(report)
        if report.is_problem:
            if report.error != self._error:  # inputs may share one cause, such as their folder
                self.error(report.error)
            self._error = report.error
        elif report.status == "skipped":
            self.print_line(f"{report.input}: skipped, {report.output} exists")
        else:
            rate = f", {report.fps:.1f} fps" if report.frames > 1 and report.fps else ""
            unit = "frame" if report.frames == 1 else "frames"
            self.print_line(
                f"{report.input} -> {report.output} "
                f"({report.frames} {unit}, {report.seconds:.1f} s{rate})"
            )

    def summary(self, reports: Sequence[Report]) -> None:
        """Print how many inputs were done, and the failed ones with the reason, unless all have the
        one that was printed last."""
        failed = [r for r in reports if r.is_problem]
        if len(reports) < 2 or not (failed or not self.quiet):
            return
        counts = {
            s: sum(r.status == s for r in reports)
            for s in ("done", "skipped", "renamed", "incomplete", "failed")
        }
        self.print_line(", ".join(f"{n} {s}" for s, n in counts.items() if n))
        if any(report.error != self._error for report in failed) or len(failed) == 1:
            for report in failed:
                self._show(_text(f"  {report.status}: {report.error}"))

    def plan(
        self, jobs: Sequence[Job], reports: Sequence[Report], model: str, encoder: str
    ) -> None:
        """Print the plan of a dry run to standard output, as a table or as JSON lines."""
        rows = [row for job in jobs for row in _plan_rows(job, encoder)]
        rows += [
            {"input": str(r.input), "output": str(r.output), "problem": r.error or r.status}
            for r in reports
        ]
        if self.as_json:
            for row in rows:
                self._print_json({**row, "model": model})
            return
        out = Console(file=sys.stdout, highlight=False, width=width_of(sys.stdout))
        table = Table(
            "input", "output", "frames", "video", "copied", "notes", title=f"plan: {model}"
        )
        for row in rows:
            table.add_row(
                *(
                    _text(row.get(key, "") if row.get(key) is not None else "?")
                    for key in ("input", "output", "frames", "video")
                ),
                Text("\n".join(map(printable, row.get("copied", [])))),
                Text(
                    "\n".join(map(printable, row.get("notes", [])))
                    + printable(row.get("problem", ""))
                ),
            )
        out.print(table)


def _plan_rows(job: Job, encoder: str) -> Iterator[dict[str, Any]]:
    from ..run.plan import FilmJob
    from ..sinks import is_sequence

    if not isinstance(job, FilmJob):
        for path, output in job.items:
            yield {"input": str(path), "output": str(output), "frames": 1, "video": "picture"}
        return
    facts = job.source.facts
    if is_sequence(job.output):
        encoder = job.output.suffix[1:]
    rate = f"{float(facts.average_rate):.5g} fps" if facts.average_rate else "variable"
    yield {
        "input": str(job.input),
        "output": str(job.output),
        "frames": job.frames,
        "video": f"{facts.width}x{facts.height} {rate}, {facts.codec} {facts.pix_fmt} -> "
        f"{encoder} {job.plan.format.name}",
        "copied": [
            f"{s.kind} {s.codec}" + (f" ({s.language})" if s.language else "")
            for s in job.plan.streams
        ]
        + ([f"{job.plan.num_chapters} chapters"] if job.plan.num_chapters else []),
        "notes": list(job.plan.notes),
    }
