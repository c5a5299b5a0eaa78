"""Signals end the program with their code, whatever it is at, and never with a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PRELUDE = """
import os, signal, sys, time
import vidcolor.cli
from vidcolor.__main__ import main
def send(number=signal.SIGINT):
    os.kill(os.getpid(), number)
def work(command):
    vidcolor.cli.main = command
    main()
"""


def ended(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """How a command ends whose work is `code`; modules in `folder` can be imported."""
    indented = "\n".join(f"    {line}" for line in code.splitlines())
    program = f"{PRELUDE}\ndef command():\n{indented}\nwork(command)\n"
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{os.environ['PYTHONPATH']}"},
    )


@pytest.mark.parametrize(
    ("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)], ids=str
)
def test_each_signal_cleans_up_and_has_its_code(tmp_path: Path, name: str, code: int) -> None:
    work = f"try:\n    send(signal.{name})\n    time.sleep(9)\nfinally:\n    print('put away')"
    done = ended(work, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (code, "put away\n", "")


@pytest.mark.parametrize(
    ("work", "code"), [("pass", 0), ("sys.exit(2)", 2), ("sys.exit()", 0)], ids=str
)
def test_without_a_signal_the_code_is_the_commands(tmp_path: Path, work: str, code: int) -> None:
    done = ended(work, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_a_signal_waits_for_the_end_of_an_import(tmp_path: Path) -> None:
    """Even one that catches everything, as C code does."""
    (tmp_path / "slow.py").write_text(
        "import os, signal\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    done = sum(range(100_000))\n"
        "except BaseException as error:\n"
        "    raise ImportError('a library is missing') from error\n"
    )
    work = (
        "import threading\n"
        "lock = threading.Lock()\n"
        "lock.acquire()\n"
        "import slow\n"
        "print(slow.done)\n"
        "lock.acquire()\n"  # waits, as for a stage
        "print('never')"
    )
    done = ended(work, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "4999950000\n", "")


def test_a_signal_in_a_destructor_is_not_lost(tmp_path: Path) -> None:
    work = (
        "class Held:\n"
        "    def __del__(self):\n"
        "        send()\n"
        "        for _ in range(1000): pass\n"
        "held = Held()\n"
        "del held\n"
        "time.sleep(9)\n"
        "print('never')"
    )
    done = ended(work, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_what_fails_after_a_signal_is_not_told(tmp_path: Path) -> None:
    """The command line's own handling, with an error that comes of the interruption."""
    work = (
        "import click, importlib\n"
        "cli = importlib.reload(vidcolor.cli)\n"
        "def fail(*a, **k):\n"
        "    try:\n"
        "        send()\n"
        "        time.sleep(9)\n"
        "    except KeyboardInterrupt:\n"
        "        raise RuntimeError('the stream is closed')\n"
        "cli.cli.main = fail\n"
        "cli.main()"
    )
    done = ended(work, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_signal_after_the_work_does_nothing(tmp_path: Path) -> None:
    work = "import atexit\natexit.register(send)\nprint('done')\nsys.exit(1)"
    done = ended(work, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (1, "done\n", "")


def test_two_signals_at_once_are_one(tmp_path: Path) -> None:
    work = "try:\n    send()\n    time.sleep(9)\nfinally:\n    send()\n    print('put away')"
    done = ended(work, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "put away\n", "")
