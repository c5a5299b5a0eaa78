"""Whether all of a film came, by what its file promises: `ends_early`, `cut_off` and `holes`.

FFmpeg takes the length of a truncated AVI or fragmented MP4 from what is left of it, so such a film
looks complete. Their chunks and boxes say how long they were meant to be.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..frames import VideoInfo

_SLACK = 8  # some old AVI writers count the eight bytes of the chunk's own head too
# Sizes of a chunk whose writer could not come back to fill it in, as of a stream.
_OPEN_SIZES = (0, 0xFFFFFFFF)
_TS_LONGEST = 204
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"  # how Matroska and WebM begin
_OGG_PAGE, _OGG_LONGEST = b"OggS", 27 + 255 + 255 * 255  # how a page begins; bytes of the longest
_OGG_FIRST = 2  # flag of a page: the first of its stream
# ASF: the object with the file's properties, as a little-endian GUID; bytes from its start.
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_SIZE, _ASF_FLAGS, _ASF_LIVE = 40, 88, 1
_ISO_STARTS = (b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"wide", b"free", b"skip")
_ISO_LOST = (b"mdat", b"moof", b"moov")  # boxes without whose end frames or sound are missing


def ends_early(facts: VideoInfo, count: int, seconds: float, *, is_file: bool) -> str | None:
    """A line if the film promised more than the `count` frames of `seconds` that came.

    The count of the header alone proves nothing: headers also count fields, and frames that an edit
    list hides. So the file must be cut off, or the time be short as well; the duration is free of
    both.

    Args:
        facts: of the film.
        count: frames decoded.
        seconds: from the first frame's start to the last one's end.
        is_file: not a numbered sequence.

    Raises:
        OSError: the file cannot be read.
    """
    promised, duration = facts.num_frames_from_header, facts.duration_seconds
    early = f"{facts.path}: ends early"
    if is_file and cut_off(facts.path):
        if promised is not None and count < promised:
            return f"{early}: {count} of {promised} frames"
        if count == promised:
            return f"{early}: all {count} frames are there, but other streams may be cut"
        return f"{early}: the file is cut off after {count} frames"
    if duration is None or not facts.has_own_duration:
        return None
    frame = float(1 / facts.average_rate) if facts.average_rate else 0.04
    short = duration - seconds
    if promised is not None and count < promised and short > 1.5 * frame:
        return f"{early}: {count} of {promised} frames"
    if short > max(0.5, 2 * frame):
        total = promised or count + round(short / frame)
        return f"{early}: {count} of about {total} frames"
    return None


def cut_off(path: Path) -> bool:
    """Whether an AVI or ISO file (MP4, MOV) ends before its own sizes say, a transport stream
    within a packet, an Ogg file within a page, or a Matroska file before the end of its segment.

    False for other containers, and where the sizes do not tell: a recording that was never closed,
    a file cut exactly between two fragments, or one that lacks nothing but an index.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(12)
        if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            return any(end > size + _SLACK for end in _movi_ends(file, size))
        if head[4:8] in _ISO_STARTS:
            return _iso_cut(file, size)
        if head[:4] == _EBML:
            return _matroska_cut(file, size)
        if head[:4] == _OGG_PAGE:
            return _ogg_cut(file, size)
        file.seek(0)
        return _ts_cut(file.read(5 * _TS_LONGEST), size)


def promised_packets(facts: VideoInfo, format: str, index: int) -> int | None:
    """How many packets of video an MXF or AVI file holds by its header or its index; None for
    other formats, and where it does not tell.

    Args:
        facts: of the film.
        format: FFmpeg's name of the demuxer.
        index: of the stream.

    Raises:
        OSError: the file cannot be read.
    """
    if format == "mxf" and facts.duration_seconds and facts.average_rate:
        return round(facts.duration_seconds * float(facts.average_rate))
    if format == "avi":
        with facts.path.open("rb") as file:
            return _indexed(file, b"%02d" % index)
    return None


def _indexed(file: BinaryIO, stream: bytes) -> int | None:
    """Chunks of a stream with data by an AVI's index, which does not cover the second gigabyte of
    large files. Those without data repeat a frame, and FFmpeg passes over them.

    Source: Microsoft, AVI RIFF File Reference, AVIOLDINDEX.
    """
    size = os.fstat(file.fileno()).st_size
    at = 12
    while at + 8 <= size:
        file.seek(at)
        name, length = struct.unpack("<4sI", file.read(8))
        if name == b"RIFF":
            return None
        if name == b"idx1":
            break
        at += 8 + length + length % 2
    else:
        return None
    if at + 8 + length + 8 < size:  # a second part follows, or what is no AVI
        return None
    entries = struct.iter_unpack("<4s8xI", file.read(length - length % 16))
    named = {stream + b"dc", stream + b"db"}
    return sum(1 for name, data in entries if name in named and data)


def holes(path: Path, format: str) -> str:
    """What is missing from the beginning or the middle of a file, where FFmpeg reads on without a
    word; empty if nothing is known to be.

    Args:
        path: the film.
        format: FFmpeg's name of its demuxer.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        if format == "ogg":
            lost = _lost_pages(file)
            return f"{lost} pages of the file are missing" if lost else ""
        if format.startswith("asf"):
            lost = _asf_lost(file)
            return f"{lost} bytes of the file are missing" if lost else ""
        head = file.read(20 * _TS_LONGEST)
        known = {"mpegts": _begins_ts, "mpeg": _begins_ps}.get(format)
        return (
            "the beginning of the file is missing or damaged" if known and not known(head) else ""
        )


def _begins_ts(head: bytes) -> bool:
    """Whether a transport stream begins with a whole packet; see `_ts_cut`."""
    return any(head[first] == 0x47 for first in (0, 4) if len(head) > first)


def _begins_ps(head: bytes) -> bool:
    """Whether a program stream begins with a pack or a packet (ISO/IEC 13818-1, 2.5.3), or with the
    head of a Video CD's file."""
    start = head.lstrip(b"\0")
    return (
        head[:4] == b"RIFF" or not start or (start[0] == 1 and len(start) > 1 and start[1] >= 0xB9)
    )


def _lost_pages(file: BinaryIO) -> int:
    """Pages that are missing by the numbers of the others (RFC 3533, 6)."""
    lost = 0
    following: dict[bytes, int] = {}  # by the number of the stream
    at = _next_page(file, 0)
    while at is not None:
        file.seek(at)
        head = file.read(27 + 255)
        if head[:4] != _OGG_PAGE:
            at = _next_page(file, at)
            continue
        if len(head) < 27:
            break
        stream, number = head[14:18], int.from_bytes(head[18:22], "little")
        if not head[5] & _OGG_FIRST:
            lost += max(number - following.get(stream, 0), 0)
        following[stream] = number + 1
        at += 27 + head[26] + sum(head[27 : 27 + head[26]])
    return lost


def _next_page(file: BinaryIO, at: int) -> int | None:
    """Where the first page at or after a place begins."""
    while True:
        file.seek(at)
        part = file.read(_OGG_LONGEST)
        found = part.find(_OGG_PAGE)
        if found >= 0:
            return at + found
        if len(part) < _OGG_LONGEST:
            return None
        at += len(part) - 3


def _asf_lost(file: BinaryIO) -> int:
    """Bytes that the file is shorter than its header says (Microsoft, ASF Specification 3.2)."""
    size = os.fstat(file.fileno()).st_size
    head = file.read(1 << 16)
    at = head.find(_ASF_PROPERTIES)
    if at < 0 or at + _ASF_FLAGS >= len(head) or head[at + _ASF_FLAGS] & _ASF_LIVE:
        return 0
    (told,) = struct.unpack_from("<Q", head, at + _ASF_SIZE)
    return max(int(told) - size, 0)


def _matroska_cut(file: BinaryIO, size: int) -> bool:
    """Whether the segment, which holds all but the head, is longer than the file. A size has as
    many bytes as its first byte has leading zeros, and one; all ones mean unknown, as of a
    recording that was not closed (RFC 8794, 4 and 6)."""
    at = 0
    for name in (_EBML, _SEGMENT):
        file.seek(at)
        head = file.read(12)
        if len(head) < 12 or head[:4] != name or not head[4]:
            return False
        width = 9 - head[4].bit_length()
        bits = 7 * width
        length = int.from_bytes(head[4 : 4 + width], "big") & ((1 << bits) - 1)
        if length == (1 << bits) - 1:
            return False
        at += 4 + width + (0 if name == _SEGMENT else length)
    return at + length > size


def _ogg_cut(file: BinaryIO, size: int) -> bool:
    """Whether the last page lacks its end. A page has a head of 27 bytes, of which the last counts
    its segments, then the length of each, then their data (RFC 3533, 6)."""
    file.seek(max(0, size - _OGG_LONGEST))
    tail = file.read()
    at = tail.rfind(_OGG_PAGE)
    if at < 0:
        return True
    head = tail[at : at + 27]
    lengths = tail[at + 27 : at + 27 + head[-1]]
    return (
        len(head) < 27 or len(lengths) < head[26] or at + 27 + head[26] + sum(lengths) > len(tail)
    )


def _ts_cut(head: bytes, size: int) -> bool:
    """Whether a transport stream ends within a packet. Its packets have 188 bytes, with a time
    before them 192, with a checksum 204; each begins with 0x47 (ISO/IEC 13818-1, 2.4.3.2)."""
    for length, first in ((188, 0), (192, 4), (_TS_LONGEST, 0)):
        starts = head[first : first + 4 * length + 1 : length]
        if len(starts) == 5 and starts == b"\x47" * 5:
            return size % length != 0
    return False


def _movi_ends(file: BinaryIO, size: int) -> Iterator[int]:
    """Where the lists of frames and sound end by their own heads.

    Sources: Microsoft, AVI RIFF File Reference; OpenDML AVI File Format Extensions 1.02, section
    3.0 (large files have several RIFF chunks, `AVI ` and then `AVIX`).
    """
    at = 0
    while at + 12 <= size:
        file.seek(at)
        name, length, form = struct.unpack("<4sI4s", file.read(12))
        if name == b"RIFF" and form in (b"AVI ", b"AVIX"):
            at += 12
            continue
        if length in _OPEN_SIZES and name == b"LIST":
            return
        if name == b"LIST" and form == b"movi":
            yield at + 8 + length
        at += 8 + length + length % 2


def _iso_cut(file: BinaryIO, size: int) -> bool:
    """Whether the last box is longer than the file, or promises one that is missing.

    Source: ISO/IEC 14496-12, 4.2: size and type; a size of 1 is followed by 64 bits, 0 means up to
    the end of the file. A `moof` tells of the frames in the `mdat` behind it (8.8.4).
    """
    at, name = 0, b""
    while at + 8 <= size:
        file.seek(at)
        length, name = struct.unpack(">I4s", file.read(8))
        if length == 1:
            wide = file.read(8)
            if len(wide) < 8:
                return name in _ISO_LOST
            (length,) = struct.unpack(">Q", wide)
        if length == 0:
            return False
        if length < 8 or at + length > size:
            # A box of another name may be anything, even junk behind the film.
            return length >= 8 and name in _ISO_LOST
        at += length
    return name == b"moof"
