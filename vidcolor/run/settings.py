"""What a run can be told, and what it tells: options, reports, progress.

Importing this module must not import torch: the command line's help is made from it.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..color.adjust import ColorAdjustment
from ..errors import DeviceError, VidcolorError
from ..frames import COPY_ALL, COPY_KINDS, WHOLE, Segment
from ..options import OptionError, check_options, option, parse_rate, words
from ..sinks.encoder_table import EncoderSettings
from .provenance.settings import ProvenanceSettings

logger = logging.getLogger(__name__)


def parse_copy(text: str) -> frozenset[str]:
    """The kinds of streams in `all`, `none` or a comma list of `COPY_KINDS`.

    Raises:
        ValueError: an unknown kind.
    """
    if text in ("all", "none"):
        return COPY_ALL if text == "all" else frozenset()
    chosen = frozenset(kind.strip() for kind in text.split(","))
    if unknown := sorted(chosen - COPY_ALL):
        raise ValueError(f"'{unknown[0]}' is not one of all, none, {', '.join(COPY_KINDS)}")
    return chosen


@dataclass(frozen=True)
class Settings:
    """What a run makes and how. Each field is an option of `vidcolor run` and `vidcolor probe`.

    Raises:
        OptionError: a value is out of range or of another type; it is a ValueError.
        TypeError: `encoder` is not an `EncoderSettings`.
    """

    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    stabilize: bool = option(
        True,
        help="Keep the colors of a film or numbered sequence steady from frame to frame. Photos "
        "are always colored one by one.",
    )
    exact_luma: bool = option(
        False,
        flag="--luma",
        choices={"lightness": False, "exact": True},
        help="Keep the lightness L* of each pixel, or the film's Y' plane bit for bit.",
    )
    copy: frozenset[str] = option(
        COPY_ALL,
        word="all",
        parse=parse_copy,
        metavar="KINDS",
        help=f"Streams to copy into films: all, none, or a list of {','.join(COPY_KINDS)}.",
    )
    quality: int = option(
        95,
        low=1,
        high=100,
        help="Quality of JPEG, WebP and AVIF pictures; a JPEG of higher quality keeps its own.",
    )
    keep_times: bool = option(
        True, help="Give each picture the time of modification of its original."
    )
    large_pictures: bool = option(
        False,
        help="Also read pictures of over 178 million pixels in a file so small that it may be a "
        "decompression bomb.",
    )
    output_chroma: Path | None = option(
        None,
        metavar="FILE",
        help="Write only the Cb and Cr planes into FILE: .mkv (FFV1, lossless) or .mov (ProRes). "
        "They are 4:2:0 unless --pix-fmt says otherwise. 'vidcolor merge' adds them to the film. "
        "Without -o nothing else is written. Implies --luma exact.",
    )
    output_lut: Path | None = option(
        None,
        metavar="FOLDER",
        help="Also write --saturation, --temperature and --tint as 3D LUTs (.cube) into FOLDER: "
        "one for the run, and one for each shot of --shots that has its own settings.",
    )
    segment: Segment = WHOLE
    fps: Fraction | None = option(
        None,
        low=0.001,
        high=1_000_000,
        parse=parse_rate,
        metavar="RATE",
        help="Frame rate of a numbered sequence (frames/%05d.png): 24 or 30000/1001. A film "
        "without a sequence beside it plays at this rate, each frame once, without its sound.",
    )
    batch_size: int | None = option(
        None,
        low=1,
        word="auto",
        help="Frames in a batch. auto: the fastest size that 'vidcolor probe' has measured here, "
        "else a size that suits the device.",
    )
    picture_threads: int | None = option(
        None,
        low=1,
        word="auto",
        help="Threads that read, color and write pictures; films do not use them. auto: one for "
        "each processor, at most 16.",
    )
    on_change: str = option(
        "scale",
        choices=words("scale", "split"),
        help="Where a film's picture changes its size, pixel format or shape: scale the later "
        "frames to the first size, or split the film into parts.",
    )
    deinterlace: str = option(
        "auto",
        choices=words("auto", "off", "fields", "film"),
        help="Deinterlace films. auto: frames that are combed, whatever their flags; the frame "
        "rate stays. off: none. fields: make a frame of each field, at twice the rate. film: undo "
        "2:3 pulldown, to 24000/1001 frames a second.",
    )
    tint_source: str = option(
        "ignore",
        choices=words("ignore", "keep"),
        help="Ignore the tint of a tinted or toned film, such as sepia, or add it to the new "
        "colors. The tint of a picture is always ignored.",
    )
    allow_playlists: bool = option(
        False,
        help="Open playlists (.m3u8, .ffconcat), and with them the local files that they name.",
    )
    resume: bool = option(
        True,
        help="Resume a film where an earlier run of the same command ended. If this run ends "
        "early, keep the finished part of its film. Works for MP4, MOV, MKV, WebM and TS.",
    )
    restart: bool = option(
        False, help="Delete the finished part that an earlier run has left, and begin anew."
    )
    marks: ProvenanceSettings = field(default_factory=ProvenanceSettings)
    timeout: int = option(
        3600,
        low=0,
        metavar="SECONDS",
        help="Give up a picture or film of which nothing was finished for so long, and go on with "
        "the others; try it once more at the end. 0: never give up.",
    )
    overwrite: bool = option(False, short="-y", help="Replace existing outputs.")
    skip_existing: bool = option(
        False,
        help="Skip inputs whose output exists, whatever it was made from. Without this option, "
        "skip those that an earlier run has finished with the same settings, if neither input nor "
        "output has changed since.",
    )

    def __post_init__(self) -> None:
        check_options(self)
        if not isinstance(self.encoder, EncoderSettings):
            raise TypeError(f"encoder must be an EncoderSettings, not {self.encoder!r}")
        if unknown := sorted(set(self.copy) - COPY_ALL):
            raise OptionError("copy", f"takes {', '.join(COPY_KINDS)}, not {unknown[0]}")
        if self.output_chroma is None:
            return
        marks = self.marks
        whole = self.segment.is_full and self.on_change == "scale"
        if not (whole and marks.provenance and marks.label == "none"):
            raise OptionError(
                "output_chroma",
                "needs the whole film and its marks; leave out --start, --end, --on-change split, "
                "--label and --no-provenance",
            )
        object.__setattr__(self, "exact_luma", True)  # as the film's own luma is under the colors


@dataclass(frozen=True)
class ColorizerOptions:
    """Which model colors, where it runs, and what is done to its colors.

    Each field is an option of every command that uses a model.

    Raises:
        OptionError: a value is out of range, or `reference_strength` is given without
            `references`; it is a ValueError.
    """

    model: str | None = option(
        None, metavar="NAME", help="A model by its name; see 'vidcolor models'."
    )
    weights: Path | None = option(
        None, help="A file with your own weights (.safetensors), or a public .pth with --model."
    )
    device: str = option(
        "auto",
        metavar="DEVICE",
        help="auto, cpu, cuda, cuda:N or mps. 'vidcolor run' takes several, with a worker process "
        "for each: cuda:0,cuda:1, all (every CUDA device) or 4xcpu (four times cpu).",
    )
    precision: str = option(
        "auto",
        choices=words("auto", "fp32", "bf16", "fp16"),
        help="Arithmetic of the network. auto: fp16 on CUDA; bf16 on processors that have it, for "
        "models that support it; else fp32.",
    )
    size: int | None = option(
        None,
        low=32,
        high=4096,
        help="Model resolution: the network sees each frame at about SIZE x SIZE pixels, in the "
        "frame's shape. The time grows with the square of SIZE. The output keeps the input's "
        "size. The default is the model's own; see 'vidcolor models'.",
    )
    tta: bool = option(
        False,
        help="Also predict each frame mirrored and take the mean: a little better (0.05 dB), at "
        "twice the model's time.",
    )
    references: str | Path | Sequence[str | Path] = option(
        (),
        flag="--reference",
        repeatable=True,
        metavar="IMAGE",
        help="A color picture of the scene to take colors from; not every model can. With several "
        "pictures, each place takes the color of the one that matches it best. A folder gives one "
        "picture to each shot, in the order of their names; photos and previews use all of them.",
    )
    reference_strength: float | None = option(
        None, low=0, high=1, help="How strongly references count, 0 to 1 [1]."
    )
    reference_gray: str = option(
        "auto",
        choices=words("auto", "keep", "ignore"),
        help="Decide what gray places of references mean. auto: take a place as left uncolored if "
        "places like it have colors. keep: take gray as a color. ignore: take no gray as a color.",
    )
    shots: Path | None = option(
        None,
        metavar="FOLDER",
        help="Take colors from the stills that you have colored in this folder, and the shots from "
        "its shots.toml. 'vidcolor shots' makes the folder.",
    )
    adjustment: ColorAdjustment = field(default_factory=ColorAdjustment)

    def __post_init__(self) -> None:
        check_options(self)
        if self.shots is not None and self.references:
            raise OptionError("shots", "and --reference exclude each other")
        several = () if isinstance(self.references, str | Path) else self.references
        if self.references == "" or "" in several:
            raise OptionError("references", "has an empty name; is a variable unset?")
        if self.reference_strength is not None and not (self.references or self.shots):
            raise OptionError("reference_strength", "needs --reference or --shots")


@dataclass
class Report:
    """What became of one input.

    Attributes:
        status: `done`, `skipped`, `failed`, `incomplete` (a part could not be read; `output` then
            names the file that holds the rest), `renamed` (done, but under another name, because
            the wanted one is another input's) or `planned`.
        frames: frames in the output.
        resumed: number of them that an earlier run had written.
        seconds: wall time.
        error: one line, for `failed`, `incomplete` and `renamed`.
        warnings: one line each.
        transient: the cause of the failure may pass, or not be met on another device.
        restored: an earlier process of the same job has finished the input and announced it.
    """

    input: Path
    output: Path
    status: str
    frames: int = 0
    seconds: float = 0.0
    error: str = ""
    warnings: list[str] = field(default_factory=list)
    resumed: int = 0
    transient: bool = False
    restored: bool = False

    @property
    def fps(self) -> float | None:
        """Frames a second of this run; None without a time."""
        return (self.frames - self.resumed) / self.seconds if self.seconds > 0 else None

    @property
    def is_problem(self) -> bool:
        """Whether `error` says what is not as wanted."""
        return self.status in ("failed", "incomplete", "renamed")

    def rename(self, clash: str) -> None:
        """Note a clash of names, if there is one, of an input that is done."""
        if clash and self.status == "done":
            self.status, self.error = "renamed", clash

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "input": str(self.input),
            "output": str(self.output),
            "status": self.status,
            "frames": self.frames,
            "seconds": round(self.seconds, 3),
            "fps": None if self.fps is None else round(self.fps, 2),
            "resumed": self.resumed,
            "error": self.error,
            "warnings": self.warnings,
        }


def error_line(path: str | Path, error: Exception) -> str:
    """One line on an error that ended the work on `path`. An error that is not vidcolor's own is a
    fault of the program; with `-vv` the log shows where it was raised."""
    if isinstance(error, MemoryError):
        return f"{path}: there is not enough memory; close other programs or lower --batch-size"
    if isinstance(error, VidcolorError):
        return str(error)
    logger.debug("%s: an unexpected error", path, exc_info=error)
    said = " ".join(str(error).split())[:200]
    return (
        f"{path}: could not be worked on, by a fault of vidcolor ({type(error).__name__}: {said}); "
        "run it again with -vv, and report what that prints, with the file"
    )


def failed(path: Path, output: Path, error: Exception) -> Report:
    """The report of an input that an error ended; see `error_line`."""
    line = error_line(path, error)
    return Report(path, output, "failed", error=line, transient=is_transient(error))


def is_transient(error: Exception) -> bool:
    """Whether the cause of an error may pass, or not be met on another device or with less work at
    a time: anything but what is plainly the input's or the user's."""
    if isinstance(error, VidcolorError) and not isinstance(error, DeviceError):
        cause = error.__cause__
        return isinstance(cause, OSError) and cause.errno in _PASSING
    return not isinstance(error, OSError) or error.errno not in _LASTING


# What a disk or a network drive says that may be gone later; and what will still be so.
_PASSING = frozenset((
    errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN,
    errno.EBUSY, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENETDOWN, errno.EHOSTDOWN,
    errno.ECONNRESET,
))  # fmt: skip
_LASTING = frozenset((
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS,
    errno.ENAMETOOLONG, errno.ELOOP,
))  # fmt: skip


@dataclass(frozen=True)
class Progress:
    """`done` frames of an input are finished; `total` is None if no header says how many."""

    input: Path
    done: int
    total: int | None


ProgressCallback = Callable[[Progress], None]
