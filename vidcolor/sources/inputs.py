"""From what the user typed to a list of inputs: films, pictures, folders, globs, sequences."""

from __future__ import annotations

import glob
import logging
import os
import re
import struct
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

from ..errors import InputError
from ..frames import WHOLE, Segment
from ..system.files import OWN
from ..system.sequences import is_pattern, sequence_file, sequence_numbers
from .film import FilmSource
from .folders import is_regular, search_folder
from .pictures import PictureSource
from .pillow_files import UNREADABLE, open_head, quiet

logger = logging.getLogger(__name__)

_CONVERT = "convert them to PNG, TIFF or FFV1 in Matroska"

# fmt: off
# Pictures that are written as they came,
_KEPT_SUFFIXES = frozenset((
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".dib", ".avif",
))
# and pictures that are read alone: some hold no color, some no metadata.
_READ_SUFFIXES = frozenset((
    ".bw", ".icb", ".j2c", ".j2k", ".jp2", ".jpc", ".jpf", ".jpx", ".pbm", ".pcx",
    ".pgm", ".pnm", ".ppm", ".qoi", ".ras", ".sgi", ".tga", ".vda", ".vst",
))
PICTURE_SUFFIXES = _KEPT_SUFFIXES | _READ_SUFFIXES
# Pictures that are not read. FFmpeg opens some of them as films of one frame.
_OTHER_PICTURES = frozenset((
    ".3fr", ".ai", ".arw", ".avifs", ".bpg", ".cin", ".cr2", ".cr3", ".crw", ".cur", ".dcm",
    ".dcr", ".djv", ".djvu", ".dng", ".dpx", ".ecw", ".emf", ".eps", ".erf", ".exr", ".fits",
    ".flif", ".fpx", ".hdp", ".hdr", ".heic", ".heics", ".heif", ".heifs", ".hif", ".icns",
    ".ico", ".iiq", ".jb2", ".jbig", ".jng", ".jp3", ".jpm", ".jxl", ".jxr", ".jxs", ".kdc",
    ".mef", ".mng", ".mos", ".mpo", ".mrw", ".nef", ".nrw", ".orf", ".pam", ".pcd", ".pct",
    ".pdd", ".pdf", ".pef", ".pfm", ".pic", ".pict", ".ps", ".psb", ".psd", ".raf", ".raw",
    ".rw2", ".rwl", ".sid", ".sr2", ".srf", ".srw", ".svg", ".wdp", ".wmf", ".x3f", ".xbm",
    ".xcf", ".xpm",
))
FILM_SUFFIXES = frozenset((
    ".3g2", ".3gp", ".apng", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".h264",
    ".264", ".h265", ".265", ".hevc", ".ivf", ".m1v", ".m2t", ".m2ts", ".m2v", ".m4v",
    ".mjpeg", ".mjpg", ".mkv", ".mod", ".mov", ".mp4", ".mpeg", ".mpg", ".mpv", ".mts",
    ".mxf", ".nut", ".obu", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".tod", ".ts", ".vob",
    ".webm", ".wmv", ".y4m",
))
# Films that a folder rarely holds, or FFmpeg rarely opens: tried only when named.
_OTHER_FILMS = frozenset((
    ".amv", ".bik", ".braw", ".crm", ".evo", ".h266", ".mj2", ".mjp2", ".mve", ".nsv",
    ".r3d", ".roq", ".swf", ".trp", ".vro", ".vvc", ".wtv",
))
# fmt: on


@dataclass(frozen=True)
class Input(ABC):
    """One thing to colorize; a kind of input is a subclass.

    A new kind is a subclass here, and the line that recognizes it in `_one` or `_kind`.

    Attributes:
        path: the file, or for a sequence the pattern.
        relative: the path to mirror under an output folder: within the folder that was given, or
            the bare name; for a sequence the name of its folder, or what its files' names share.
        is_picture: it is written as a still picture, otherwise as a film.
        takes_rate: its frame rate must be given.
    """

    path: Path
    relative: Path
    is_picture: ClassVar[bool] = False
    takes_rate: ClassVar[bool] = False

    @property
    def output(self) -> Path:
        """The path to write to under an output folder."""
        return self.relative

    @property
    def beside(self) -> Path:
        """The path that an output with no folder of its own lies beside."""
        return self.path

    def files(self) -> list[Path]:
        """The files that it consists of."""
        return [self.path]

    @abstractmethod
    def open(
        self,
        segment: Segment = WHOLE,
        rate: Fraction | None = None,
        *,
        playlists: bool = False,
        split: bool = False,
        deinterlace: str = "auto",
        keep_tint: bool = False,
    ) -> FilmSource | PictureSource:
        """Open it to read luma.

        Args:
            segment: the stretch of a film.
            rate: frames a second of a sequence; for a film, to show its frames at.
            playlists: a playlist may be opened, and the local files that it names.
            split: a film ends where its picture changes; see `FilmSource`.
            deinterlace: what to do with interlaced frames of a film.
            keep_tint: the tint of a tinted film is added to its colors.

        Raises:
            InputError: it cannot be opened.
        """


class FilmInput(Input):
    """A film file."""

    def open(
        self,
        segment: Segment = WHOLE,
        rate: Fraction | None = None,
        *,
        playlists: bool = False,
        split: bool = False,
        deinterlace: str = "auto",
        keep_tint: bool = False,
    ) -> FilmSource:
        """The film; see `Input.open`."""
        return FilmSource(
            self.path,
            segment=segment,
            rate=rate if self.takes_rate else None,
            playlists=playlists,
            split=split,
            deinterlace=deinterlace,
            keep_tint=keep_tint,
            retime=None if self.takes_rate else rate,
        )


class SequenceInput(FilmInput):
    """Numbered pictures that make a film (`frames/%05d.png`)."""

    takes_rate = True

    @property
    def output(self) -> Path:
        """`shot.mp4` for `shot_%05d.png`."""
        return self.relative.with_name(f"{self.relative.name}.mp4")

    @property
    def beside(self) -> Path:
        """The folder of its frames, so that the film does not lie among them."""
        return self.path.absolute().parent

    def files(self) -> list[Path]:
        """The pictures, in order."""
        return [sequence_file(self.path, number) for number in sequence_numbers(self.path)]


class PictureInput(Input):
    """A still picture."""

    is_picture = True

    @property
    def output(self) -> Path:
        """The same name, with `.png` where the format is only read: `scan.png` for `scan.pgm`."""
        return self.relative.with_suffix(output_suffix(self.relative))

    def open(
        self,
        segment: Segment = WHOLE,
        rate: Fraction | None = None,
        *,
        playlists: bool = False,
        split: bool = False,
        deinterlace: str = "auto",
        keep_tint: bool = False,
    ) -> PictureSource:
        """The picture as a source of one frame; see `Input.open`."""
        return PictureSource([(self.path, self.path)])


def output_suffix(path: Path) -> str:
    """The suffix of a picture's color version: its own, or `.png` if the format is only read."""
    return path.suffix if path.suffix.lower() in _KEPT_SUFFIXES else ".png"


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key that puts img2 before img10 and ignores case."""
    parts = re.split(r"(\d+)", text)
    key = [(0, int(p), p) if p.isdecimal() else (1, 0, p.casefold()) for p in parts if p]
    return (*key, (2, 0, text))


def expand(
    inputs: Sequence[str],
    *,
    rate: Fraction | None,
    problems: list[tuple[Path, str]] | None = None,
) -> list[Input]:
    """Find the films and pictures that are meant, each once.

    Folders are searched as `search_folder` does, in natural order; files that are neither film nor
    picture are passed over (counted in the log, with a warning where they look like films or
    pictures all the same). A glob that the shell left alone is expanded, unless a file has that
    very name; it does not take what an earlier run has written beside its inputs.

    Args:
        inputs: files, folders, globs (`"scans/*.tif"`) and sequences (`frames/%05d.png`).
        rate: frames a second of sequences.
        problems: takes what of a folder could not be searched or read, with the reason; None logs
            it as a warning.

    Raises:
        InputError: something does not exist or is a picture of a kind that is not read, a folder
            or glob holds nothing to colorize, a sequence has a gap, or its rate is not given.
    """
    found: dict[str, Input] = {}
    for text in inputs:
        for item in _one(text, rate, problems):
            found.setdefault(os.path.abspath(item.path), item)
    return list(found.values())


def _one(
    text: str, rate: Fraction | None, problems: list[tuple[Path, str]] | None
) -> Iterator[Input]:
    path = Path(text)
    if path.is_dir():
        yield from _folder(path, problems)
    elif path.exists():
        if not is_regular(path):
            raise InputError(f"{path}: is a pipe, a socket or a device; copy it into a file")
        if path.suffix.lower() in _OTHER_PICTURES:
            raise InputError(
                f"{path}: {path.suffix.lower()} pictures are not read; convert it to PNG or TIFF"
            )
        yield _kind(path)(path, Path(path.name))
    elif is_pattern(path):
        if rate is None:
            raise InputError(f"{path}: a numbered sequence has no frame rate; give it with --fps")
        sequence_numbers(path)
        shared = re.sub(r"%0?\d*d", "", path.stem).strip(" _-.")
        name = shared or path.absolute().parent.name or "sequence"
        yield SequenceInput(path, Path(name))
    elif glob.has_magic(text):
        yield from _glob(text)
    else:
        raise InputError(f"{text}: no such file or folder; check the name")


def _glob(pattern: str) -> Iterator[Input]:
    parts = Path(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:fixed])
    paths = [Path(p) for p in glob.glob(pattern, recursive=True)]
    files = sorted(
        (p for p in paths if p.is_file() and not _is_own_output(p, root)),
        key=lambda p: [natural_key(part) for part in p.parts],
    )
    if not files:
        raise InputError(f"{pattern}: matches no file; check the pattern")
    wanted = [p for p in files if _is_known(p)]
    if not wanted:  # what FFmpeg makes of the rest is seen when it is opened
        wanted = [p for p in files if p.suffix.lower() not in _OTHER_PICTURES]
    _report_rest(pattern, [p for p in files if p not in set(wanted)])
    if not wanted:
        raise InputError(f"{pattern}: matches no film and no picture that is read; {_CONVERT}")
    for path in wanted:
        yield _kind(path)(path, path.relative_to(root))


def _is_own_output(path: Path, root: Path) -> bool:
    """Whether a file is named as the color version of a file or folder beside it."""
    here = path
    while here not in (root, here.parent):
        name = here.name if here != path else here.stem
        if name.endswith(OWN) and any(
            other.name.startswith(name.removesuffix(OWN)) and OWN not in other.name
            for other in here.parent.iterdir()
        ):
            return True
        here = here.parent
    return False


def _folder(root: Path, problems: list[tuple[Path, str]] | None) -> Iterator[Input]:
    found = search_folder(root)
    wanted = [path for path in found.files if _is_known(path)]
    for path, reason in found.problems:
        if problems is not None and (path.suffix == "" or _is_known(path)):
            problems.append((path, reason))
        else:
            logger.warning("%s: cannot be searched or read (%s)", path, reason)
    _report_rest(str(root), [path for path in found.files if not _is_known(path)])
    if not wanted:
        raise InputError(f"{root}: holds no film and no picture; check the folder's name")
    wanted.sort(key=lambda p: [natural_key(part) for part in p.relative_to(root).parts])
    for path in wanted:
        yield _kind(path)(path, path.relative_to(root))


def _report_rest(where: str, others: Sequence[Path]) -> None:
    """Report skipped files, with a warning for those that look like films or pictures."""
    missed = Counter(
        suffix for p in others if (suffix := p.suffix.lower()) in _OTHER_PICTURES | _OTHER_FILMS
    )
    if missed:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(missed.items()))
        logger.warning(
            "%s: skipped unsupported files: %s; %s",
            where, kinds, _CONVERT,
        )  # fmt: skip
    if rest := len(others) - sum(missed.values()):
        logger.info("%s: %d other files are neither film nor picture", where, rest)


def _is_known(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES | FILM_SUFFIXES


def _kind(path: Path) -> type[Input]:
    """What a file is; a file of unknown suffix is left to FFmpeg, as a film."""
    suffix = path.suffix.lower()
    if suffix not in PICTURE_SUFFIXES and suffix != ".gif":
        return FilmInput
    try:
        return FilmInput if _is_animated(path) else PictureInput
    except (*UNREADABLE, struct.error):
        return PictureInput  # unreadable; reading it reports that


def _is_animated(path: Path) -> bool:
    """Whether a PNG or GIF file holds more than one picture, which makes it a film.

    An animated WebP file is not meant: FFmpeg does not decode it, so it counts as a picture of
    several pages. Source: PNG third edition, 11.3.6 (acTL comes before IDAT).
    """
    with path.open("rb") as file:
        start = file.read(8)
        if start.startswith(b"GIF8"):
            file.seek(0)
            with quiet():
                return bool(getattr(open_head(file), "is_animated", False))
        if start != b"\x89PNG\r\n\x1a\n":
            return False
        while True:
            length, name = struct.unpack(">I4s", file.read(8))
            if name in (b"acTL", b"IDAT", b"IEND"):
                return bool(name == b"acTL")
            file.seek(length + 4, os.SEEK_CUR)
