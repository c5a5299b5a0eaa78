"""Little memory, and files that ask for more than anybody has."""

from __future__ import annotations

import os
import random
import resource
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .inputs import OPTIONS, Shelf, read_film
from .process import Arguments, Real, Run
from .tally import Tally

_MIB = 1 << 20
_DATA = (400, 700, 1000, 1500, 3000)  # MiB of data segments (ulimit -d)
_ADDRESSES = (1000, 3000, 5000, 8000)  # MiB of addresses (ulimit -v)
_GROUP = (400, 560, 700, 1000)  # MiB of a control group
_BOMBS = 6000 * _MIB


def memory(shelf: Shelf, chance: random.Random, *, quick: bool) -> Tally:
    """Work with little memory."""
    tally = Tally("memory")
    cases = [(resource.RLIMIT_DATA, mib, "ulimit -d") for mib in _DATA]
    cases += [(resource.RLIMIT_AS, mib, "ulimit -v") for mib in _ADDRESSES]
    if quick:
        cases = chance.sample(cases, 1)
    for kind, mib, name in cases:
        _limited(shelf, tally, f"{name} {mib} MiB", {kind: mib * _MIB})
    if not quick:
        for mib in _GROUP:
            with _group(mib * _MIB) as group:
                if group is None:
                    tally.count("skipped")
                    continue
                _limited(shelf, tally, f"a control group of {mib} MiB", {}, group)
    _bombs(shelf, tally, quick=quick)
    return tally


def _limited(
    shelf: Shelf, tally: Tally, what: str, limits: dict[int, int], group: Path | None = None
) -> None:
    folder = shelf.fresh("little memory")
    command: Arguments = ["run", shelf.film(), "-o", folder / "out.mp4", *OPTIONS]
    run = Real(command, shelf.logs, limits=limits, group=group)
    ended = run.wait(180)
    what = f"a film under {what}"
    if tally.ended(what, ended):
        if ended.code == 0:
            read_film(folder / "out.mp4")
        elif "memory" not in ended.err and "space" not in ended.err:
            tally.fault("unclear_messages", f"{what}: {ended.said}")
    if ended.code:
        tally.nothing_left(what, folder)


@contextmanager
def _group(size: int) -> Iterator[Path | None]:
    """A memory control group, version 1 or 2; None where this process may not make one."""
    top = Path("/sys/fs/cgroup")
    first = top / "memory"
    name = f"vidcolor-faults-{os.getpid()}"
    group, limit = (
        (first / name, "memory.limit_in_bytes") if first.is_dir() else (top / name, "memory.max")
    )
    try:
        group.mkdir()
        (group / limit).write_text(str(size))
    except OSError:
        made = None
    else:
        made = group
    try:
        yield made
    finally:
        with suppress(OSError):
            group.rmdir()


def _png(path: Path, width: int, height: int, depth: int, rows: int, text: bytes = b"") -> Path:
    """A gray PNG of black; of fewer rows than its head says, or with a packed text."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        whole = kind + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    line = bytes(1 + (width * depth + 7) // 8)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(line) for _ in range(rows)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", data), chunk(b"IEND", b"")]
    if text:
        parts.insert(1, chunk(b"zTXt", b"Comment\0\0" + text))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def _bombs(shelf: Shelf, tally: Tally, *, quick: bool) -> None:
    folder = shelf.fresh("bombs")
    gibibyte = zlib.compressobj(9)
    packed = b"".join(gibibyte.compress(bytes(_MIB)) for _ in range(1024)) + gibibyte.flush()
    pictures = [
        _png(folder / "huge.png", 30_000, 30_000, 1, 30_000),
        _png(folder / "head.png", 100_000, 100_000, 8, 1),
        _png(folder / "largest.png", 2**31 - 1, 2**31 - 1, 8, 0),
        _png(folder / "text.png", 16, 16, 8, 16, packed),
    ]
    limits = {resource.RLIMIT_DATA: _BOMBS}
    for path in pictures[1:2] if quick else pictures:
        output = shelf.fresh("bombs' output")
        command: Arguments = ["run", path, "-o", output / path.name, *OPTIONS]
        ended = Run(command, shelf.logs, limits=limits).wait(180)
        tally.ended(f"{path.name} of {path.stat().st_size} bytes", ended)
        tally.nothing_left(path.name, output)
    pack = folder / "pack.zip"
    with zipfile.ZipFile(pack, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(shelf.colors().iterdir()):
            archive.write(path, path.name)
        with archive.open("bomb.png", "w") as file:
            for _ in range(1500):
                file.write(bytes(_MIB))
    ended = Run(["eval", pack, *OPTIONS, "--at", "64"], shelf.logs, limits=limits).wait(180)
    tally.ended(f"a zip of {pack.stat().st_size} bytes to eval", ended, (0,))
    tally.figures["zip_peak_mib"] = ended.peak_bytes // _MIB
    if ended.peak_bytes > 1500 * _MIB:
        tally.fault("unclear_messages", f"a zip bomb took {ended.peak_bytes // _MIB} MiB")
