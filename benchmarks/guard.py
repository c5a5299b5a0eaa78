"""Show that a change of the code changes no output: hashes of what `vidcolor` writes.

    python -m benchmarks.guard record before.json --clips FOLDER
    python -m benchmarks.guard record after.json --clips FOLDER
    python -m benchmarks.guard compare before.json after.json

`record` colorizes the sample film, each film of FOLDER and sixty pictures that it makes itself,
with the `vidcolor` of the running interpreter. It uses the command line alone, so an older
checkout can be measured too: `OLD/.venv/bin/python benchmarks/guard.py record before.json`. Record
both on the same machine: threads and processor features change the last bits of a network's result.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from PIL import Image

SAMPLE = Path(__file__).resolve().parents[1] / "samples" / "old_film.mp4"
BEST_FRAMES = 60  # of each film, with the model `best`


def digest(data: bytes | memoryview) -> str:
    """The first 16 hexadecimal digits of the SHA-256."""
    return hashlib.sha256(data).hexdigest()[:16]


def colorize(source: Path, output: Path, *options: str) -> int:
    """Run `vidcolor run`; its exit code."""
    command = [sys.executable, "-m", "vidcolor", "run", str(source), "-o", str(output), *options]
    with tempfile.TemporaryDirectory() as cache:  # no batch sizes that were measured here before
        done = subprocess.run(
            command,
            # pictures say when they were made
            env={**os.environ, "VIDCOLOR_CACHE": cache, "SOURCE_DATE_EPOCH": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=cache,  # `vidcolor` is what is installed, not what lies in the folder
        )
    if done.returncode > 1 or "Traceback" in done.stdout:
        print(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}", file=sys.stderr)
    return done.returncode


def film_hashes(path: Path) -> dict[str, Any]:
    """Of a written film: each decoded frame, its pts, and the packets of each other stream."""
    frames: list[str] = []
    times: list[int | None] = []
    with av.open(str(path)) as container:
        (stream, *_) = container.streams.video
        for frame in container.decode(stream):
            codes = hashlib.sha256(frame.format.name.encode())
            for plane in frame.planes:
                rows = np.frombuffer(memoryview(plane), np.uint8).reshape(
                    plane.height, plane.line_size
                )
                bits = frame.format.components[0].bits
                width = plane.width * (1 if bits == 8 else 2)
                codes.update(np.ascontiguousarray(rows[:, :width]).data)
            frames.append(codes.hexdigest()[:16])
            times.append(frame.pts)
        base = str(stream.time_base)
    packets: dict[str, list[str]] = {}
    with av.open(str(path)) as container:
        first = container.streams.video[0].index
        for packet in container.demux():
            if packet.stream.index == first or packet.size == 0:
                continue
            name = f"{packet.stream.index} {packet.stream.type}"
            told = f"{packet.pts} {packet.dts} {packet.duration} ".encode() + bytes(packet)
            packets.setdefault(name, []).append(digest(told))
    copied = {name: [len(each), digest(" ".join(each).encode())] for name, each in packets.items()}
    return {"time_base": base, "frames": frames, "pts": times, "copied": copied}


def picture_hashes(path: Path) -> dict[str, str]:
    """Of a written picture: its decoded pixels, and its file."""
    data = path.read_bytes()
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError(f"{path}: OpenCV cannot read it")
    shape = f"{pixels.shape} {pixels.dtype} ".encode()
    return {"pixels": digest(shape + pixels.tobytes()), "file": digest(data)}


def _picture(number: int, height: int, width: int, deep: bool, color: bool) -> np.ndarray:
    """Smooth shapes with grain, `(H, W)` or `(H, W, 3)`, uint8 or uint16."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    planes = []
    for shift in range(3 if color else 1):
        waves = np.sin(7 * x + number + 0.3 * shift) + np.cos(5 * y * (1 + number % 3) - shift / 2)
        planes.append(np.clip(0.5 + waves / 5 + rng.normal(0, 0.02, (height, width)), 0, 1))
    most = 65535 if deep else 255
    codes = np.stack(planes, axis=-1) * most
    return (codes if color else codes[..., 0]).round().astype(np.uint16 if deep else np.uint8)


def make_pictures(folder: Path) -> None:
    """Write sixty pictures: PNG, JPEG, TIFF, WebP; 8 and 16 bits; gray and color; with alpha and
    without; turned by EXIF; sides of 33 to 900 pixels; and one broken file."""
    sizes = ((480, 640), (640, 480), (333, 501), (33, 47), (301, 300), (700, 900), (256, 256))
    for number in range(60):
        height, width = sizes[number % len(sizes)]
        kind = ("png", "jpg", "tif", "webp", "png", "tif")[number % 6]
        deep = kind in ("png", "tif") and number % 5 == 1
        color = number % 3 == 2 or kind == "webp"
        pixels = _picture(number, height, width, deep, color)
        path = folder / f"{number:02d}.{kind}"
        if deep and color:
            alpha = np.linspace(0, 65535, height * width).reshape(height, width, 1)
            with_alpha = np.concatenate([pixels, alpha.astype(np.uint16)], axis=-1)
            cv2.imwrite(str(path), with_alpha if kind == "png" and number % 2 else pixels)
            continue
        image = Image.fromarray(pixels)
        if not deep and kind in ("png", "webp", "tif") and number % 4 == 0:
            image = image.convert("RGBA" if color else "LA")
            image.putalpha(Image.fromarray(_picture(number + 100, height, width, False, False)))
        exif = Image.Exif()
        exif[0x010E] = f"picture {number}"
        if number % 7 < 4:
            exif[0x0112] = 1 + number % 8
        more: dict[str, Any] = {} if deep else {"exif": exif.tobytes()}
        if kind == "jpg":
            more |= {"quality": 90, "dpi": (300, 300)}
        image.save(path, **more)
    broken = folder / "04.png"
    broken.write_bytes(broken.read_bytes()[:2000])


def _film_options(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names and options of the runs of a film."""
    with av.open(str(path)) as container:
        rate = float(container.streams.video[0].average_rate or 25)
    short = f"{BEST_FRAMES / rate:.3f}"
    yield "fast", ()
    yield "fast, not stabilized", ("--no-stabilize",)
    yield "fast, exact luma, batches of 5", ("--luma", "exact", "--batch-size", "5", "--end", short)
    yield "best", ("--model", "best", "--end", short)
    yield "best, not stabilized", ("--model", "best", "--end", short, "--no-stabilize")


def record(clips: Path | None) -> dict[str, Any]:
    """Run everything; the hashes by film and run, and by picture."""
    films = [SAMPLE, *(sorted(clips.iterdir()) if clips else ())]
    found: dict[str, Any] = {"films": {}, "pictures": {}, "sheets": {}, "codes": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for film in films:
            runs = [(title, ".mkv", (*more, "--encoder", "ffv1")) for title, more in
                    _film_options(film)]  # fmt: skip
            if film == SAMPLE:
                runs.append(("default encoder", ".mp4", ()))
            for title, suffix, options in runs:
                output = folder / f"film{suffix}"
                key = f"{film.name}: {title}"
                print(key, file=sys.stderr, flush=True)
                found["codes"][key] = colorize(film, output, "--device", "cpu", *options)
                found["films"][key] = film_hashes(output)
                output.unlink()
        print("pictures", file=sys.stderr, flush=True)
        pictures = folder / "pictures"
        pictures.mkdir()
        make_pictures(pictures)
        for title, options in (
            ("fast", ()),
            ("best, batches of 3", ("--model", "best", "--batch-size", "3")),
        ):
            output = folder / f"{title} out"
            found["codes"][title] = colorize(pictures, output, "--device", "cpu", *options)
            found["pictures"][title] = {
                path.name: picture_hashes(path) for path in sorted(output.iterdir())
            }
        sheet = folder / "sheet.png"
        for film in films:
            found["codes"][f"sheet of {film.name}"] = colorize(
                film, sheet, "--device", "cpu", "--preview", "4", "--overwrite"
            )
            found["sheets"][film.name] = picture_hashes(sheet)
    return found


def differences(one: Any, two: Any, place: str = "") -> Iterator[str]:
    """One line for each value that differs."""
    if isinstance(one, dict) and isinstance(two, dict):
        for key in sorted({*one, *two}):
            if key not in one or key not in two:
                yield f"{place}{key}: only in the {'first' if key in one else 'second'}"
            else:
                yield from differences(one[key], two[key], f"{place}{key}: ")
    elif isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        for number, pair in enumerate(zip(one, two, strict=True)):
            yield from differences(*pair, f"{place}{number}: ")
    elif isinstance(one, list) and isinstance(two, list):
        yield f"{place}{len(one)} and {len(two)} values"
    elif one != two:
        yield f"{place}{one} and {two}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.guard", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="run everything and write the hashes")
    recording.add_argument("output", type=Path, help="a JSON file")
    recording.add_argument("--clips", type=Path, help="a folder of films to run too")
    comparing = commands.add_parser("compare", help="print what differs; exit code 1 if anything")
    comparing.add_argument("files", type=Path, nargs=2, help="two JSON files of `record`")
    given = parser.parse_args(arguments)
    if given.command == "record":
        text = json.dumps(record(given.clips), indent=1)
        given.output.write_text(text + "\n", encoding="utf-8")
        return 0
    one, two = (json.loads(path.read_text(encoding="utf-8")) for path in given.files)
    found = list(differences(one, two))
    print("\n".join(found) if found else "no difference")
    count = sum(len(film["frames"]) for film in one["films"].values())
    pictures = sum(map(len, one["pictures"].values()))
    print(f"{len(found)} differences in {count} frames, {pictures} pictures, and sheets")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
