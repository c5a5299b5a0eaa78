"""A process is known by its number and start, also when another has got its number since."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from vidcolor.system.files import maker_of, temporary_path
from vidcolor.system.processes import Process, this_process

DESCRIBE = "from vidcolor.system.processes import this_process as p; print(p().token(), flush=True)"


def test_this_process_runs_and_its_name_tells_it(tmp_path: Path) -> None:
    process = this_process()
    assert process.pid == os.getpid() and process.is_running()
    assert replace(process, started=process.started + 1).is_running() is False  # its number's next
    for suffix in (".tmp", ".part.mkv", ".part"):
        path = temporary_path(tmp_path / ("é" * 100 + ".mkv"), suffix)
        assert maker_of(path) == replace(process, host="")
        assert path.name.startswith(".") and path.name.endswith(suffix)
        path.touch()


@pytest.mark.parametrize(
    "name",
    [".a.part.mkv", ".a.mkv.12345678.part.mkv", "a.tmp", ".a.1-2-3-4.tmp", ".vidcolor.sqlite"],
)
def test_other_names_tell_no_process(tmp_path: Path, name: str) -> None:
    assert maker_of(tmp_path / name) is None


def test_a_killed_process_does_not_run_even_before_it_is_waited_for() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", f"{DESCRIBE}; import time; time.sleep(60)"],
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        process = Process.from_token(child.stdout.readline().strip())
        assert process is not None and process.pid == child.pid and process.is_running()
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert process.is_running() is False


def test_processes_that_cannot_be_seen() -> None:
    process = this_process()
    code = process.code
    assert replace(process, code="0" * 16).is_running() is None  # another machine
    assert replace(process, code=code[:12] + "0000").is_running() is None  # another container
    assert replace(process, code=code[:6] + "0" * 10).is_running() is False  # before the reboot
