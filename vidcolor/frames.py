"""Data types passed between the stages: properties of a film, batches of luma and of color.

They do not depend on PyAV or the models. Time is an integer `pts` in units of a `time_base`, an
exact fraction of a second. Color code points are the integers of ITU-T H.273, as in FFmpeg.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .marks import Marks
from .options import OptionError, option, parse_time

if TYPE_CHECKING:  # the command line imports this module, and torch takes seconds
    import torch
    from torch import Tensor

# What a film's output can take over from its input beside the video.
COPY_KINDS = ("audio", "subtitles", "attachments", "data", "chapters")
COPY_ALL = frozenset(COPY_KINDS)

Bars = tuple[int, int, int, int]  # pixels of black at the top, bottom, left and right of a frame
NO_BARS: Bars = (0, 0, 0, 0)

UNSPECIFIED = 2  # "unspecified" among the H.273 code points of matrix, primaries and transfer


@dataclass(frozen=True)
class ColorTags:
    """Meaning of a stream's codes as colors.

    Attributes:
        full_range: black is luma 0 (True), or luma 16 at 8 bits (False).
        matrix: name of the Y'CbCr matrix, a key of `codes.LUMA_COEFFICIENTS`. What a stream without
            a tag is taken for, `sources.color_tags` says.
        primaries: H.273 code point, 2 for unspecified.
        transfer: H.273 code point, 2 for unspecified.
    """

    full_range: bool
    matrix: str
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED


@dataclass(frozen=True)
class StreamInfo:
    """One stream of a container: its index there, kind (`video`, `audio`, `subtitle`,
    `attachment`, `data`), codec name and language (empty if not tagged)."""

    index: int
    kind: str
    codec: str
    language: str = ""


@dataclass(frozen=True)
class VideoInfo:
    """Properties of a film, known before its frames are decoded.

    Attributes:
        width, height: coded size in pixels, before rotation.
        pix_fmt: FFmpeg's name of the decoded pixel format.
        bit_depth: bits of a luma code in `LumaBatch.luma`, 8 to 16.
        subsampling: horizontal and vertical chroma factor of `pix_fmt`; (1, 1) for formats without
            chroma planes (gray, RGB, palette).
        has_luma: the stream has a luma plane (gray or Y'CbCr), which is delivered bit for bit.
            Otherwise luma is computed from R'G'B' at full range.
        tags: meaning of the codes in `LumaBatch.luma`.
        time_base: unit of all pts and durations, seconds.
        average_rate: frames a second; None if the container gives none.
        num_frames_from_header: None if the header gives none.
        duration_seconds: from the header; None if it gives none.
        sample_aspect_ratio: width of a pixel divided by its height; None for unknown.
        rotation: clockwise rotation in degrees (0, 90, 180 or 270) that makes a frame upright.
        display_matrix: the nine integers of the container's display matrix, or None.
        interlaced: the first frame is flagged as interlaced.
        field_order: first field of an interlaced first frame: `tt` for top, `bb` for bottom; empty
            for progressive.
        streams: every stream of the container, in order.
        num_chapters: number of chapters of the container.
        is_color: chroma was found in the first frames.
        first_pts: of the first frame, None if it carries none.
        has_own_duration: `duration_seconds` is the video's and not a longer sound track's.
        extras: what the first frame carries that no output keeps, in plain words.
        is_playlist: the file is a playlist that names others.
        combed: the frames are interlaced and stay so: each shows two moments.
        tint: a*, b* of a tinted or toned print; None for any other film.
        notes: what was found out about it and is done, one line each, without its name.
        timecode: of the first frame, empty for none.
        first_number: of the files of a numbered sequence; None for a film.
        guessed_times: its times are a reader's guess; what counts is how long each frame is shown.
    """

    path: Path
    codec: str
    width: int
    height: int
    pix_fmt: str
    bit_depth: int
    subsampling: tuple[int, int]
    has_luma: bool
    tags: ColorTags
    time_base: Fraction
    average_rate: Fraction | None
    num_frames_from_header: int | None
    duration_seconds: float | None
    sample_aspect_ratio: Fraction | None = None
    rotation: int = 0
    display_matrix: tuple[int, ...] | None = None
    interlaced: bool = False
    streams: tuple[StreamInfo, ...] = ()
    num_chapters: int = 0
    is_color: bool = False
    field_order: str = ""
    first_pts: int | None = None
    has_own_duration: bool = False
    extras: tuple[str, ...] = ()
    is_playlist: bool = False
    combed: bool = False
    tint: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()
    timecode: str = ""
    first_number: int | None = None
    guessed_times: bool = False


@dataclass(frozen=True)
class Segment:
    """A part of a film: `start` <= time < `end`, seconds from the first frame; None is open.

    Raises:
        OptionError: `end` is not later than `start`.
    """

    start: Fraction | None = option(
        None, parse=parse_time, metavar="TIME", help="Begin at this time (seconds or HH:MM:SS.fff)."
    )
    end: Fraction | None = option(
        None, parse=parse_time, metavar="TIME", help="Stop before this time."
    )

    def __post_init__(self) -> None:
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise OptionError("end", f"must be later than the start, {float(self.start):g} seconds")

    @property
    def is_full(self) -> bool:
        return self.start is None and self.end is None


WHOLE = Segment()


@dataclass(frozen=True)
class Checkpoint:
    """A place in a film where a run that ended can be resumed, without a change of any pixel.

    Attributes:
        frames: number of frames before it.
        pts: of the next frame, in the film's time base.
        batch: number of frames in the next batch; later ones are full. With other batches the
            network's results would differ in their last bits.
        cut: whether a shot begins with the next frame.
        shot: number of the last shot before it, -1 for none.
        state: the stabilizer's state, None if a shot begins.
        bars: of the frame before it.
    """

    frames: int
    pts: int
    batch: int
    cut: bool
    shot: int
    state: Any = None
    bars: Bars = NO_BARS


@dataclass(frozen=True)
class PixelFormat:
    """A pixel format that `compose` writes and a sink accepts.

    Attributes:
        name: FFmpeg's name of a planar format, such as `yuv420p10le` or `gbrp`; for pictures
            `rgb24` or `rgb48`.
        bit_depth: 8 to 16.
        subsampling: horizontal and vertical chroma factor, 1 or 2.
        rgb: planes are R'G'B' (full range) instead of Y'CbCr.
        tags: range, matrix, primaries and transfer to write.
    """

    name: str
    bit_depth: int
    subsampling: tuple[int, int]
    rgb: bool
    tags: ColorTags


def picture_format(bit_depth: int) -> PixelFormat:
    """Output format of a still picture with luma of `bit_depth` bits: R'G'B' at 8 or 16 bits."""
    tags = ColorTags(full_range=True, matrix="smpte170m")
    deep = bit_depth > 8
    return PixelFormat("rgb48" if deep else "rgb24", 16 if deep else 8, (1, 1), True, tags)


@dataclass(frozen=True)
class PictureInfo:
    """Origin of a still picture, and the metadata kept from its file.

    Attributes:
        path: the input file.
        output: the output file.
        exif: raw EXIF block, empty if none; its orientation is that of the file, while the
            pixels are upright.
        icc_profile: raw ICC profile of the RGB space to write in, empty for sRGB.
        wide: that space is not sRGB.
        alpha: `(H, W)` uint8 or uint16 transparency, or None.
        open_alpha: in place of `alpha` for a large picture: reads it from the file again, as a
            libvips image that gives its rows once, from the top.
        dpi: horizontal and vertical pixels an inch of the upright picture, or None.
        xmp: raw XMP packet (XML), empty if none; its orientation is 1.
        comment: raw comment of a JPEG file, empty if none.
        text: keywords and texts of a PNG file.
        iptc: raw IPTC records, empty if none.
        bit_depth: bits a channel to write, 8 or 16; 0 for those of the luma.
        quality: JPEG quality of the file, 1 to 100; 0 for unknown or another format.
        lossless: a WebP file whose pixels are kept exactly.
        compression: of a TIFF file, by libvips' name; empty for another format.
        page, pages: number of this picture among those of its file, from 0, and their count.
        delays, loop: milliseconds each frame of an animation is shown, and how often it is played,
            0 for ever.
        marks: what the output says of its origin, None for nothing.
    """

    path: Path
    output: Path
    exif: bytes = b""
    icc_profile: bytes = b""
    wide: bool = False
    alpha: Tensor | None = None
    open_alpha: Callable[[], Any] | None = None
    dpi: tuple[float, float] | None = None
    xmp: bytes = b""
    comment: bytes = b""
    text: tuple[tuple[str, str], ...] = ()
    iptc: bytes = b""
    bit_depth: int = 0
    quality: int = 0
    lossless: bool = False
    compression: str = ""
    page: int = 0
    pages: int = 1
    delays: tuple[int, ...] = ()
    loop: int = 0
    marks: Marks | None = None


@dataclass(frozen=True)
class LumaBatch:
    """Consecutive frames of one film, or one still picture.

    Attributes:
        luma: `(B, 1, H, W)` integer codes, uint8, or uint16 above 8 bits. B may be 0 in the last
            batch of a damaged film.
        bit_depth: bits of a code.
        full_range: whether code 0 is black.
        pts: B integers in the film's time base, as decoded.
        durations: B integers in the film's time base, 0 for unknown.
        first_index: number of the first frame in the segment, from 0.
        rotation: clockwise rotation in degrees that makes the frames upright.
        picture: set for a still picture, for which B is 1.
        is_color: chroma was found in these frames.
        damage: one line for each part of the input that could not be read.
        notes: one line for each remark on the input; each is delivered once.
        combed: the frames are interlaced; the network is to look at one field.
        transfer: H.273 code point of the luma's transfer, which counts for PQ and HLG.
        tint: a*, b* that is added to the predicted color.
        bars: where all its frames have black bars; before `mark_bars`, where the film has them.
        cuts: for each frame, whether a shot begins with it, or other bars do; empty before
            `mark_cuts`.
        shots: for each frame, the number of its shot from 0; empty before `mark_cuts`.
        numbers: for each frame, its number in the film, where shots are listed; else empty.
        checkpoint: the one before the first frame, if there is one.
    """

    luma: Tensor
    bit_depth: int
    full_range: bool
    pts: tuple[int, ...]
    durations: tuple[int, ...]
    first_index: int = 0
    rotation: int = 0
    picture: PictureInfo | None = None
    is_color: bool = False
    damage: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())
    combed: bool = False
    transfer: int = UNSPECIFIED
    tint: tuple[float, float] = (0.0, 0.0)
    bars: Bars = NO_BARS
    cuts: tuple[bool, ...] = ()
    shots: tuple[int, ...] = ()
    numbers: tuple[int, ...] = ()
    checkpoint: Checkpoint | None = None

    def __len__(self) -> int:
        return self.luma.shape[0]

    def __getitem__(self, part: slice) -> LumaBatch:
        """Select frames; the result keeps the damage and notes of the batch."""
        start, _, _ = part.indices(len(self))
        return replace(
            self,
            luma=self.luma[part],
            pts=self.pts[part],
            durations=self.durations[part],
            first_index=self.first_index + start,
            cuts=self.cuts[part],
            shots=self.shots[part],
            numbers=self.numbers[part],
            checkpoint=None if start else self.checkpoint,
        )

    @property
    def device(self) -> torch.device:
        """Device of the luma."""
        return self.luma.device

    def to(self, device: torch.device | str, non_blocking: bool = False) -> LumaBatch:
        """Return the batch with its luma on `device`."""
        return replace(self, luma=self.luma.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> LumaBatch:
        """Return the batch in page-locked memory; `DataLoader(pin_memory=True)` calls this."""
        return replace(self, luma=self.luma.pin_memory())


@dataclass(frozen=True)
class ColorBatch:
    """A composed batch, ready for a sink.

    Attributes:
        planes: Y, Cb, Cr or R, G, B: three tensors of codes on the CPU, uint8, or int32 above 8
            bits. The first is `(B, H, W)`; the sides of the others are divided by the format's
            subsampling and rounded up.
        format: pixel format of the planes.
        source: the batch that they were made from, with its pts, durations, picture and damage.
    """

    planes: tuple[Tensor, Tensor, Tensor]
    format: PixelFormat
    source: LumaBatch

    def __len__(self) -> int:
        return len(self.source)
