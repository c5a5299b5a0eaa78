"""What a colorized file says of itself: `Marks`.

`system.xmp` puts them into XMP packets, `system.film_marks` into the tags of films, and both read
them back. docs/PROVENANCE.md says where they are in each format.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields

# IPTC NewsCodes, Digital Source Type, "Edited using Generative AI": augmentation, correction or
# enhancement using a generative AI model. docs/PROVENANCE.md says why this one.
COLORIZED = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"


@dataclass(frozen=True)
class Marks:
    """What a colorized file says of itself. Empty texts are not written.

    Attributes:
        software: the program and its version.
        model: name of the model.
        model_sha256: of its file of weights, hexadecimal.
        settings: what shapes the colors, a JSON object.
        date: when the work on the file began, ISO 8601 in UTC.
        source: name of the input's file.
        source_sha256: of that file; of a numbered sequence, of its files one after another.
        source_type: the digital source type that the input named.
        digital_source_type: of the file itself, an IPTC NewsCode.
    """

    software: str
    model: str = ""
    model_sha256: str = ""
    settings: str = ""
    date: str = ""
    source: str = ""
    source_sha256: str = ""
    source_type: str = ""
    digital_source_type: str = COLORIZED

    def to_dict(self) -> dict[str, str]:
        """The fields that are not empty, by name."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if value}

    @property
    def sentence(self) -> str:
        """One line for people, such as players show it."""
        term = self.digital_source_type.rpartition("/")[2]
        if '"chroma"' in self.settings:
            return (
                f"The colors alone that the model '{self.model}' has predicted for {self.source}, "
                f"by {self.software}: lay them on it with 'vidcolor merge'. Digital source type: "
                f"{term}."
            )
        return (
            f"Colorized by {self.software}: the model '{self.model}' has predicted the colors, the "
            f"lightness is the original's. Digital source type: {term}."
        )

    @property
    def record(self) -> str:
        """All fields as a JSON object in one line."""
        return json.dumps(self.to_dict(), ensure_ascii=False)


def plain(text: str) -> str:
    """The text with all that XML or UTF-8 does not hold escaped: names of files may hold control
    characters, and bytes that are no text."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


NAMES = tuple(each.name for each in fields(Marks))


def parse_record(text: str) -> dict[str, str]:
    """The fields in a text that ends in `Marks.record`; empty if it does not."""
    start = text.rfind('{"software": ')
    try:
        found = json.loads(text[start:]) if start >= 0 else {}
    except ValueError:
        return {}
    return {key: str(value) for key, value in found.items() if key in NAMES}
