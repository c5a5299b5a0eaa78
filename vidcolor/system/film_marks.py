"""Marks in the containers of films: as tags, and as XMP in MP4 and MOV.

The comment, which players show, is a sentence. Matroska and others take a tag for each mark, MXF
takes them as user comments, AVI as a JSON object behind the sentence. MPEG-TS has only the name of
a service's provider. Source for MP4 and MOV: XMP specification, part 3, 1.1.7 (`uuid` box).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ..marks import COLORIZED, NAMES, Marks, parse_record
from .media import MOV_FAMILY, open_media
from .xmp import read_xmp

_PREFIX = "vidcolor_"
_MXF = "comment_"  # what FFmpeg takes for a user comment
_TAGS = {
    name: name if name == "digital_source_type" else f"{_PREFIX}{name}" for name in NAMES
}  # of the marks, in small letters; Matroska writes them in capitals


def film_tags(
    format_name: str, marks: Marks, present: Mapping[str, str], said: Mapping[str, str]
) -> dict[str, str]:
    """The tags of a film with those of its marks, in place of those it has.

    Args:
        format_name: FFmpeg's name of the muxer.
        marks: of the film.
        present: its tags so far, those of the input. A comment stays, in front of the new one;
            another digital source type becomes the source's; marks of an earlier run become one
            tag, `VIDCOLOR_EARLIER`.
        said: marks in the XMP packet of the input, by the names of `Marks`.
    """
    tags = dict(present)

    def take(name: str) -> str:
        keys = [key for key in tags if key.lower().removeprefix(_MXF) == name]
        return [tags.pop(key) for key in keys][-1] if keys else ""

    tagged = {name: text for name, key in _TAGS.items() if (text := take(key))}
    earlier = tagged or said
    own, kept = earlier.get("digital_source_type", ""), earlier.get("source_type", "")
    kept = kept if own in ("", COLORIZED) else own
    marks = replace(marks, source_type=marks.source_type or kept)
    if format_name == "mpegts":
        tags.setdefault("service_provider", f"Colorized by {marks.software}")
        return tags
    in_mov, in_mxf = format_name in MOV_FAMILY, format_name in ("mxf", "mxf_opatom")
    known = tagged if in_mov else earlier  # MP4 and MOV hold the XMP packet, with its history
    if "software" in known:
        before = take(f"{_PREFIX}earlier")
        record = json.dumps(dict(known), ensure_ascii=False)
        key = f"{_MXF}{_PREFIX}earlier" if in_mxf else f"{_PREFIX}earlier".upper()
        tags[key] = f"{before}\n{record}".strip()
    if in_mxf:
        return tags | {f"{_MXF}{_TAGS[name]}": text for name, text in marks.to_dict().items()}
    line = f"{marks.sentence} {marks.record}" if format_name == "avi" else marks.sentence
    comment = take("comment")
    tags["comment"] = f"{comment}\n{line}" if comment else line
    if in_mov or format_name == "avi":
        return tags
    return tags | {_TAGS[name].upper(): text for name, text in marks.to_dict().items()}


def container_xmp(path: Path) -> bytes:
    """The XMP packet of an MP4 or MOV file; empty for none.

    Raises:
        InputError, OSError, av.error.FFmpegError: the film cannot be opened.
    """
    with open_media(f"file:{path}", options={"export_xmp": "1"}) as container:
        return container.metadata.get("xmp", "").encode()


def read_film_marks(path: Path) -> dict[str, str]:
    """The marks of a film, by the names of `Marks`; empty if it has none.

    Raises:
        InputError, OSError, av.error.FFmpegError: it cannot be opened.
        ValueError: its XMP packet cannot be read.
    """
    with open_media(f"file:{path}", options={"export_xmp": "1"}) as container:
        tags = {key.lower().removeprefix(_MXF): text for key, text in container.metadata.items()}
    if "xmp" in tags:
        return read_xmp(tags["xmp"].encode())
    found = {name: tags[key].strip() for name, key in _TAGS.items() if key in tags}
    return found or parse_record(tags.get("comment", ""))
