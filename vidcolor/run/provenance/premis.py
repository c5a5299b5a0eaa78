"""PREMIS 3.0: what was done to an object, as XML that archives take in.

Source: PREMIS Data Dictionary 3.0 and its schema, http://www.loc.gov/standards/premis/premis.xsd;
event types from the Library of Congress' vocabulary, id.loc.gov/vocabulary/preservation/eventType.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from ...marks import plain

_PREMIS = "http://www.loc.gov/premis/v3"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_SCHEMA = "https://www.loc.gov/standards/premis/premis.xsd"


@dataclass(frozen=True)
class Agent:
    """Who did something: its identifier, name, kind and version, and a note."""

    id: str
    name: str
    kind: str = "software"
    version: str = ""
    note: str = ""


@dataclass(frozen=True)
class File:
    """A file: its identifier (a path in the bag, or a name outside it), SHA-256, bytes and format,
    the identifier of the file that it was made from, and of the event that made it."""

    id: str
    sha256: str
    size: int
    format: str
    source: str = ""
    event: str = ""
    date: str = ""


@dataclass(frozen=True)
class Event:
    """Something that was done: its identifier, type and time, what was done and what came of it,
    and the identifiers of agents and files with their roles."""

    id: str
    kind: str
    date: str
    detail: str
    outcome: str
    note: str = ""
    agents: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[str, str], ...] = ()


def premis_xml(files: Sequence[File], events: Sequence[Event], agents: Sequence[Agent]) -> bytes:
    """A PREMIS document. Elements stand in the order that the schema asks for."""
    root = Element(
        "premis:premis",
        {
            "xmlns:premis": _PREMIS,
            "xmlns:xsi": _XSI,
            "xsi:schemaLocation": f"{_PREMIS} {_SCHEMA}",
            "version": "3.0",
        },
    )
    for file in files:
        _add_file(root, file, agents[0])
    for event in events:
        _add_event(root, event)
    for agent in agents:
        part = _add(root, "agent")
        _identify(part, "agentIdentifier", agent.id)
        _add(part, "agentName", agent.name)
        _add(part, "agentType", agent.kind)
        if agent.version:
            _add(part, "agentVersion", agent.version)
        if agent.note:
            _add(part, "agentNote", agent.note)
    indent(root)
    head = b'<?xml version="1.0" encoding="UTF-8"?>\n'
    return head + bytes(tostring(root, "unicode").encode()) + b"\n"


def _add(parent: Element, name: str, text: str | None = None) -> Element:
    made = SubElement(parent, f"premis:{name}")
    made.text = None if text is None else plain(text)
    return made


def _identify(parent: Element, name: str, value: str, role: str = "") -> None:
    part = _add(parent, name)
    _add(part, f"{name}Type", "local")
    _add(part, f"{name}Value", value)
    if role:
        _add(part, name.removesuffix("Identifier") + "Role", role)


def _add_file(root: Element, file: File, program: Agent) -> None:
    part = _add(root, "object")
    part.set("xsi:type", "premis:file")
    _identify(part, "objectIdentifier", file.id)
    facts = _add(part, "objectCharacteristics")
    _add(facts, "compositionLevel", "0")
    fixity = _add(facts, "fixity")
    _add(fixity, "messageDigestAlgorithm", "SHA-256")
    _add(fixity, "messageDigest", file.sha256)
    _add(facts, "size", str(file.size))
    _add(_add(_add(facts, "format"), "formatDesignation"), "formatName", file.format)
    if file.source:
        made = _add(facts, "creatingApplication")
        _add(made, "creatingApplicationName", program.name)
        _add(made, "creatingApplicationVersion", program.version)
        _add(made, "dateCreatedByApplication", file.date)
    _add(part, "originalName", file.id.rpartition("/")[2])
    if file.source:
        relation = _add(part, "relationship")
        _add(relation, "relationshipType", "derivation")
        _add(relation, "relationshipSubType", "has source")
        _identify(relation, "relatedObjectIdentifier", file.source)
        _identify(relation, "relatedEventIdentifier", file.event)


def _add_event(root: Element, event: Event) -> None:
    part = _add(root, "event")
    _identify(part, "eventIdentifier", event.id)
    _add(part, "eventType", event.kind)
    _add(part, "eventDateTime", event.date)
    _add(_add(part, "eventDetailInformation"), "eventDetail", event.detail)
    result = _add(part, "eventOutcomeInformation")
    _add(result, "eventOutcome", event.outcome)
    if event.note:
        _add(_add(result, "eventOutcomeDetail"), "eventOutcomeDetailNote", event.note)
    for id, role in event.agents:
        _identify(part, "linkingAgentIdentifier", id, role)
    for id, role in event.files:
        _identify(part, "linkingObjectIdentifier", id, role)
