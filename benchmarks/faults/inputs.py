"""What the campaign works on: small films and pictures, the same ones every time."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from ..films import film_size, make_film, pictures

SMALL = film_size("96x64")
# A model that needs little time; what it predicts does not matter here.
OPTIONS = ("--model", "fast", "--size", "32", "--device", "cpu")
FORMATS = ("png", "jpg", "tif", "webp", "bmp")
# Containers and codecs of the films that are mutated.
KINDS = {
    "h264.mp4": ("libx264", "yuv420p", "aac"),
    "mpeg4.avi": ("mpeg4", "yuv420p", "mp3"),
    "mpeg2.ts": ("mpeg2video", "yuv420p", "mp2"),
    "vp8.webm": ("libvpx", "yuv420p", "libopus"),
    "ffv1.mkv": ("ffv1", "yuv420p", "pcm_s16le"),
    "prores.mov": ("prores_ks", "yuv422p10le", "pcm_s16le"),
    "wmv2.wmv": ("wmv2", "yuv420p", "mp3"),
}


@dataclass(frozen=True)
class Film:
    """What a film holds: a digest for each decoded frame, its pts, and the packets of its sound."""

    frames: tuple[str, ...]
    times: tuple[int | None, ...]
    sound: tuple[str, ...]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def read_film(path: Path) -> Film:
    """Decode a film.

    Raises:
        OSError: it is damaged.
    """
    frames, times = [], []
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for frame in container.decode(video=0):
            frames.append(_digest(frame.to_ndarray().tobytes()))
            times.append(frame.pts)
    sound = []
    with av.open(str(path)) as container:
        for packet in container.demux(*container.streams.audio):
            if packet.size:
                sound.append(f"{packet.pts} {_digest(bytes(packet))}")
    return Film(tuple(frames), tuple(times), tuple(sound))


def count_packets(path: Path) -> int:
    """Video packets of an unfinished film, as far as it can be read."""
    count = 0
    try:
        with av.open(str(path)) as container:
            for packet in container.demux(video=0):
                count += bool(packet.size)
    except (OSError, IndexError, ValueError, av.FFmpegError):
        pass
    return count


def picture_digest(path: Path) -> str:
    """Of a picture's pixels; empty for one that cannot be decoded."""
    try:
        with Image.open(path) as image:
            return _digest(image.convert("RGB").tobytes())
    except (OSError, SyntaxError, ValueError):
        return ""


class Shelf:
    """The inputs of a campaign, made when they are first asked for.

    Args:
        folder: for them and for all that the campaign writes.
        seconds: length of the film.
        count: pictures of the folder.
    """

    def __init__(self, folder: Path, *, seconds: float, count: int) -> None:
        self.folder, self.seconds, self.count = folder, seconds, count

    def fresh(self, name: str) -> Path:
        """A new empty folder."""
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    @property
    def logs(self) -> Path:
        """The folder for what runs print."""
        path = self.folder / "logs"
        path.mkdir(exist_ok=True)
        return path

    def film(self) -> Path:
        """A film with sound, some checkpoints long."""
        path = self.folder / "film.mp4"
        return path if path.exists() else make_film(path, SMALL, round(24 * self.seconds))

    def pictures(self) -> Path:
        """A folder of pictures in two subfolders."""
        return self._made("pictures", self._make_pictures)

    def kinds(self) -> list[Path]:
        """A short film of each of `KINDS`, and a picture of each of `FORMATS`."""
        return sorted(self._made("kinds", _make_kinds).iterdir())

    def colors(self) -> Path:
        """A folder of color pictures for training and evaluation."""
        return self._made("colors", _make_colors)

    def _made(self, name: str, make: Callable[[Path], None]) -> Path:
        path = self.folder / name
        if not path.exists():
            part = self.fresh(f"{name} in the making")
            make(part)
            part.rename(path)
        return path

    def _make_pictures(self, folder: Path) -> None:
        for number, picture in enumerate(pictures(SMALL, self.count)):
            name = folder / ("a" if number % 2 else "b") / f"{number:03}.png"
            name.parent.mkdir(exist_ok=True)
            Image.fromarray(picture).save(name)


def _make_kinds(folder: Path) -> None:
    for name, (video, pix_fmt, audio) in KINDS.items():
        _short_film(folder / name, video, pix_fmt, audio)
    (picture,) = pictures(SMALL, 1)
    for suffix in FORMATS:
        Image.fromarray(picture).save(folder / f"picture.{suffix}")


def _make_colors(folder: Path) -> None:
    random = np.random.default_rng(5)
    for number in range(12):
        coarse = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((64, 64)).save(folder / f"{number:02}.png")


def _short_film(path: Path, codec: str, pix_fmt: str, audio: str) -> None:
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream(codec, rate=24)
        video.width, video.height, video.pix_fmt = SMALL.width, SMALL.height, pix_fmt
        video.codec_context.thread_count = 1
        video.codec_context.gop_size = 8
        sound: Any = container.add_stream(audio, rate=48_000, layout="mono")
        sound_format = sound.codec_context.format.name
        resampler = av.AudioResampler(sound_format, "mono", 48_000)
        fifo = av.AudioFifo()
        size = 1024
        for index, picture in enumerate(pictures(SMALL, 24)):
            frame = av.VideoFrame.from_ndarray(picture, format="gray").reformat(format=pix_fmt)
            frame.pts = index
            container.mux(video.encode(frame))
            wave = (8000 * np.sin(np.arange(2000) / 30)).astype(np.int16)
            samples = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
            samples.sample_rate, samples.pts = 48_000, index * 2000
            for part in resampler.resample(samples):
                fifo.write(part)
            size = sound.codec_context.frame_size or 1024
            while (block := fifo.read(size)) is not None:
                container.mux(sound.encode(block))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))


def reports(text: str) -> list[dict[str, Any]]:
    """The JSON lines of a run."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
