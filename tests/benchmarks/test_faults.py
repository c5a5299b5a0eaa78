"""The short form of the fault campaign: nothing is lost, left or wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.faults.tally import ZEROS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="kills, limits and mounts as Linux does")
def test_the_short_campaign_finds_nothing(tmp_path: Path) -> None:
    output = tmp_path / "faults.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.faults", "--quick", "--json", str(output)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    found = json.loads(output.read_text(encoding="utf-8"))
    assert done.returncode == 0 and found["faults"] == [], done.stderr
    assert set(found["parts"]) == {"kill", "disk", "memory", "fuzz", "together", "names"}
    for part, figures in found["parts"].items():
        assert figures["runs"] > 0, part
        assert {name: figures[name] for name in ZEROS} == dict.fromkeys(ZEROS, 0), part
    assert found["parts"]["kill"]["kills"] >= 3 and found["parts"]["fuzz"]["inputs"] >= 28
    readme = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    keys = {key for figures in found["parts"].values() for key in figures} | set(found)
    assert not sorted(k for k in keys if f"`{k}`" not in readme and not k.startswith("inputs_"))
