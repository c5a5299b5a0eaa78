"""Change files at random: bytes of any file, values of JSON and of TOML."""

from __future__ import annotations

import json
import random
import re
import struct
from collections.abc import Callable
from typing import Any

Mutation = Callable[[bytes, random.Random], bytes]


def _flip(data: bytes, chance: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 8, 60))):
        out[chance.randrange(len(out))] ^= 1 << chance.randrange(8)
    return bytes(out)


def _head(data: bytes, chance: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(6):
        out[chance.randrange(min(600, len(out)))] = chance.randrange(256)
    return bytes(out)


def _tail(data: bytes, chance: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(12):
        out[-1 - chance.randrange(min(1200, len(out)))] = chance.randrange(256)
    return bytes(out)


def _number(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(max(1, min(1500, len(data) - 4)))
    value = chance.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", bytes(4), b"\x80\0\0\0"))
    return data[:at] + value + data[at + 4 :]


def _cut(data: bytes, chance: random.Random) -> bytes:
    return data[: max(1, int(len(data) * chance.uniform(0.02, 0.99)))]


def _behead(data: bytes, chance: random.Random) -> bytes:
    return data[chance.randrange(1, min(64, len(data))) :]


def _hole(data: bytes, chance: random.Random) -> bytes:
    size = max(1, len(data) // chance.choice((8, 20, 60)))
    at = chance.randrange(max(1, len(data) - size))
    return data[:at] + (bytes(size) if chance.random() < 0.5 else b"") + data[at + size :]


def _insert(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + chance.randbytes(chance.choice((1, 40, 400))) + data[at:]


def _swap(data: bytes, chance: random.Random) -> bytes:
    size = max(1, len(data) // 16)
    one, other = sorted(chance.randrange(max(1, len(data) - size)) for _ in range(2))
    if other - one < size:
        return data[::-1]
    middle = data[one + size : other]
    moved = data[other : other + size] + middle + data[one : one + size]
    return data[:one] + moved + data[other + size :]


_BYTES: tuple[Mutation, ...] = (
    *(_flip, _head, _tail, _number, _cut),
    *(_behead, _hole, _insert, _swap, lambda data, chance: data + data),
)

# Values that a reader may trip over. Texts begin with '!' that stand for JSON itself.
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 1e308, -1e30, 0.1),
    *("", "x", "x" * 5000, "../../x", "/etc/passwd", "..", "a\nb", "\x1b[2J", "\u202e"),
    *([], {}, [[]], [1, "x"], {"x": {"y": []}}),
    *("!NaN", "!Infinity", "!-Infinity", "!" + "9" * 5000, "!" + "[" * 40_000 + "]" * 40_000),
)


def mutate_bytes(data: bytes, chance: random.Random) -> bytes:
    """The same with a few bytes changed, moved, removed or added."""
    return chance.choice(_BYTES)(data, chance)


def mutate_values(values: Any, chance: random.Random) -> str:
    """JSON text of the values with one of them, at any depth, replaced, renamed or removed."""
    values = json.loads(json.dumps(values))
    places: list[tuple[Any, Any]] = []

    def walk(inner: Any) -> None:
        for key in inner if isinstance(inner, dict) else range(len(inner)):
            places.append((inner, key))
            if isinstance(inner[key], dict | list):
                walk(inner[key])

    walk(values)
    inner, key = chance.choice(places)
    what = chance.random()
    if what < 0.1:
        del inner[key]
    elif what < 0.2 and isinstance(inner, dict):
        inner[chance.choice(("x", "", "../x", "\x1b", "é" * 300))] = inner.pop(key)
    else:
        inner[key] = chance.choice(_VALUES)
    text = json.dumps(values)
    return re.sub(r'"!([^"]+)"', r"\1", text)


def mutate_safetensors(data: bytes, chance: random.Random) -> bytes:
    """A safetensors file with its header changed: the names, types, shapes and places of tensors,
    or the record that vidcolor keeps there; or with any bytes changed."""
    if chance.random() < 0.3:
        return mutate_bytes(data, chance)
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    metadata = header.get("__metadata__", {})
    record = metadata.get("vidcolor")
    if record and chance.random() < 0.7:
        entry = {"shards": {"a.safetensors": "0" * 64}, **json.loads(record)}
        metadata["vidcolor"] = mutate_values(entry, chance)
        text = json.dumps(header)
    else:
        text = mutate_values(header, chance)
    changed = text.encode("utf-8", errors="surrogatepass")
    length = len(changed) if chance.random() < 0.9 else chance.choice((0, 1, 2**62, 2**64 - 1))
    return struct.pack("<Q", length) + changed + data[8 + size :]


def mutate_recipe(text: str, chance: random.Random) -> bytes:
    """A recipe with a value, a key or some bytes changed."""
    lines = text.splitlines()
    at = chance.choice([n for n, line in enumerate(lines) if " = " in line])
    key, _, value = lines[at].partition(" = ")
    what = chance.random()
    if what < 0.15:
        return mutate_bytes(text.encode(), chance)
    if what < 0.25:
        lines[at] = f"{chance.choice(('x', 'model_options', '1', 'é', key + key))} = {value}"
    elif what < 0.35:
        lines.insert(at, lines[at])
    else:
        shown = json.dumps(chance.choice(_VALUES))
        shown = re.sub(r'"!([^"]+)"', r"\1", shown).replace("NaN", "nan").replace("Infinity", "inf")
        lines[at] = f"{key} = {shown}"
    return ("\n".join(lines) + "\n").encode(errors="surrogatepass")
