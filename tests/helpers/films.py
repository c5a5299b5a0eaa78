"""Tiny films with every kind of stream, made by PyAV, and the batches that go into a sink."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from vidcolor.frames import ColorBatch, ColorTags, LumaBatch, PixelFormat, StreamInfo, VideoInfo

# The text encoders want a header in ASS form.
_ASS_HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial,16

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


@dataclass(frozen=True)
class FilmSpec:
    """What a test film has; times in `time_base`."""

    name: str = "in.mkv"
    size: tuple[int, int] = (64, 48)
    pts: tuple[int, ...] = tuple(range(12))
    time_base: Fraction = Fraction(1, 12)
    last_duration: int = 1
    video: str = "libx264"
    pix_fmt: str = "yuv420p"
    audio: tuple[str, ...] = ("aac",)
    subtitle: str = ""
    fonts: tuple[str, ...] = ()
    chapters: int = 0
    cover: bool = False
    rotation: int = 0
    aspect: Fraction | None = None
    language: str = "fra"
    metadata: dict[str, str] = field(default_factory=lambda: {"title": "A film"})
    full_range: bool = False
    audio_start: float = 0.0
    b_frames: int | None = None


def _rate(spec: FilmSpec) -> Fraction:
    if len(spec.pts) < 2:
        return Fraction(1) / (spec.last_duration * spec.time_base)
    return Fraction(len(spec.pts) - 1, spec.pts[-1] - spec.pts[0]) / spec.time_base


def build_film(folder: Path, spec: FilmSpec) -> Path:
    """Encode a film by its spec; frames are a moving gray ramp."""
    path = folder / spec.name
    width, height = spec.size
    options = {}
    if path.suffix in (".mp4", ".mov"):
        options["video_track_timescale"] = str(spec.time_base.denominator)
        options["movie_timescale"] = str(spec.time_base.denominator * 1000)
    output: Any = av.open(str(path), "w", container_options=options)
    output.metadata.update(spec.metadata)
    video = output.add_stream(
        spec.video, rate=_rate(spec), width=width, height=height, time_base=spec.time_base
    )
    video.pix_fmt = spec.pix_fmt
    video.codec_context.color_range = 2 if spec.full_range else 1
    video.codec_context.colorspace = 5
    if spec.b_frames is not None:
        video.codec_context.max_b_frames = spec.b_frames
        if spec.video == "libx264":
            parameters = f"bframes={spec.b_frames}:b-adapt=0:scenecut=0"
            video.codec_context.options = {"x264-params": parameters}
    if spec.aspect:
        video.codec_context.sample_aspect_ratio = spec.aspect
    if spec.rotation:
        video.set_display_rotation(-spec.rotation)
    video.metadata.update({"language": spec.language, "title": "picture"})
    sounds = []
    for number, codec in enumerate(spec.audio):
        sound = output.add_stream(codec, rate=48000)
        sound.metadata.update({"language": ("eng", "deu")[number % 2], "title": f"sound {number}"})
        sounds.append(sound)
    text = None
    if spec.subtitle:
        text = output.add_stream(spec.subtitle)
        text.codec_context.subtitle_header = _ASS_HEADER
        text.codec_context.time_base = Fraction(1, 1000)
        text.metadata.update({"language": "swe"})
    for font in spec.fonts:
        output.add_attachment(font, "font/ttf", b"not really a font " * 20)
    if spec.cover:
        output.add_attachment("cover.jpg", "image/jpeg", _jpeg())
    seconds = float((spec.pts[-1] + spec.last_duration) * spec.time_base)
    step = seconds / max(spec.chapters, 1)
    output.set_chapters(
        [
            {
                "id": number + 1,
                "start": round(number * step * 1000),
                "end": round((number + 1) * step * 1000),
                "time_base": Fraction(1, 1000),
                "metadata": {"title": f"chapter {number}"},
            }
            for number in range(spec.chapters)
        ]
    )
    output.start_encoding()
    packets: list[Any] = []
    for index, pts in enumerate(spec.pts):
        gray = (np.arange(width) * 3 + index * 5) % 200 + 20
        frame = av.VideoFrame.from_ndarray(
            np.broadcast_to(gray.astype(np.uint8), (height, width)).copy(), "gray"
        ).reformat(format=spec.pix_fmt)
        frame.pts, frame.time_base = pts, spec.time_base
        packets += video.encode(frame)
    packets += video.encode(None)
    ends = dict(zip(spec.pts, (*spec.pts[1:], spec.pts[-1] + spec.last_duration), strict=True))
    for packet in packets:
        packet.duration = ends[packet.pts] - packet.pts
    for sound in sounds:
        packets += _sound(sound, seconds, spec.audio_start)
    if text is not None:
        packets += _subtitles(text, seconds)
    for packet in sorted(packets, key=lambda each: each.dts * each.time_base):
        output.mux(packet)
    output.close()
    return path


def _jpeg() -> bytes:
    context: Any = av.CodecContext.create("mjpeg", "w")
    context.width, context.height, context.pix_fmt = 16, 16, "yuvj420p"
    context.time_base = Fraction(1)
    frame = av.VideoFrame(16, 16, "yuvj420p")
    return bytes((context.encode(frame) + context.encode(None))[0])


def _sound(stream: Any, seconds: float, start: float) -> list[Any]:
    packets: list[Any] = []
    size = stream.codec_context.frame_size or 1024
    for number in range(max(round(seconds * 48000 / 1024), 1)):
        layout, format = stream.codec_context.layout.name, stream.codec_context.format.name
        frame = av.AudioFrame(format=format, layout=layout, samples=size)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate = 48000
        frame.pts, frame.time_base = round(start * 48000) + number * size, Fraction(1, 48000)
        packets += stream.encode(frame)
    return packets + list(stream.encode(None))


def _subtitles(stream: Any, seconds: float) -> list[Any]:
    packets = []
    for number, moment in enumerate((0.1, seconds * 0.7)):
        payload = f"line {number}".encode()
        if stream.name == "ass":
            payload = f"{number},0,Default,,0,0,0,,line {number}".encode()
        elif stream.name == "mov_text":
            payload = len(payload).to_bytes(2, "big") + payload
        packet = av.Packet(payload)
        packet.stream, packet.time_base = stream, Fraction(1, 1000)
        packet.pts = packet.dts = round(moment * 1000)
        packet.duration = round(seconds * 200)
        packets.append(packet)
    return packets


def read_facts(path: Path) -> VideoInfo:
    """The facts a source would give, as far as a sink uses them."""
    with av.open(str(path)) as container:
        video: Any = container.streams.video[0]
        streams = tuple(
            StreamInfo(
                each.index,
                each.type,
                each.codec_context.codec.canonical_name if each.codec_context else "unknown",
                each.language or "",
            )
            for each in container.streams
        )
        chapters = len(container.chapters())
        frame = next(container.decode(video))
        components = frame.format.components
        chroma = components[1] if len(components) > 2 and not frame.format.is_rgb else None
        return VideoInfo(
            path=path,
            codec=video.codec_context.codec.canonical_name,
            width=video.width,
            height=video.height,
            pix_fmt=frame.format.name,
            bit_depth=components[0].bits,
            subsampling=(
                (round(frame.width / chroma.width), round(frame.height / chroma.height))
                if chroma
                else (1, 1)
            ),
            has_luma=not frame.format.is_rgb,
            tags=ColorTags(frame.color_range == 2, "smpte170m"),
            time_base=Fraction(video.time_base),
            average_rate=Fraction(video.average_rate) if video.average_rate else None,
            num_frames_from_header=video.frames or None,
            duration_seconds=None,
            sample_aspect_ratio=video.sample_aspect_ratio,
            rotation=-frame.rotation % 360,
            display_matrix=_display_matrix(frame),
            streams=streams,
            num_chapters=chapters,
        )


def _display_matrix(frame: Any) -> tuple[int, ...] | None:
    side = frame.side_data.get("DISPLAYMATRIX")
    return None if side is None else tuple(np.frombuffer(bytes(side), np.int32).tolist())


def make_batches(
    path: Path, facts: VideoInfo, format: PixelFormat, size: int = 5
) -> list[ColorBatch]:
    """Random planes with the film's own pts and durations, in batches of `size`."""
    with av.open(str(path)) as container:
        frames = [(each.pts, each.duration) for each in container.decode(video=0)]
    assert all(pts is not None for pts, _ in frames)
    return batches_of(facts, format, frames, size)  # type: ignore[arg-type]


def batches_of(
    facts: VideoInfo, format: PixelFormat, frames: list[tuple[int, int]], size: int = 5
) -> list[ColorBatch]:
    generator = torch.Generator().manual_seed(0)
    dtype = torch.uint8 if format.bit_depth == 8 else torch.int32
    across, down = format.subsampling
    small = (-(-facts.height // down), -(-facts.width // across))
    shapes = ((facts.height, facts.width), small, small)
    batches = []
    for start in range(0, len(frames), size):
        part = frames[start : start + size]
        y, u, v = (
            torch.randint(
                16 << (format.bit_depth - 8),
                235 << (format.bit_depth - 8),
                (len(part), *shape),
                generator=generator,
            ).to(dtype)
            for shape in shapes
        )
        luma = LumaBatch(
            luma=torch.zeros(len(part), 1, 1, 1, dtype=torch.uint8),
            bit_depth=8,
            full_range=False,
            pts=tuple(pts for pts, _ in part),
            durations=tuple(duration for _, duration in part),
            first_index=start,
        )
        batches.append(ColorBatch((y, u, v), format, luma))
    return batches


@dataclass(frozen=True)
class Entry:
    """One stream of a read-back film; times are exact seconds."""

    kind: str
    codec: str
    language: str
    title: str
    default: bool
    times: tuple[Fraction, ...]
    order: tuple[int, ...]  # places of its packets in the file
    payload: tuple[bytes, ...]


def read_streams(path: Path) -> list[Entry]:
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux() if packet.size]
        entries = []
        for stream in container.streams:
            own = [each for each in enumerate(packets) if each[1].stream_index == stream.index]
            entries.append(
                Entry(
                    kind=stream.type,
                    codec=stream.codec_context.codec.canonical_name
                    if stream.codec_context
                    else "unknown",
                    language=stream.language or "",
                    title=stream.metadata.get("title", stream.metadata.get("handler_name", "")),
                    default=bool(stream.disposition & 1),
                    times=tuple(sorted((each.pts or 0) * each.time_base for _, each in own)),
                    order=tuple(place for place, _ in own),
                    payload=tuple(bytes(each) for _, each in own),
                )
            )
        return entries


def read_frames(path: Path) -> list[Any]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


FilmMaker = Callable[..., tuple[Path, VideoInfo]]
