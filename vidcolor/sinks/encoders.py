"""What the encoders of `encoder_table` can do in this FFmpeg build: which are there, their options
for a film, and the pixel format it gets."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import MappingProxyType

import av
import torch
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from ..errors import OutputError
from ..frames import ColorTags, PixelFormat, VideoInfo
from ..system.threads import keep_scheduling
from .encoder_table import ENCODERS, Encoder, EncoderSettings, find_encoder

_environment_lock = threading.Lock()
_DEPTHS = {"": 8, "10le": 10, "12le": 12, "16le": 16}
_LAYOUTS = {"yuv420p": (2, 2), "yuv422p": (2, 1), "yuv444p": (1, 1), "gbrp": (1, 1)}
# name -> (bit depth, subsampling, rgb): every planar format `compose` writes.
PLANAR_FORMATS = MappingProxyType(
    {
        layout + suffix: (depth, factors, layout == "gbrp")
        for layout, factors in _LAYOUTS.items()
        for suffix, depth in _DEPTHS.items()
    }
)


@cache
def _built_formats(name: str) -> tuple[str, ...]:
    """The formats of `PLANAR_FORMATS` that the encoder takes; empty if this build lacks it."""
    try:
        formats = av.Codec(name, "w").video_formats or []
    except av.codec.codec.UnknownCodecError:
        return ()
    names = {each.name for each in formats}
    if chosen := find_encoder(name).formats:
        names &= set(chosen)
    return tuple(each for each in PLANAR_FORMATS if each in names)


@contextmanager
def _environment(encoder: Encoder) -> Iterator[None]:
    """Set the environment variables that an encoder needs, and put them and the scheduling back.

    A variable that the user has set keeps its value.
    """
    with _environment_lock, keep_scheduling():
        added = {key: value for key, value in encoder.environment.items() if key not in os.environ}
        os.environ.update(added)
        try:
            yield
        finally:
            for key in added:
                os.environ.pop(key, None)


def open_encoder(video: VideoStream, name: str) -> None:
    """Open the encoder of an output's stream, ready for its first frame.

    Raises:
        av.error.FFmpegError: it refuses its settings.
    """
    with _environment(find_encoder(name)):
        video.codec_context.open(strict=False)


@contextmanager
def encoding(source: Path, name: str) -> Iterator[None]:
    """Turn an encoder's error into an `OutputError`; it is none of the container or the disk.

    Args:
        source: the film that is encoded.
        name: of the encoder.
    """
    try:
        yield
    except FFmpegError as error:
        raise OutputError(
            f"{source}: the encoder {name} gave up ({error.strerror}); it may lack memory: free "
            "some, raise this program's limit, or take a faster --preset or another --encoder"
        ) from error


@cache
def _opens(name: str) -> bool:
    encoder, context = find_encoder(name), av.CodecContext.create(name, "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height = 256, 256  # above every hardware encoder's least size
    context.pix_fmt = _built_formats(name)[0]
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
    context.options = dict(encoder.options)
    with _environment(encoder):
        try:
            context.open()
        except FFmpegError:
            return False
    return True


def available_encoders() -> tuple[str, ...]:
    """The names in `ENCODERS` that this FFmpeg build has and that open on this machine."""
    return tuple(name for name in ENCODERS if _built_formats(name) and _opens(name))


def encoder_options(settings: EncoderSettings, format: PixelFormat, width: int) -> dict[str, str]:
    """The FFmpeg options of an encoder for these settings.

    Args:
        settings: the user's choice.
        format: of the film.
        width: of the film, in pixels.

    Raises:
        OutputError: the encoder is unknown or does not open here, or it has no such setting.
    """
    encoder = find_encoder(settings.encoder)
    if not (_built_formats(settings.encoder) and _opens(settings.encoder)):
        needs = f" (it needs {encoder.needs})" if encoder.needs else ""
        raise OutputError(
            f"encoder {settings.encoder} cannot be used on this machine{needs}; "
            f"take one of {', '.join(available_encoders())} with --encoder"
        )
    options = dict(encoder.options)
    crf = encoder.crf if settings.crf is None else settings.crf
    if crf is not None:
        if not encoder.crf_option:
            raise OutputError(f"encoder {settings.encoder} has no quality scale; leave out --crf")
        if not 0 <= crf <= encoder.max_crf:
            raise OutputError(
                f"--crf {crf:g} is outside {settings.encoder}'s scale of 0 to {encoder.max_crf:g}"
            )
        options[encoder.crf_option] = f"{crf:g}"
    preset = encoder.preset if settings.preset is None else settings.preset
    if preset is None:
        preset = encoder.profiles.get(format.subsampling)
    if preset is not None:
        if not encoder.preset_option:
            raise OutputError(f"encoder {settings.encoder} has no presets; leave out --preset")
        if encoder.presets and preset not in encoder.presets and not preset.isdigit():
            raise OutputError(
                f"--preset {preset} is not known to {settings.encoder}; "
                f"take one of {', '.join(encoder.presets)}"
            )
        options[encoder.preset_option] = preset
    slices = next((number for least, number in encoder.slices if width >= least), 0)
    if slices:
        options["slices"] = str(slices)
    if settings.encoder == "libx264" and torch.backends.cpu.get_cpu_capability() == "AVX512":
        # x264's AVX-512 code reads memory that is not set, so that two runs differ (build 165).
        options["x264-params"] = "asm=avx2"
    return options


def _fits_size(name: str, subsampling: tuple[int, int], facts: VideoInfo) -> bool:
    if find_encoder(name).odd_subsampled:
        return True
    return facts.width % subsampling[0] == 0 and facts.height % subsampling[1] == 0


def encoder_formats(name: str, facts: VideoInfo | None = None) -> tuple[str, ...]:
    """The planar formats of `PLANAR_FORMATS` that an encoder takes, by FFmpeg's names.

    Args:
        name: a key of `ENCODERS`.
        facts: leaves out the formats that cannot hold this film's size exactly.

    Raises:
        OutputError: the encoder is unknown, or not in this FFmpeg.
    """
    find_encoder(name)
    formats = _built_formats(name)
    if not formats:
        raise OutputError(
            f"encoder {name} is not in this FFmpeg; "
            f"take one of {', '.join(available_encoders())} with --encoder"
        )
    if facts is None:
        return formats
    return tuple(each for each in formats if _fits_size(name, PLANAR_FORMATS[each][1], facts))


def _source_subsampling(facts: VideoInfo, encoder: Encoder) -> tuple[int, int]:
    if not facts.has_luma or len(av.VideoFormat(facts.pix_fmt).components) < 3:
        return encoder.default_subsampling
    horizontal, vertical = (min(factor, 2) for factor in facts.subsampling)
    return (1, 1) if horizontal == 1 else (horizontal, vertical)  # no 4:4:0: finer is 4:4:4


def _ranked(depth: int, wanted: tuple[int, int]) -> Iterator[tuple[int, tuple[int, int]]]:
    """Pairs of bit depth and subsampling, the nearest first: the wanted depth, then deeper ones,
    then shallower ones; within a depth the wanted subsampling, then finer, then coarser."""
    depths = sorted(_DEPTHS.values(), key=lambda each: (each < depth, abs(each - depth)))
    ladder: list[tuple[int, int]] = [(2, 2), (2, 1), (1, 1)]
    place = ladder.index(wanted)
    chroma = ladder[place:] + ladder[:place][::-1]
    for bits in depths:
        for factors in chroma:
            yield bits, factors


def choose_pixel_format(facts: VideoInfo, settings: EncoderSettings) -> PixelFormat:
    """The format a film is written in.

    By default it keeps the source's chroma subsampling, range, matrix, primaries and transfer, and
    its bit depth, or the next higher one of 8, 10, 12 and 16, as far as the encoder goes. Gray, RGB
    and palette sources get 4:2:0 (ffv1 4:4:4, prores_ks 4:2:2). A source without a luma plane is
    written in limited range. An odd size that H.264 or HEVC cannot hold in 4:2:0 gets 4:2:2 (odd
    height) or 4:4:4 (odd width), so the picture keeps its size exactly without a padded edge.

    Raises:
        OutputError: the encoder is unknown, the film is too small for it, or it does not take
            `pix_fmt`; the message names the formats it takes.
    """
    encoder = find_encoder(settings.encoder)
    if min(facts.width, facts.height) < encoder.least_size:
        raise OutputError(
            f"{facts.path}: {facts.width}x{facts.height} is too small for {settings.encoder}; "
            f"it takes {encoder.least_size}x{encoder.least_size} and more; choose another --encoder"
        )
    usable = encoder_formats(settings.encoder, facts)
    if settings.pix_fmt is not None:
        if settings.pix_fmt not in usable:
            odd = (
                ""
                if settings.pix_fmt not in encoder_formats(settings.encoder)
                else (f" at the odd size {facts.width}x{facts.height}")
            )
            raise OutputError(
                f"{facts.path}: {settings.encoder} cannot write {settings.pix_fmt}{odd}; "
                f"it takes --pix-fmt {', '.join(usable)}"
            )
        name = settings.pix_fmt
    else:
        by_kind = {PLANAR_FORMATS[each][:2]: each for each in usable if not PLANAR_FORMATS[each][2]}
        depth = next(step for step in _DEPTHS.values() if facts.bit_depth <= step)
        pairs = _ranked(depth, _source_subsampling(facts, encoder))
        found = next((by_kind[pair] for pair in pairs if pair in by_kind), None)
        if found is None:
            raise OutputError(
                f"{facts.path}: {settings.encoder} cannot hold the odd size "
                f"{facts.width}x{facts.height}; choose another --encoder"
            )
        name = found
    depth, subsampling, rgb = PLANAR_FORMATS[name]
    full_range = rgb or (facts.has_luma and facts.tags.full_range and encoder.carries_full_range)
    tags: ColorTags = replace(facts.tags, full_range=full_range)
    return PixelFormat(name=name, bit_depth=depth, subsampling=subsampling, rgb=rgb, tags=tags)


def codes_fields(facts: VideoInfo, encoder: str, format: PixelFormat) -> bool:
    """Whether the encoder codes the film's frames as interlaced."""
    row = find_encoder(encoder)
    if not facts.field_order or not row.interlaced:
        return False
    return not row.equal_fields or facts.height % (2 * format.subsampling[1]) == 0


def format_notes(facts: VideoInfo, settings: EncoderSettings, format: PixelFormat) -> list[str]:
    """One line for each property of the source that the format changes, for the plan."""
    notes = []
    if settings.pix_fmt is None and not _fits_size(settings.encoder, (2, 2), facts):
        notes.append(
            f"{facts.width}x{facts.height} is an odd size, written as {format.name}: "
            f"{settings.encoder} holds no odd size in 4:2:0"
        )
    if facts.field_order and not codes_fields(facts, settings.encoder, format):
        notes.append(
            f"{settings.encoder} cannot mark the frames as interlaced in {format.name} at "
            f"{facts.width}x{facts.height}; at most the container says so"
        )
    if format.bit_depth < facts.bit_depth:
        notes.append(f"{facts.bit_depth} bits become {format.bit_depth}")
    if facts.has_luma and facts.tags.full_range and not format.tags.full_range:
        notes.append(f"full range becomes limited: {settings.encoder} has no flag for it")
    return notes
