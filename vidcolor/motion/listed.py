"""Shots whose boundaries are given, in place of those that `shots` would find."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction

from ..frames import Checkpoint, LumaBatch
from .shots import Spacing, divide


def mark_listed(
    batches: Iterable[LumaBatch],
    locate: Callable[[int], tuple[int, int]],
    time_base: Fraction | None = None,
    *,
    spacing: Spacing | None = None,
    resume: Checkpoint | None = None,
) -> Iterator[LumaBatch]:
    """Fill in `cuts`, `shots` and `numbers` of each batch, from a list of shots.

    Args:
        batches: one film's frames, in order. Batch sizes do not change the result.
        locate: gives a frame's number in the film and that of its shot, by its pts.
        time_base: unit of the batches' pts, seconds; needed for checkpoints.
        spacing: of checkpoints, as for `shots.mark_cuts`; None for none.
        resume: the checkpoint that the batches begin with.
    """
    shot = resume.shot if resume else -1
    known = resume.cut if resume else None  # whether a shot begins with the first frame
    begun: int | None = None
    for batch in batches:
        places = [locate(pts) for pts in batch.pts]
        cuts, checkpoints = [], {}
        for i, (pts, (_, there)) in enumerate(zip(batch.pts, places, strict=True)):
            cut = there != shot if known is None else known
            begun = pts if begun is None else begun
            if spacing is not None and time_base is not None and known is None:
                elapsed = (pts - begun) * time_base
                if elapsed >= (spacing.least if cut else spacing.most):
                    begun, checkpoints[i] = pts, shot
            known, shot = None, there
            cuts.append(cut)
        yield from divide(
            replace(
                batch,
                cuts=tuple(cuts),
                shots=tuple(there for _, there in places),
                numbers=tuple(number for number, _ in places),
            ),
            checkpoints,
        )
