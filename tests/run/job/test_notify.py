"""Notifications: real commands, what they are told, and what happens when they fail."""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path

import pytest

from vidcolor.run.job.notify import Notifier
from vidcolor.run.settings import Report

TELL = (
    f'"{sys.executable}" -c \'import json, os; print(json.dumps('
    '{k: v for k, v in os.environ.items() if k.startswith("VIDCOLOR_")}))\' >> "%s"'
)


def told(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def report(name: str, status: str = "done", error: str = "") -> Report:
    return Report(Path(name), Path(f"{name}.out"), status, error=error)


def test_the_first_failure_and_the_end(tmp_path: Path) -> None:
    notifier = Notifier(TELL % (tmp_path / "told"))
    notifier.add(report("a"))
    notifier.add(report("b'; touch x; $(touch y)\n`touch z`", "failed", "b: broken"))
    notifier.add(report("c", "failed", "c: broken"))
    notifier.add(report("d", "incomplete", "d: torn"))
    notifier.add(report("e", "skipped"))
    notifier.end("done", "night.html")
    first, end = told(tmp_path / "told")
    assert first["VIDCOLOR_EVENT"] == "failed" and first["VIDCOLOR_FAILED"] == "1"
    assert first["VIDCOLOR_INPUT"] == "b'; touch x; $(touch y)\n`touch z`"
    assert first["VIDCOLOR_ERROR"] == "b: broken" and first["VIDCOLOR_DONE"] == "1"
    assert end["VIDCOLOR_EVENT"] == "done" and end["VIDCOLOR_REPORT"] == "night.html"
    counts = [end[f"VIDCOLOR_{n}"] for n in ("DONE", "SKIPPED", "INCOMPLETE", "RENAMED", "FAILED")]
    assert counts == ["1", "1", "1", "0", "2"]
    assert end["VIDCOLOR_ERROR"] == "b: broken"


def test_the_next_round_begins_anew(tmp_path: Path) -> None:
    notifier = Notifier(TELL % (tmp_path / "told"))
    notifier.add(report("a", "failed", "a: broken"))
    notifier.end("done")
    notifier.add(report("b"))
    notifier.end("terminated")
    last = told(tmp_path / "told")[-1]
    assert (last["VIDCOLOR_EVENT"], last["VIDCOLOR_FAILED"], last["VIDCOLOR_ERROR"]) == (
        "terminated", "0", "",
    )  # fmt: skip


def test_the_first_failure_does_not_wait_for_its_command(tmp_path: Path) -> None:
    notifier = Notifier(f'sleep 0.5; echo >> "{tmp_path / "told"}"')
    notifier.add(report("a", "failed", "a: broken"))
    assert not (tmp_path / "told").exists()
    notifier.end("done")
    assert (tmp_path / "told").read_text() == "\n\n"


@pytest.mark.parametrize(
    ("command", "reason"),
    [("exit 3", "exit code 3"), ("no-such-command-at-all 2>&-", "exit code 127"),
     ("sleep 30", "0.2 seconds")],
)  # fmt: skip
def test_a_command_that_fails_is_one_warning(
    caplog: pytest.LogCaptureFixture, command: str, reason: str
) -> None:
    began = time.monotonic()
    with caplog.at_level(logging.WARNING, "vidcolor"):
        Notifier(command, seconds=0.2 if "sleep" in command else 20).end("done")
    assert time.monotonic() - began < 20
    (line,) = caplog.messages
    assert reason in line and "--notify" in line


def test_no_command(caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier("")
    notifier.add(report("a", "failed", "a: broken"))
    notifier.end("done")
    assert caplog.messages == []
