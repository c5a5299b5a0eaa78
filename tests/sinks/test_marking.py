"""Marks in every format of pictures, and what stays beside them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tests.sinks.test_pictures import batch
from vidcolor.frames import ColorBatch
from vidcolor.marks import Marks
from vidcolor.sinks import PictureSink
from vidcolor.sources.marks import read_marks

MARKS = Marks("vidcolor 1.2", "fast", "ab" * 32, "{}", "2026-11-28T19:00:00Z", "a.tif", "cd" * 32)
FORMATS = ["jpg", "png", "tif", "webp", "avif"]
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="Box 12"/></rdf:RDF></x:xmpmeta>'
)


def marked(colors: ColorBatch, marks: Marks | None = MARKS) -> ColorBatch:
    assert colors.source.picture is not None
    picture = replace(colors.source.picture, marks=marks)
    return replace(colors, source=replace(colors.source, picture=picture))


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_holds_marks_beside_what_it_had(tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"a.{suffix}"
    report = PictureSink().write(marked(batch(output, xmp=XMP)))
    assert report.notes == ()
    assert read_marks(output) == MARKS.to_dict()
    with Image.open(output) as image:
        assert b"Box 12" in _packet(image)


def _packet(image: Image.Image) -> bytes:
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    return packet.encode() if isinstance(packet, str) else bytes(packet)


@pytest.mark.parametrize("suffix", FORMATS)
def test_without_marks_nothing_is_written(tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"a.{suffix}"
    PictureSink().write(marked(batch(output), None))
    assert read_marks(output) == {}
    with Image.open(output) as image:
        assert not _packet(image)


def test_bmp_says_that_it_holds_none(tmp_path: Path) -> None:
    output = tmp_path / "a.bmp"
    (note,) = PictureSink().write(marked(batch(output))).notes
    assert "marks" in note and read_marks(output) == {}


@pytest.mark.parametrize(
    "packet", [b"<broken", b"<!DOCTYPE a []><a/>", XMP.replace(b"Box", b"x" * 66_000)]
)
def test_a_packet_that_cannot_be_kept_is_named(tmp_path: Path, packet: bytes) -> None:
    output = tmp_path / "a.jpg"
    (note,) = PictureSink().write(marked(batch(output, xmp=packet))).notes
    assert "XMP" in note
    assert read_marks(output) == MARKS.to_dict()


@pytest.mark.parametrize("suffix", ["tif", "webp"])
def test_a_file_of_several_pictures_has_marks(tmp_path: Path, suffix: str) -> None:
    output, sink = tmp_path / f"a.{suffix}", PictureSink()
    for page in range(3):
        sink.write(marked(batch(output, page=page, pages=3)))
    assert read_marks(output) == MARKS.to_dict()
    with Image.open(output) as image:
        assert getattr(image, "n_frames", 1) == (
            3 if suffix == "tif" else 1
        )  # WebP joins equal frames
