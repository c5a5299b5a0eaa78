"""XMP packets: marks are put in, what was there stays, and nothing dangerous is read."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from vidcolor.marks import COLORIZED, Marks
from vidcolor.system.xmp import merged_xmp, read_xmp

MARKS = Marks("vidcolor 1.2", "fast", "ab" * 32, '{"size": 256}', "2026-11-28T19:00:00Z",
              "été & <co>.tif", "cd" * 32)  # fmt: skip
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
NEGATIVE = "http://cv.iptc.org/newscodes/digitalsourcetype/negativeFilm"
OLD = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Some scanner">
 <r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <r:Description r:about="uuid:1" xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" dc:format="image/tiff"
    xmlns:q="http://example.org/q/" q:box="12">
   <dc:creator><r:Seq><r:li>Ansel &amp; Co</r:li></r:Seq></dc:creator>
   <Iptc4xmpExt:DigitalSourceType>{NEGATIVE}</Iptc4xmpExt:DigitalSourceType>
   <q:shelf r:parseType="Resource"><q:row>3</q:row></q:shelf>
  </r:Description>
 </r:RDF>
</x:xmpmeta>
{" " * 100}
<?xpacket end="w"?>"""


def test_the_marks_come_back() -> None:
    assert read_xmp(merged_xmp(b"", MARKS)) == MARKS.to_dict()


@pytest.mark.parametrize("form", ["utf-8", "utf-16", "utf-16-le", "utf-16-be"])
def test_what_the_packet_held_stays(form: str) -> None:
    merged = merged_xmp(OLD.encode(form), MARKS)
    found = read_xmp(merged)
    assert found.pop("source_type") == NEGATIVE
    assert found == MARKS.to_dict() and found["digital_source_type"] == COLORIZED
    root = ElementTree.fromstring(merged)
    first = root.find(f"{RDF}RDF/{RDF}Description")
    assert first is not None
    assert first.get("{http://purl.org/dc/elements/1.1/}format") == "image/tiff"
    assert first.get("{http://example.org/q/}box") == "12"
    creators = first.iter(f"{RDF}li")
    assert [each.text for each in creators] == ["Ansel & Co"]
    assert first.findtext("{http://example.org/q/}shelf/{http://example.org/q/}row") == "3"
    abouts = {each.get(f"{RDF}about") for each in root.iter(f"{RDF}Description")}
    assert abouts == {"uuid:1"}
    types = merged.count(b"DigitalSourceType=") + merged.count(b"DigitalSourceType>")
    assert types == 1


def test_a_second_run_keeps_the_record_of_the_first() -> None:
    other = Marks("vidcolor 2.0", "best", date="2027-01-01T00:00:00Z", source="b.jpg")
    merged = merged_xmp(merged_xmp(OLD.encode(), MARKS), other)
    found = read_xmp(merged)
    assert found["model"] == "best" and "source_sha256" not in found
    assert found["source_type"] == NEGATIVE
    event = "{http://ns.adobe.com/xap/1.0/sType/ResourceEvent#}"
    root = ElementTree.fromstring(merged)
    agents = [each.text for each in root.iter(f"{event}softwareAgent")]
    assert agents == ["vidcolor 1.2", "vidcolor 2.0"]
    records = [each.text or "" for each in root.iter(f"{event}parameters")]
    assert MARKS.source_sha256 in records[0] and len(list(root.iter(f"{RDF}Seq"))) == 2


def test_another_system_that_was_used_is_named_too() -> None:
    used = b'Iptc4xmpExt:AISystemUsed="Restorer" Iptc4xmpExt:DigitalSourceType="x"'
    packet = (
        OLD.encode().replace(b'dc:format="image/tiff"', used).replace(b"DigitalSourceType>", b"B>")
    )
    merged = merged_xmp(packet, MARKS)
    assert b'AISystemUsed="Restorer; vidcolor fast"' in merged
    assert read_xmp(merged)["source_type"] == "x"


BOMB = b"""<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">&b;</rdf:RDF>"""


@pytest.mark.parametrize(
    "packet",
    [
        BOMB,
        BOMB.decode().encode("utf-16"),
        b"not XML",
        b"<x>",
        b"<html/>",
        b"\xff\xfe\x00",
        b"\xc3\x28",
        b"<a>" * 100_000,
        b"<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
        + b"<a>" * 5000 + b"</a>" * 5000 + b"</rdf:RDF>",
        b" " * (1 << 25),
    ],
    ids=range(10),
)  # fmt: skip
def test_a_packet_that_cannot_be_read_is_refused(packet: bytes) -> None:
    with pytest.raises(ValueError):
        merged_xmp(packet, MARKS)
    with pytest.raises(ValueError):
        read_xmp(packet)
