"""Measure a colorizer on color clips: the error of its colors, and how much they flicker.

The colorizer gets a clip's Y' plane as a gray film, and works as in `vidcolor run` (L* kept,
limited to the sRGB gamut, 8 bits), with and without the stabilizer. Its result is compared with the
clip.
All figures are running sums; no frames are kept.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..color.compose import film_gray
from ..color.convert import MIN_CHROMA, rgb_to_lab
from ..errors import InputError
from ..frames import WHOLE, LumaBatch, Segment, picture_format
from ..run.colorizer import Colorizer
from ..run.films import film_stages
from ..run.settings import Settings, error_line
from ..sources import expand
from ..system.stages import run_stages
from .color_film import ColorFilmSource, RgbBatch
from .metrics import colorfulness, psnr
from .video_metrics import LEAST_FRAMES, BackwardFlow, ColorConsistency, TruthFlow, WarpError

LONG_SIDE = 512
_BATCH = 4
_RGB = picture_format(8)
_RATE = Fraction(25)  # of numbered sequences; no figure depends on it


@dataclass(frozen=True)
class VideoRow:
    """One method's results on a clip, or their means over several clips.

    Attributes:
        name: `truth`, `gray`, or the model's name and how it was run.
        psnr: mean over the frames of their PSNR, dB; 100 for an exact frame.
        psnr_over_gray: `psnr` above the row `gray`, dB.
        colorfulness: mean Hasler-Suesstrunk colorfulness divided by the truth's.
        cdc: see `ColorConsistency`.
        cdc_ratio: `cdc` divided by the truth's, None where that is 0.
        warp_error: see `WarpError`; None where no pair of frames could be matched.
        warp_ratio: `warp_error` divided by the truth's, None where that is 0 or missing.
    """

    name: str
    psnr: float
    psnr_over_gray: float
    colorfulness: float
    cdc: float
    cdc_ratio: float | None
    warp_error: float | None
    warp_ratio: float | None


@dataclass(frozen=True)
class ClipTable:
    """The results of one clip.

    Attributes:
        path: the clip.
        rows: truth, gray, the model on each frame by itself, and the model stabilized.
        num_frames: frames measured.
        width, height: of the measured frames, pixels.
        pairs: pairs of neighboring frames in the warp error.
        cuts, duplicates, unmatched: pairs left out; see `TruthFlow`. With `pairs` they add up to
            `num_frames` - 1.
        seen: mean share of the pixels that are visible in both frames of a pair, None without
            pairs.
        damage: one line for each part of the clip that could not be read.
    """

    path: str
    rows: tuple[VideoRow, ...]
    num_frames: int
    width: int
    height: int
    pairs: int
    cuts: int
    duplicates: int
    unmatched: int
    seen: float | None
    damage: tuple[str, ...]


@dataclass(frozen=True)
class VideoTable:
    """The results of a set of clips.

    Attributes:
        clips: in the order they were given.
        mean: the means of every column over the clips; of the ratios too.
        failed: one line for each clip that could not be measured.
        notes: the definitions of the measures and the size of each clip, one line each.
    """

    clips: tuple[ClipTable, ...]
    mean: tuple[VideoRow, ...]
    failed: tuple[str, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, dicts and numbers, for JSON."""
        values = dataclasses.asdict(self)
        values["clips"] = [
            {**clip, "rows": list(clip["rows"]), "damage": list(clip["damage"])}
            for clip in values["clips"]
        ]
        for key in ("mean", "failed", "notes"):
            values[key] = list(values[key])
        return values


class _Tally:
    """Running sums of one row's measures."""

    def __init__(self) -> None:
        self.frames = 0
        self.psnr = self.colorfulness = self.chroma = 0.0
        self.consistency, self.warp = ColorConsistency(), WarpError()

    def add(self, rgb: Tensor, truth: Tensor, motions: Sequence[BackwardFlow | None]) -> None:
        """Add frames.

        Args:
            rgb: `(B, 3, H, W)` uint8.
            truth: the same frames of the clip.
            motions: the clip's motion from each frame to the one before.
        """
        self.frames += len(rgb)
        self.psnr += float(psnr(rgb, truth).double().sum())
        self.colorfulness += float(colorfulness(rgb).double().sum())
        ab = rgb_to_lab(rgb.float() / 255)[:, 1:]
        self.chroma += float(ab.square().sum(1).sqrt().mean((1, 2)).double().sum())
        planes = ab.permute(0, 2, 3, 1).contiguous().numpy()
        for frame, plane, motion in zip(rgb.numpy(), planes, motions, strict=True):
            self.consistency.add(frame)
            self.warp.add(plane, motion)

    def row(self, name: str, truth: _Tally, gray: _Tally) -> VideoRow:
        """The row `name` of the table; `truth` and `gray` are the sums of those rows."""

        def known(value: float) -> float | None:
            return None if math.isnan(value) else value

        cdc, true_cdc = self.consistency.value, truth.consistency.value
        warp, true_warp = known(self.warp.value), known(truth.warp.value)
        return VideoRow(
            name=name,
            psnr=self.psnr / self.frames,
            psnr_over_gray=(self.psnr - gray.psnr) / self.frames,
            colorfulness=self.colorfulness / truth.colorfulness,
            cdc=cdc,
            cdc_ratio=cdc / true_cdc if true_cdc else None,
            warp_error=warp,
            warp_ratio=warp / true_warp if warp is not None and true_warp else None,
        )


def _in_gray(batch: LumaBatch) -> Tensor:
    """The batch's luma as gray R'G'B', `(B, 3, H, W)` uint8."""
    return (film_gray(batch) * 255).round().to(torch.uint8).expand(-1, 3, -1, -1).contiguous()


def _colorized(
    colorizer: Colorizer,
    source: ColorFilmSource,
    limit: int | None,
    *,
    stabilize: bool,
    damage: list[str],
) -> Generator[tuple[RgbBatch, Tensor], None, None]:
    """Each frame of a clip, as a batch of one, and its colorized R'G'B', `(1, 3, H, W)` uint8.

    A line for each part that cannot be read is added to `damage`.
    """

    def read() -> Generator[RgbBatch, None, None]:
        with closing(source.batches(_BATCH, limit)) as batches:
            for batch in batches:
                damage.extend(batch.damage)
                yield batch

    settings = Settings(stabilize=stabilize)
    stages = film_stages(colorizer, settings, _RGB, source.facts.time_base)
    with closing(run_stages(read(), stages)) as colors:
        for color in colors:
            rgb = torch.stack(color.planes, dim=1)
            for i in range(len(color)):
                yield color.source[i : i + 1], rgb[i : i + 1]


@torch.inference_mode()
def evaluate_clip(
    colorizer: Colorizer,
    source: ColorFilmSource,
    *,
    limit: int | None = None,
    name: str = "model",
    progress: Callable[[int], None] = lambda frames: None,
) -> ClipTable:
    """Measure `colorizer` on one color clip.

    Args:
        colorizer: the model; it is measured with and without the stabilizer.
        source: the clip; it is decoded twice.
        limit: maximum number of frames.
        name: of the model, for its rows.
        progress: called with the number of frames done.

    Raises:
        InputError: the clip is near-gray or has fewer than five frames; or see `ColorFilmSource`.
    """
    truth, gray = _Tally(), _Tally()
    per_frame, stabilized = _Tally(), _Tally()
    motion = TruthFlow()
    damage: list[str] = []
    with (
        closing(_colorized(colorizer, source, limit, stabilize=True, damage=damage)) as steady,
        closing(_colorized(colorizer, source, limit, stabilize=False, damage=[])) as free,
    ):
        for (there, stable), (_, alone) in zip(steady, free, strict=True):
            batch = there.to(torch.device("cpu"))
            assert isinstance(batch, RgbBatch)
            neutral = _in_gray(batch)
            lumas = zip(neutral[:, 0].numpy(), batch.cuts, strict=True)
            motions = [motion.add(luma, cut) for luma, cut in lumas]
            truth.add(batch.rgb, batch.rgb, motions)
            gray.add(neutral, batch.rgb, motions)
            per_frame.add(alone, batch.rgb, motions)
            stabilized.add(stable, batch.rgb, motions)
            progress(truth.frames)
    if truth.frames < LEAST_FRAMES:
        cause = f" ({damage[0]})" if damage else ""
        raise InputError(
            f"{source.path}: {truth.frames} frames to measure on{cause}, but CDC needs "
            f"{LEAST_FRAMES}; give a longer clip, or look at --start and --end"
        )
    if truth.chroma / truth.frames < MIN_CHROMA:
        raise InputError(
            f"{source.path}: holds no color to measure on (mean Lab chroma "
            f"{truth.chroma / truth.frames:.1f}, under {MIN_CHROMA:g}); give a color clip"
        )
    tallies = {
        "truth": truth,
        "gray": gray,
        f"{name}, per frame": per_frame,
        f"{name}, stabilized": stabilized,
    }
    return ClipTable(
        path=str(source.path),
        rows=tuple(tally.row(row, truth, gray) for row, tally in tallies.items()),
        num_frames=truth.frames,
        width=source.width,
        height=source.height,
        pairs=motion.pairs,
        cuts=motion.cuts,
        duplicates=motion.duplicates,
        unmatched=motion.unmatched,
        seen=motion.visible_share if motion.pairs else None,
        damage=tuple(damage),
    )


def _clips(paths: Sequence[str]) -> Iterator[tuple[Path, Fraction | None] | InputError]:
    """The films among the inputs, with the rate of sequences; an error for each bad input."""
    for text in paths:
        try:
            items = expand([text], rate=_RATE)
        except InputError as error:
            yield error
            continue
        for item in items:
            if not item.is_picture:
                yield item.path, _RATE if item.takes_rate else None
            elif len(items) == 1:  # pictures beside the clips of a folder are skipped
                yield InputError(f"{item.path}: a picture, not a clip; leave out --video")


def evaluate_video(
    colorizer: Colorizer,
    clips: Sequence[str | Path],
    *,
    long_side: int = LONG_SIDE,
    segment: Segment = WHOLE,
    limit: int | None = None,
    name: str = "model",
    progress: Callable[[Path, int, int | None], None] = lambda clip, done, total: None,
) -> VideoTable:
    """Measure `colorizer` on color clips; the table also has rows for the truth and for gray.

    A clip that cannot be measured does not stop the others.

    Args:
        colorizer: the model.
        clips: films, folders and globs of films, and numbered sequences (`frames/%05d.png`).
        long_side: frames are shrunk to a long side of at most this many pixels.
        segment: the part of each clip to measure.
        limit: maximum number of frames of each clip, at least 5.
        name: of the model, for its rows.
        progress: called with the clip, the number of frames done and their total (None if the
            header does not have it).

    Raises:
        InputError: none of the clips can be measured.
        ValueError: `limit` is below 5.
    """
    if limit is not None and limit < LEAST_FRAMES:
        raise ValueError(f"limit must be at least {LEAST_FRAMES}, not {limit}")
    tables: list[ClipTable] = []
    failed: list[str] = []
    for clip in _clips([str(clip) for clip in clips]):
        if isinstance(clip, InputError):
            failed.append(str(clip))
            continue
        path, rate = clip
        try:
            source = ColorFilmSource(path, long_side=long_side, segment=segment, rate=rate)
            watch = partial(_tell, progress, path, _length(source, segment, limit))
            table = evaluate_clip(colorizer, source, limit=limit, name=name, progress=watch)
            tables.append(table)
        except Exception as error:  # one clip does not stop the others
            failed.append(error_line(path, error))
    if not tables:
        more = f" (and {len(failed) - 1} more clips that failed)" if len(failed) > 1 else ""
        raise InputError(f"{failed[0]}{more}" if failed else "no clip among the inputs")
    return VideoTable(
        clips=tuple(tables),
        mean=_means(tables),
        failed=tuple(failed),
        notes=_notes(tables, long_side),
    )


def _tell(
    progress: Callable[[Path, int, int | None], None], path: Path, total: int | None, done: int
) -> None:
    progress(path, done, total)


def _length(source: ColorFilmSource, segment: Segment, limit: int | None) -> int | None:
    total = source.facts.num_frames_from_header if segment.is_full else None
    return min((count for count in (total, limit) if count is not None), default=None)


def _means(tables: Sequence[ClipTable]) -> tuple[VideoRow, ...]:
    """The mean of each column, over the clips that have a value."""
    rows = []
    for same in zip(*(table.rows for table in tables), strict=True):
        values: dict[str, Any] = {"name": same[0].name}
        for field in dataclasses.fields(VideoRow)[1:]:
            known = [v for row in same if (v := getattr(row, field.name)) is not None]
            values[field.name] = float(np.mean(known)) if known else None
        rows.append(VideoRow(**values))
    return tuple(rows)


def _notes(tables: Sequence[ClipTable], long_side: int) -> tuple[str, ...]:
    notes = []
    for table in tables:
        seen = "" if table.seen is None else f" ({table.seen:.0%} of their pixels are seen in both)"
        notes.append(
            f"{table.path}: {table.num_frames} frames, {table.width}x{table.height}; warp error on "
            f"{table.pairs} pairs{seen}; left out: {table.cuts} across cuts, {table.duplicates} "
            f"duplicated frames, {table.unmatched} without a match"
        )
    return (
        *notes,
        f"long side at most {long_side} (bicubic); gray is the clip's own Y', whose L* every row "
        "but the truth has",
        "PSNR: R'G'B', 8 bit, peak 255, mean over the frames; color: mean colorfulness / the "
        "truth's (Hasler and Suesstrunk 2003)",
        "CDC: Jensen-Shannon divergence of B, G, R histograms 1, 2 and 4 frames apart, natural "
        "log; pairs across cuts count, as in its definition",
        "warp error: mean of da*^2 + db*^2 between a frame and the one before, warped along the "
        "truth's DIS flow, where it is visible",
        "gray has the lowest CDC and warp error of all: compare them at equal PSNR and color",
    )
