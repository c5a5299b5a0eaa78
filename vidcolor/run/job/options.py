"""What a run does beside its work: `JobOptions`.

Importing this module must not import torch: the command line's help is made from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...options import OptionError, check_options, option
from ...system.disk import DEFAULT_RESERVE, Reserve

REPORT_SUFFIXES = (".json", ".csv", ".html")


@dataclass(frozen=True)
class JobOptions:
    """Reports, notifications, watched folders, the disk. Nothing here changes an output.

    Each field is an option of `vidcolor run`.

    Raises:
        OptionError: a report's suffix is unknown, or a value is of another type.
    """

    report: Sequence[Path] = option(
        (),
        repeatable=True,
        metavar="FILE",
        help="Write a report of every input at the end, also of a run that was stopped or failed: "
        "FILE.html to read, FILE.json or FILE.csv for programs.",
    )
    notify: str | None = option(
        None,
        metavar="COMMAND",
        help="Run a shell command at the first failure and at the end. The environment variables "
        "VIDCOLOR_EVENT, VIDCOLOR_DONE, VIDCOLOR_FAILED and others tell it what happened.",
    )
    watch: bool = option(
        False,
        help="Go on until stopped: color new and changed files of the input folders once they "
        "have stopped growing.",
    )
    poll: bool = option(
        False,
        help="With --watch: look at the folders every 10 seconds instead of waiting for the "
        "system's word. Network drives are always looked at.",
    )
    min_free: Reserve = option(
        DEFAULT_RESERVE,
        parse=Reserve.parse,
        word="auto",
        metavar="SIZE|PERCENT",
        help="Pause while the output's disk has less free: 10GB, 500MB, 5%. 0: never pause. auto: "
        "2 GB or 2 % of the disk, whichever is less; nothing on a disk of under 1 GB.",
    )

    def __post_init__(self) -> None:
        check_options(self)
        for path in self.report:
            if Path(path).suffix.lower() not in REPORT_SUFFIXES:
                raise OptionError("report", f"takes {', '.join(REPORT_SUFFIXES)}, not {path}")
        if self.poll and not self.watch:
            raise OptionError("poll", "needs --watch")
