"""Dossiers: bags that validate, with all that tells how an output was made."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import av
import bagit
import numpy as np
import pytest
from PIL import Image

from tests.helpers.certificates import write_certificate
from tests.helpers.films import FilmSpec, build_film
from vidcolor import Colorizer, EncoderSettings, Report, Settings, colorize
from vidcolor.errors import OutputError
from vidcolor.marks import Marks
from vidcolor.run.provenance.dossier import Subject, write_dossier
from vidcolor.run.provenance.settings import ProvenanceSettings

PREMIS = "{http://www.loc.gov/premis/v3}"
# The order of an element's children in the schema, as far as they are written.
ORDER = {
    "premis": ["object", "event", "agent"],
    "object": ["objectIdentifier", "objectCharacteristics", "originalName", "relationship"],
    "objectCharacteristics": ["compositionLevel", "fixity", "size", "format",
                              "creatingApplication"],
    "fixity": ["messageDigestAlgorithm", "messageDigest"],
    "creatingApplication": ["creatingApplicationName", "creatingApplicationVersion",
                            "dateCreatedByApplication"],
    "relationship": ["relationshipType", "relationshipSubType", "relatedObjectIdentifier",
                     "relatedEventIdentifier"],
    "event": ["eventIdentifier", "eventType", "eventDateTime", "eventDetailInformation",
              "eventOutcomeInformation", "linkingAgentIdentifier", "linkingObjectIdentifier"],
    "eventOutcomeInformation": ["eventOutcome", "eventOutcomeDetail"],
    "linkingAgentIdentifier": ["linkingAgentIdentifierType", "linkingAgentIdentifierValue",
                               "linkingAgentRole"],
    "linkingObjectIdentifier": ["linkingObjectIdentifierType", "linkingObjectIdentifierValue",
                                "linkingObjectRole"],
    "agent": ["agentIdentifier", "agentName", "agentType", "agentVersion", "agentNote"],
}  # fmt: skip


def run(source: Path, output: Path, folder: Path, model: str = "_ramp", **more: object) -> Report:
    marks = ProvenanceSettings(dossier=folder, **more)  # type: ignore[arg-type]
    settings = Settings(
        marks=marks, encoder=EncoderSettings("ffv1"), exact_luma=True, copy=frozenset()
    )
    colorizer = Colorizer(model, device="cpu", size=64, precision="fp32")
    (report,) = colorize(source, output, colorizer=colorizer, settings=settings)
    return report


def sums(path: Path) -> list[str]:
    lines = path.read_text().splitlines()
    return [line.split(", ")[-1] for line in lines if not line.startswith("#")]


def check_order(element: ElementTree.Element) -> None:
    name = element.tag.removeprefix(PREMIS)
    children = [child.tag.removeprefix(PREMIS) for child in element]
    if name in ORDER:
        places = [ORDER[name].index(child) for child in children]
        assert places == sorted(places), (name, children)
    for child in element:
        check_order(child)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = FilmSpec("été 1.mkv", video="ffv1", audio=())
    return build_film(tmp_path_factory.mktemp("film"), spec)


def test_a_film_and_what_tells_of_it(tmp_path: Path, film: Path) -> None:
    report = run(film, tmp_path / "o.mkv", tmp_path / "dossiers")
    assert report.status == "done", report.error
    folder = tmp_path / "dossiers" / "o.mkv"
    bagit.Bag(str(folder)).validate()
    data = folder / "data"
    assert (data / "o.mkv").read_bytes() == report.output.read_bytes()
    original = hashlib.sha256(film.read_bytes()).hexdigest()
    assert (data / "original.sha256").read_text(encoding="utf-8") == f"{original}  {film.name}\n"
    record = json.loads((data / "record.json").read_text(encoding="utf-8"))
    assert record["source_sha256"] == original and record["settings"]["exact_luma"] is True
    with av.open(str(film)) as container:
        frames = [frame.to_ndarray()[:48] for frame in container.decode(video=0)]
    wanted = [hashlib.sha256(frame.tobytes()).hexdigest() for frame in frames]
    assert sums(data / "frame_checksums" / "original.framehash") == wanted
    assert sums(data / "frame_checksums" / "output.framehash") == wanted
    root = ElementTree.parse(data / "premis.xml").getroot()
    check_order(root)
    assert root.tag == f"{PREMIS}premis" and root.get("version") == "3.0"
    digests = [each.text for each in root.iter(f"{PREMIS}messageDigest")]
    assert digests == [original, hashlib.sha256(report.output.read_bytes()).hexdigest()]
    kinds = [each.text for each in root.iter(f"{PREMIS}eventType")]
    assert kinds == ["message digest calculation", "creation", "validation"]
    notes = [each.text for each in root.iter(f"{PREMIS}eventOutcomeDetailNote")]
    assert notes == ["12 frames before, 12 after, 12 identical"]
    assert not [each for each in (tmp_path / "dossiers").iterdir() if each != folder]


def test_a_picture_by_a_model_that_ships(tmp_path: Path) -> None:
    source = tmp_path / "in.png"
    Image.fromarray(np.tile(np.arange(64, dtype=np.uint8) * 3, (48, 1))).save(source)
    report = run(source, tmp_path / "o.png", tmp_path / "d", model="fast")
    assert report.status == "done", report.error
    data = tmp_path / "d" / "o.png" / "data"
    assert "fast" in (data / "model_card.md").read_text(encoding="utf-8")
    assert len(sums(data / "frame_checksums" / "output.framehash")) == 1
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "bagit", "--validate", str(data.parent)],
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr


def test_a_signed_film_with_its_sidecar(tmp_path: Path, film: Path) -> None:
    cert, key = write_certificate(tmp_path)
    report = run(film, tmp_path / "o.mkv", tmp_path / "d", c2pa_cert=cert, c2pa_key=key)
    assert report.status == "done", report.error
    data = tmp_path / "d" / "o.mkv" / "data"
    assert (data / "o.c2pa").read_bytes() == (tmp_path / "o.c2pa").read_bytes()
    assert "digital signature generation" in (data / "premis.xml").read_text(encoding="utf-8")


def test_references_and_more_files(tmp_path: Path, film: Path) -> None:
    picture = tmp_path / "red.png"
    Image.fromarray(np.full((48, 64, 3), (180, 40, 40), np.uint8)).save(picture)
    subject = Subject(film, None, film, (film,), Marks("vidcolor 1"), references=(picture,))
    bag = write_dossier(tmp_path / "d", subject, lambda folder: (folder / "more.txt").touch())
    bagit.Bag(str(bag)).validate()
    assert (bag / "data" / "references" / "001_red.png").read_bytes() == picture.read_bytes()
    assert (bag / "data" / "more.txt").is_file()
    digest = hashlib.sha256(picture.read_bytes()).hexdigest()
    assert digest in (bag / "data" / "premis.xml").read_text(encoding="utf-8")


def test_an_existing_bag_is_not_replaced_without_leave(tmp_path: Path, film: Path) -> None:
    subject = Subject(film, None, film, (film,), Marks("vidcolor 1"))
    bag = write_dossier(tmp_path, subject)
    (bag / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="overwrite"):
        write_dossier(tmp_path, subject)
    assert (bag / "mine.txt").exists()
    write_dossier(tmp_path, subject, overwrite=True)
    assert not (bag / "mine.txt").exists()


def test_a_folder_that_cannot_be_made_stops_the_run(tmp_path: Path, film: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="dossier"):
        run(film, tmp_path / "o.mkv", tmp_path / "file" / "d")
    assert not (tmp_path / "o.mkv").exists()


def test_without_the_library(tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bagit", None)
    with pytest.raises(OutputError, match=r"vidcolor\[dossier\]"):
        run(film, tmp_path / "o.mkv", tmp_path / "d")
