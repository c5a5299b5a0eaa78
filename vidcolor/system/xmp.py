"""XMP packets: put marks into one, beside what it holds, and read them.

Source: ISO 16684-1 (XMP, part 1): properties are attributes or elements of `rdf:Description`
elements. IPTC Photo Metadata Standard 2025.1 and Video Metadata Hub: `Iptc4xmpExt`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from xml.dom import XMLNS_NAMESPACE
from xml.dom.minidom import Document, Element, parseString
from xml.parsers.expat import ExpatError

from ..marks import COLORIZED, NAMES, Marks

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_XMP = "http://ns.adobe.com/xap/1.0/"
_MM, _EVENT = "http://ns.adobe.com/xap/1.0/mm/", "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#"
_OWN = "https://github.com/vidcolor/vidcolor/xmp/1.0/"
_PREFIXES = {RDF: "rdf", _IPTC: "Iptc4xmpExt", _XMP: "xmp", _MM: "xmpMM", _EVENT: "stEvt",
             _OWN: "vidcolor"}  # fmt: skip
_EMPTY = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}"/></x:xmpmeta>'
_HEAD = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
_LONGEST = 1 << 24  # bytes of a packet
# A mark's name -> its namespace and the property's name there
_PROPERTIES = {
    name: (_OWN, "".join(part.title() for part in name.split("_")).replace("Sha256", "SHA256"))
    for name in NAMES
} | {"digital_source_type": (_IPTC, "DigitalSourceType")}


def _parse(packet: bytes) -> Document:
    """The packet's tree.

    Raises:
        ValueError: it is not XML, declares a document type, by which entities could grow without
            end, or has no `rdf:RDF`.
    """
    if len(packet) > _LONGEST:
        raise ValueError("it is longer than 16 MiB")
    form = "utf-8"
    if packet[:2] in (b"\xfe\xff", b"\xff\xfe"):
        form = "utf-16"
    elif packet[:2] in (b"<\0", b"\0<"):
        form = "utf-16-le" if packet[:1] == b"<" else "utf-16-be"
    text = packet.decode(form).strip("\ufeff\0 \t\r\n")
    text = re.sub(r"^<\?xml .*?\?>", "", text)  # may name another encoding
    if "<!DOCTYPE" in text:
        raise ValueError("it declares a document type")
    try:
        tree = parseString(text.encode())
    except ExpatError as error:
        raise ValueError(f"it is not XML ({error})") from error
    if not tree.getElementsByTagNameNS(RDF, "RDF"):
        raise ValueError("it holds no rdf:RDF")
    return tree


def _descriptions(tree: Document) -> list[Element]:
    """The elements that hold properties."""
    (rdf, *_) = tree.getElementsByTagNameNS(RDF, "RDF")
    return [
        each
        for each in rdf.childNodes
        if isinstance(each, Element) and (each.namespaceURI, each.localName) == (RDF, "Description")
    ]


def _elements(tree: Document, space: str, name: str) -> Iterator[Element]:
    for parent in _descriptions(tree):
        for child in list(parent.childNodes):
            wanted = isinstance(child, Element) and child.localName == name
            if wanted and child.namespaceURI == space:
                yield child


def _text(element: Element) -> str:
    """The text of a simple property, or of all items of an array."""
    items = element.getElementsByTagNameNS(RDF, "li") or [element]
    texts = (
        "".join(node.data for node in each.childNodes if node.nodeType == node.TEXT_NODE)
        for each in items
    )
    return "; ".join(text.strip() for text in texts) or element.getAttributeNS(RDF, "resource")


def _take(tree: Document, space: str, name: str, *, remove: bool = True) -> str:
    """The value of a property, which is removed; empty where there is none."""
    values = []
    for each in _descriptions(tree):
        if each.hasAttributeNS(space, name):
            values.append(each.getAttributeNS(space, name))
            if remove:
                each.removeAttributeNS(space, name)
    for element in _elements(tree, space, name):
        values.append(_text(element))
        if remove and element.parentNode is not None:
            element.parentNode.removeChild(element)
    return values[0] if values else ""


def read_xmp(packet: bytes) -> dict[str, str]:
    """The marks in a packet, by the names of `Marks`; empty if it holds none.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        tree = _parse(packet)
        found = {name: _take(tree, *place, remove=False) for name, place in _PROPERTIES.items()}
    except RecursionError as error:
        raise ValueError("it nests too deeply") from error
    return {name: value for name, value in found.items() if value}


def merged_xmp(packet: bytes, marks: Marks) -> bytes:
    """A packet with the marks, and all else that it held.

    What the input said of its own digital source type is kept as `vidcolor:SourceType`. The marks
    of an earlier run stay in `xmpMM:History`, where this run adds an entry.

    Args:
        packet: of the input; empty for none.
        marks: of the output.

    Raises:
        ValueError: the packet cannot be read.
    """
    try:
        tree = _parse(packet or _EMPTY.encode())
        _mark(tree, marks)
        assert tree.documentElement is not None
        body = tree.documentElement.toxml()
    except RecursionError as error:
        raise ValueError("it nests too deeply") from error
    return f'{_HEAD}{body}\n<?xpacket end="w"?>'.encode()


def _mark(tree: Document, marks: Marks) -> None:
    before = {name: _take(tree, *place) for name, place in _PROPERTIES.items()}
    own = before["digital_source_type"]
    kept = before["source_type"] if own in ("", COLORIZED) else own
    marks = replace(marks, source_type=marks.source_type or kept)
    values = {_PROPERTIES[name]: value for name, value in marks.to_dict().items()}
    system, (program, _, version) = f"vidcolor {marks.model}", marks.software.rpartition(" ")
    others = _take(tree, _IPTC, "AISystemUsed")
    _take(tree, _IPTC, "AISystemVersionUsed")
    values[_IPTC, "AISystemUsed"] = "; ".join(dict.fromkeys((*filter(None, [others]), system)))
    values[_IPTC, "AISystemVersionUsed"] = version if program else marks.software
    _take(tree, _XMP, "MetadataDate")
    values[_XMP, "MetadataDate"] = marks.date
    values[_XMP, "CreatorTool"] = _take(tree, _XMP, "CreatorTool") or marks.software
    first = _descriptions(tree)
    place = _new(tree, RDF, "Description")
    about = first[0].getAttributeNS(RDF, "about") if first else ""
    place.setAttributeNS(RDF, "rdf:about", about)
    for (space, name), value in values.items():
        place.setAttributeNS(XMLNS_NAMESPACE, f"xmlns:{_PREFIXES[space]}", space)
        place.setAttributeNS(space, f"{_PREFIXES[space]}:{name}", value)
    tree.getElementsByTagNameNS(RDF, "RDF")[0].appendChild(place)
    event = _new(tree, RDF, "li")
    event.setAttributeNS(RDF, "rdf:parseType", "Resource")
    fields = {"action": "edited", "softwareAgent": marks.software, "when": marks.date,
              "parameters": marks.record}  # fmt: skip
    for name, value in fields.items():
        child = _new(tree, _EVENT, name)
        child.appendChild(tree.createTextNode(value))
        event.appendChild(child)
    _history(tree, place).appendChild(event)


def _new(tree: Document, space: str, name: str) -> Element:
    """An element that declares its own prefix: the packet may use another."""
    element = tree.createElementNS(space, f"{_PREFIXES[space]}:{name}")
    element.setAttributeNS(XMLNS_NAMESPACE, f"xmlns:{_PREFIXES[space]}", space)
    return element


def _history(tree: Document, place: Element) -> Element:
    """The list of `xmpMM:History`, made in `place` where there is none."""
    for found in _elements(tree, _MM, "History"):
        for kind in ("Seq", "Bag"):
            for items in found.getElementsByTagNameNS(RDF, kind):
                return items
    history, made = _new(tree, _MM, "History"), _new(tree, RDF, "Seq")
    history.appendChild(made)
    place.appendChild(history)
    return made
