"""Marks put into what is written: `FilmMarking` for films, `marked_picture` for pictures."""

from __future__ import annotations

import hashlib
import struct
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

from av.container import OutputContainer
from av.error import FFmpegError

from ..errors import VidcolorError
from ..frames import PictureInfo
from ..marks import Marks
from ..system.digest import Digest
from ..system.film_marks import container_xmp, film_tags, read_film_marks
from ..system.media import MOV_FAMILY
from ..system.xmp import merged_xmp, read_xmp
from .files import PendingFile, writing

# Stands for the input's SHA-256 in the film's head, which is written before that is known.
_OPEN = hashlib.sha256(b"vidcolor: the SHA-256 of the source is not known yet").hexdigest()
_UNKNOWN = "unknown".ljust(len(_OPEN))
_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")  # XMP specification, part 3, 1.1.7
_JPEG_XMP = 65533 - len(b"http://ns.adobe.com/xap/1.0/\0")  # bytes; part 3, 1.1.3
_SEARCHED = 1 << 22  # bytes at both ends of a file that hold its tags
# Matroska elements. Source: RFC 9559, 5.1 and RFC 8794, 11.3.1
_SEGMENT, _TAGS, _CLUSTER, _CRC = 0x18538067, 0x1254C367, 0x1F43B675, b"\xbf\x84"


def marked_picture(picture: PictureInfo, form: str) -> tuple[PictureInfo, list[str]]:
    """A picture with its marks in its XMP packet, and one line for each thing that is left out.

    Args:
        picture: with `marks`, or without any.
        form: name of the format: `jpeg`, `png`, `tiff`, `webp`, `avif` or `bmp`.
    """
    if picture.marks is None:
        return picture, []
    if form == "bmp":
        return picture, [
            f"{picture.output}: left out the marks of its origin, which BMP does not hold"
        ]
    reason = ""
    try:
        packet = merged_xmp(picture.xmp, picture.marks)
        if form == "jpeg" and len(packet) > _JPEG_XMP:
            reason = "it is too long for JPEG beside the marks of its origin"
    except ValueError as error:
        reason = str(error)
    if not reason:
        return replace(picture, xmp=packet), []
    note = f"{picture.output}: left out the XMP packet of its original, because {reason}"
    return replace(picture, xmp=merged_xmp(b"", picture.marks)), [note]


class FilmMarking:
    """The marks of one film. The input is hashed meanwhile.

    Args:
        marks: all but the input's SHA-256.
        digest: gives that.
    """

    def __init__(self, marks: Marks, digest: Digest) -> None:
        self._marks, self._digest = marks, digest
        self._format, self._packet = "", b""

    def begin(self, output: OutputContainer, source: Path) -> None:
        """Add the tags to an output whose head is not yet written. What the source says of itself
        is kept."""
        self._format = output.format.name
        said: dict[str, str] = {}
        with suppress(FFmpegError, OSError, VidcolorError, ValueError):
            self._packet = container_xmp(source) if source.is_file() else b""
            said = read_xmp(self._packet) if self._packet else {}
        marks = replace(self._marks, source_sha256=_OPEN)
        tags = film_tags(self._format, marks, output.metadata, said)
        output.metadata.clear()
        output.metadata.update(tags)

    def finish(self, file: PendingFile) -> list[str]:
        """Complete the marks of a film that is written, and read them back.

        Returns:
            One line for each thing that the file does not say.

        Raises:
            OutputError: the file cannot be written.
        """
        with writing(file.output):
            return self._finish(file.path)

    @property
    def packet(self) -> bytes:
        """The marks as an XMP packet, while the input's SHA-256 is not known."""
        return merged_xmp(b"", self._marks)

    def complete(self) -> Marks:
        """The marks with the input's SHA-256. Waits for it."""
        return replace(self._marks, source_sha256=self._digest.result()[0])

    def _finish(self, path: Path) -> list[str]:
        found, reason = self._digest.result()
        notes = [f"its SHA-256 is not known ({reason})"] if reason else []
        packet, marks = self._packet, self.complete()
        if self._format in MOV_FAMILY:
            try:
                packet = merged_xmp(packet, marks)
            except ValueError as error:
                notes.append(f"its XMP packet is left out, because {error}")
                packet = merged_xmp(b"", marks)
            add_xmp(path, packet)
        else:
            _fill(path, found or _UNKNOWN)
            if packet:
                notes.append(f"{path.suffix} does not keep its XMP packet")
        if self._format != "mpegts" and "model" in read_film_marks(path):
            return notes
        return [*notes, f"{path.suffix} does not hold the marks of its origin; see --c2pa-cert"]


def add_xmp(path: Path, packet: bytes) -> None:
    """Add an XMP packet to an MP4 or MOV file that is written."""
    with path.open("ab") as file:
        size = 8 + len(_XMP_UUID) + len(packet)
        file.write(struct.pack(">I4s", size, b"uuid") + _XMP_UUID + packet)


def _fill(path: Path, digest: str) -> None:
    """Write the digest where `_OPEN` stands for it."""
    with path.open("r+b") as file:
        if file.read(4) == b"\x1a\x45\xdf\xa3":
            _fill_matroska(file, digest)
            return
        end = file.seek(0, 2)
        for start in {0, max(0, end - _SEARCHED)}:
            file.seek(start)
            data = file.read(_SEARCHED)
            for form in ("ascii", "utf-16-le"):  # as AVI and MXF have it
                if (at := data.find(_OPEN.encode(form))) >= 0:
                    file.seek(start + at)
                    file.write(digest.encode(form))


def _fill_matroska(file: IO[bytes], digest: str) -> None:
    """The same, with the checksum of the tags made anew."""
    file.seek(0)
    while head := _element(file):
        kind, size = head
        at = file.tell()
        if kind == _TAGS:
            data = file.read(size).replace(_OPEN.encode(), digest.encode())
            if data.startswith(_CRC):
                data = data[:2] + struct.pack("<I", zlib.crc32(data[6:])) + data[6:]
            file.seek(at)
            file.write(data)
        if kind == _CLUSTER:
            return
        if kind != _SEGMENT:
            file.seek(at + size)


def _element(file: IO[bytes]) -> tuple[int, int] | None:
    """The kind and size of the Matroska element that begins here; None at the end."""
    numbers = []
    for keeps_mark in (True, False):
        first = file.read(1)
        if not first or not first[0]:
            return None
        length = 9 - first[0].bit_length()
        data = (first if keeps_mark else bytes((first[0] & (0xFF >> length),))) + file.read(
            length - 1
        )
        numbers.append(int.from_bytes(data, "big"))
    return numbers[0], numbers[1]
