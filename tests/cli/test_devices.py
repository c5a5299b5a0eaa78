"""`vidcolor run` with several devices."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from PIL import Image

from tests.cli.test_processes import start
from tests.helpers.clips import pattern
from tests.helpers.command_line import Vidcolor
from tests.helpers.long_films import film_of_shots
from tests.helpers.readback import files_in
from vidcolor.errors import DeviceError
from vidcolor.system.devices import worker_devices

RAMP = ("--model", "_ramp", "--size", "64", "--encoder", "ffv1")


@pytest.mark.parametrize(
    ("names", "devices"),
    [
        ("auto", ["auto"]),
        ("cpu", ["cpu"]),
        ("cpu,cpu", ["cpu", "cpu"]),
        ("3xcpu", ["cpu", "cpu", "cpu"]),
        ("cpu, 2xcpu", ["cpu", "cpu", "cpu"]),
        ("xpu", ["xpu"]),  # refused where it is opened
    ],
)
def test_names_of_devices(names: str, devices: list[str]) -> None:
    assert worker_devices(names) == devices


@pytest.mark.parametrize("names", ["cpu,tpu", "0xcpu,cpu", "cpu,", "cpu,cuda:99", "9999xcpu,cpu"])
def test_devices_that_are_not_there(names: str) -> None:
    with pytest.raises(DeviceError):
        worker_devices(names)


def test_two_workers_and_a_bad_device(tmp_path: Path, command: Vidcolor) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    film_of_shots(folder / "film.mkv", (9, 14))
    for number in range(5):
        Image.fromarray(pattern(number, 64, 48)).save(folder / f"{number}.png")
    (folder / "none.png").write_bytes(b"no picture")
    answer = command("run", folder, "-o", tmp_path / "out", *RAMP, "--device", "2xcpu", "--json")
    lines = [json.loads(line) for line in answer.out.splitlines()]
    assert answer.code == 1, answer.err
    assert sorted(line["status"] for line in lines) == ["done"] * 6 + ["failed"]
    made = [name for name in files_in(tmp_path / "out") if not name.startswith(".")]
    assert len(made) == 6
    answer = command("run", folder, "-o", tmp_path / "no", *RAMP, "--device", "2xtpu")
    assert answer.code == 2 and "unknown device 'tpu'" in answer.err


def alive_in(group: int) -> list[int]:
    """The processes of a group that have not ended."""
    found = []
    for each in psutil.process_iter(["status"]):
        with suppress(ProcessLookupError):
            if each.info["status"] != psutil.STATUS_ZOMBIE and os.getpgid(each.pid) == group:
                found.append(each.pid)
    return found


@pytest.mark.slow
def test_ctrl_c_ends_the_workers(tmp_path: Path) -> None:
    film = film_of_shots(tmp_path / "film.mkv", (60,) * 20, rate=4)
    output = tmp_path / "o.mkv"
    process = start("run", film, "-o", output, *RAMP, "--device", "2xcpu")
    parts = tmp_path / ".o.mkv.vidcolor" / "parts"
    until = time.monotonic() + 90
    while not files_in(parts) and time.monotonic() < until:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.strip() == "interrupted"
    assert alive_in(process.pid) == []
    assert not output.exists()
