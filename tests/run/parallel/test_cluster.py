"""A Ray cluster makes the files that one process makes, whatever becomes of its nodes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.helpers.certificates import write_certificate
from tests.helpers.clips import pattern
from tests.helpers.long_films import assert_same_film, film_of_shots
from tests.helpers.readback import files_in
from vidcolor.sinks.credentials import read_credentials
from vidcolor.sources.marks import read_marks

pytestmark = pytest.mark.slow

RAMP = ("--model", "_ramp", "--size", "64", "--precision", "fp32", "--device", "cpu")
FILM = (*RAMP, "--encoder", "ffv1", "--batch-size", "4")
# Two minutes at 4 frames a second, with cuts that segments can begin with.
SHOTS, RATE = (50, 70, 20, 130, 40, 60, 90, 45), 4
MINUTES = 8  # that a busy machine may take


def vidcolor(*arguments: str | Path) -> subprocess.Popen[str]:
    """The command line, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "vidcolor", "run", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def end(process: subprocess.Popen[str]) -> None:
    """Leave no process behind, whatever has failed."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    try:
        out, _ = process.communicate(timeout=MINUTES * 60)
    finally:
        end(process)
    assert process.returncode == code, out
    return out


@pytest.fixture(scope="module", autouse=True)
def _one_date() -> Iterator[None]:
    """All that is written has one date, in all processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1000000000")
        yield


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """Two nodes of one processor each, on this machine."""
    given = {"num_cpus": 1, "object_store_memory": 100 << 20, "node_ip_address": "127.0.0.1"}
    with pytest.MonkeyPatch.context() as patch:
        # read when Ray is imported
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # not to wait for other programs
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # listen on 127.0.0.1 alone
        from ray.cluster_utils import Cluster

        head = {**given, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            cluster.add_node(**given)
            yield cluster
        finally:
            cluster.shutdown()


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_of_shots(tmp_path_factory.mktemp("cluster") / "film.mkv", SHOTS, rate=RATE)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + MINUTES * 60
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        if time.monotonic() > until:
            end(process)
            pytest.fail(f"nothing happened for {MINUTES} minutes")
        time.sleep(0.05)


def test_a_killed_driver_and_a_killed_node(tmp_path: Path, film: Path, nodes: Any) -> None:
    whole, output = tmp_path / "whole.mkv", tmp_path / "o.mkv"
    finish(vidcolor(film, "-o", whole, *FILM))
    folder = tmp_path / ".o.mkv.vidcolor"

    def checkpoints() -> int:
        lines = [path.read_text().splitlines() for path in folder.glob("journal-*.jsonl")]
        return max((len(each) - 1 for each in lines), default=0)

    command = (film, "-o", output, *FILM, "--cluster", nodes.address)
    process = vidcolor(*command)
    wait_until(lambda: checkpoints() >= 2, process)
    end(process)
    assert not output.exists()

    before = checkpoints()
    process = vidcolor(*command, "--json")
    wait_until(lambda: checkpoints() > before, process)
    (node,) = nodes.worker_nodes
    nodes.remove_node(node, allow_graceful=False)
    out = finish(process)
    assert '"status": "done"' in out and '"resumed": 0' not in out
    assert "raylet" not in out  # Ray's own lines
    assert_same_film(output, whole)
    assert files_in(tmp_path) == ["o.mkv", "whole.mkv"]


def test_pictures_and_short_films_on_a_cluster_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(70):
        Image.fromarray(pattern(number, 64, 48)).save(folder / f"{number:02}.png")
    film_of_shots(folder / "film.mkv", (9, 14))
    finish(vidcolor(folder, "-o", tmp_path / "whole", *FILM))
    out = finish(vidcolor(folder, "-o", tmp_path / "out", *FILM, "--cluster", "local"))
    assert "71 done" in out
    assert files_in(tmp_path / "out") == files_in(tmp_path / "whole")
    for name in files_in(tmp_path / "out"):
        if name.endswith(".png"):
            one, other = tmp_path / "out" / name, tmp_path / "whole" / name
            assert one.read_bytes() == other.read_bytes()
    assert_same_film(tmp_path / "out" / "film.mkv", tmp_path / "whole" / "film.mkv")


def test_marks_signatures_and_the_report(tmp_path: Path, film: Path, nodes: Any) -> None:
    """Of a film in segments, and of a picture, which a node writes."""
    folder, report = tmp_path / "in", tmp_path / "report.json"
    folder.mkdir()
    (folder / "film.mkv").symlink_to(film)
    Image.fromarray(pattern(1, 48, 64)).save(folder / "a.png")
    cert, key = write_certificate(tmp_path)
    signing = ("--c2pa-cert", cert, "--c2pa-key", key, "--report", report)
    finish(vidcolor(folder, "-o", tmp_path / "out", *FILM, *signing, "--cluster", nodes.address))
    told = json.loads(report.read_text())
    assert told["event"] == "done" and told["totals"]["done"] == 2
    assert told["model"]["precision"] == "fp32"
    assert told["machine"]["device"].startswith("a cluster, ")
    for row in told["inputs"]:
        output = Path(row["output"])
        found = read_credentials(output)
        assert found is not None and found["state"] == "Valid", found
        assert read_marks(output)["source_sha256"] == row["input_sha256"]
        assert row["output_sha256"] == hashlib.sha256(output.read_bytes()).hexdigest()


def test_no_cluster_at_an_address(tmp_path: Path, film: Path) -> None:
    process = vidcolor(film, "-o", tmp_path / "o.mkv", *FILM, "--cluster", "127.0.0.1:1")
    out = finish(process, 2)
    assert out.startswith("error: --cluster 127.0.0.1:1: no cluster can be reached there")
    assert files_in(tmp_path) == []
