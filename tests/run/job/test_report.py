"""Reports: what is in them, hostile names, files that are not replaced."""

from __future__ import annotations

import csv
import hashlib
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.clips import pattern
from vidcolor.errors import OutputError
from vidcolor.options import OptionError
from vidcolor.run.colorizer import Colorizer
from vidcolor.run.job.options import JobOptions
from vidcolor.run.job.report import JobReport
from vidcolor.run.settings import ColorizerOptions, Report, Settings
from vidcolor.system.disk import Reserve

SUFFIXES = (".json", ".csv", ".html")
HOSTILE = [
    "<script>alert(1)</script>.png",
    "\"><img src=x onerror=alert(1)>&amp;'.png",
    "new\nline\x1b[31m.png",
    "\u202egnp.exe",
    "$rows ${totals} %s {0}.png",
    "=cmd|'calc'!A1.png",
    "caf\udce9.png",
]


def begin(folder: Path, *suffixes: str) -> JobReport:
    job = JobOptions(report=[folder / f"r{suffix}" for suffix in suffixes or SUFFIXES])
    return JobReport(job, Settings(), ColorizerOptions())


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "r.json").read_text())
    return found


class Page(HTMLParser):
    """The tags of a page, its text, and the text of each table row."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.text, self.rows = "", [""]
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        if tag == "tr":
            self.rows.append("")

    def handle_data(self, data: str) -> None:
        self.text += data
        self.rows[-1] += data


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    source, output = tmp_path / "in.png", tmp_path / "out.png"
    source.write_bytes(pattern(0, 40, 30).tobytes())
    output.write_bytes(pattern(1, 40, 30).tobytes() * 1000)  # more than one block
    return source, output


def test_what_a_report_holds(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    report = begin(tmp_path)
    report.use(Colorizer("_ramp", device="cpu", size=64), "fp32", "a device")
    report.add(Report(*pair, "done", 12, 4.0, warnings=["w1", "w2"], resumed=4))
    report.add(Report(pair[0], tmp_path / "not", "failed", error="in.png: broken"))
    report.add(Report(tmp_path / "no", tmp_path / "nor", "skipped"))
    report.write("interrupted", [(tmp_path / "later.mkv", tmp_path / "o.mkv")])
    found = read(tmp_path)
    done, bad, skipped, later = found["inputs"]
    assert done["input"] == str(pair[0]) and done["output"] == str(pair[1])
    assert (done["frames"], done["seconds"], done["fps"], done["resumed"]) == (12, 4.0, 2.0, 4)
    assert done["warnings"] == ["w1", "w2"] and done["error"] == ""
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in pair]
    assert [done["input_sha256"], done["output_sha256"]] == hashes
    assert (bad["status"], bad["error"]) == ("failed", "in.png: broken")
    assert [bad["input_sha256"], bad["output_sha256"]] == [hashes[0], None]
    assert [skipped["input_sha256"], skipped["output_sha256"]] == [None, None]
    assert (later["input"], later["status"]) == (str(tmp_path / "later.mkv"), "unfinished")
    totals = found["totals"]
    assert {key: totals[key] for key in ("inputs", "done", "failed", "skipped", "unfinished")} == {
        "inputs": 4, "done": 1, "failed": 1, "skipped": 1, "unfinished": 1,
    }  # fmt: skip
    assert (totals["frames"], totals["warnings"]) == (12, 2)
    assert found["event"] == "interrupted" and found["ended"] >= found["began"]
    assert found["settings"]["encoder"] == "libx264" and found["settings"]["stabilize"] is True
    assert found["model"]["name"] == "_ramp" and len(found["model"]["sha256"]) == 64
    assert found["model"]["precision"] == "fp32" and found["machine"]["device"] == "a device"
    assert found["machine"]["processors"] >= 1 and found["versions"]["vidcolor"]


def test_a_sequence_has_the_hash_of_its_files(tmp_path: Path) -> None:
    data = [bytes([number]) * 100 for number in range(3)]
    for number, each in enumerate(data):
        (tmp_path / f"f{number:03}.png").write_bytes(each)
    report = begin(tmp_path)
    report.add(Report(tmp_path / "f%03d.png", tmp_path / "f.mp4", "failed", error="x"))
    report.write("done")
    (row,) = read(tmp_path)["inputs"]
    assert row["input_sha256"] == hashlib.sha256(b"".join(data)).hexdigest()


def test_the_table_for_programs(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    report = begin(tmp_path, ".csv")
    report.add(Report(*pair, "done", 2, 1.0, warnings=["one, with a comma", 'two "quoted"']))
    report.write("done", [(tmp_path / "a", tmp_path / "b")])
    with (tmp_path / "r.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert first["input"] == str(pair[0]) and first["fps"] == "2.0"
    assert first["warnings"].split("\n") == ["one, with a comma", 'two "quoted"']
    assert (second["status"], second["output_sha256"]) == ("unfinished", "")


def test_the_page_shows_failures_first(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    report = begin(tmp_path, ".html")
    for status, error in (("done", ""), ("skipped", ""), ("renamed", "r"), ("failed", "why not")):
        report.add(Report(*pair, status, 1, 1.0, error=error))
    report.add(Report(*pair, "incomplete", 1, 1.0, error="torn"))
    report.write("done", [pair])
    page = Page(tmp_path / "r.html")
    rows = [row.split("\n")[0] for row in page.rows[2:]]
    order = ("failed", "incomplete", "renamed", "unfinished", "done", "skipped")
    assert [row.startswith(status) for row, status in zip(rows, order, strict=True)] == [True] * 6
    assert "why not" in rows[0] and "3 of 6" in page.text


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_stay_names(tmp_path: Path, name: str) -> None:
    plain = begin(tmp_path, ".html")
    plain.add(Report(Path("a"), Path("b"), "failed", error="c", warnings=["d"]))
    plain.write("done")
    before = Page(tmp_path / "r.html")
    report = begin(tmp_path)
    report.add(Report(Path(name), Path(name), "failed", error=name, warnings=[name]))
    report.write("done")
    page, text = Page(tmp_path / "r.html"), (tmp_path / "r.html").read_text()
    assert (page.tags, page.attributes) == (before.tags, before.attributes)
    assert not {"script", "img", "a", "link"} & set(page.tags)
    assert not any(each in text for each in ("\x1b", "\u202e", "\udce9", "http:", "https:"))
    assert read(tmp_path)["inputs"][0]["input"] == name  # exact, for programs
    with (tmp_path / "r.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert not row["input"].startswith(("=", "+", "-", "@"))
    assert "\x1b" not in row["input"] and "\u202e" not in row["input"]


def test_another_file_is_not_replaced(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        path = tmp_path / f"r{suffix}"
        path.write_text('{"precious": 1}')
        with pytest.raises(OutputError, match="no report"):
            begin(tmp_path, suffix)
        assert path.read_text() == '{"precious": 1}'
        path.write_text("")  # as mktemp makes it
    for _ in range(2):  # and a report is
        report = begin(tmp_path)
        report.write("done")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.csv", "r.html", "r.json"]


def test_a_report_that_cannot_be_written_is_known_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="--report"):
        begin(tmp_path / "file" / "below", ".json")
    with pytest.raises(OptionError, match="report"):
        JobOptions(report=[tmp_path / "r.txt"])
    begin(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []  # nothing appears before the end


def test_without_files_nothing_is_read(tmp_path: Path) -> None:
    report = JobReport(JobOptions(min_free=Reserve(0, None)), Settings(), ColorizerOptions())
    report.add(Report(tmp_path / "a", tmp_path / "b", "done"))
    report.write("done")
    assert list(tmp_path.iterdir()) == []
