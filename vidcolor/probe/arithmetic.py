"""From a few measured stretches of a film to the whole of it: pure arithmetic.

A run costs something once (the model, the container, filling the pipeline and draining it) and
something for each frame. Both are told apart within one stretch: the frames in the middle of it,
when every stage is busy, give the seconds a frame, and what is left of its time is the fixed part.

Bytes follow the same way. An encoder sets a key frame at every cut and at least every so many
frames; a short stretch begins with one, which a long film has once. So key frames and the others
are counted apart, and the frames that the encoder saw without what follows them are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from ..frames import Segment

_FRAME_BYTES = 14  # that MP4's tables and Matroska's blocks take for a frame, about


@dataclass(frozen=True)
class Sample:
    """One measured stretch of a film.

    Attributes:
        place: where it begins, as a share of the film, 0 to 1.
        frames: that were written.
        seconds: the whole stretch took, from opening the film to the finished file.
        steady_frames, steady_seconds: the part of it in which every stage was busy; no frames where
            the stretch was too short for that.
        keys, key_bytes: coded frames that can be decoded alone, and their bytes; of those frames
            that the encoder saw together with what follows them.
        others, other_bytes: the others among these.
        coded_bytes: of all coded frames.
        file_bytes: of the written file.
        whole: the stretch was the whole film.
    """

    place: float
    frames: int
    seconds: float
    steady_frames: int = 0
    steady_seconds: float = 0.0
    keys: int = 0
    key_bytes: int = 0
    others: int = 0
    other_bytes: int = 0
    coded_bytes: int = 0
    file_bytes: int = 0
    whole: bool = False

    @property
    def seconds_a_frame(self) -> float:
        """Of the steady part; of all of it where there is no such part."""
        if self.steady_frames > 0:
            return self.steady_seconds / self.steady_frames
        return self.seconds / max(1, self.frames)

    @property
    def fixed_seconds(self) -> float:
        """What the stretch took beside its frames."""
        return max(0.0, self.seconds - self.frames * self.seconds_a_frame)

    @property
    def header_bytes(self) -> int:
        """What the container takes beside its frames."""
        return max(0, self.file_bytes - self.coded_bytes - _FRAME_BYTES * self.frames)


@dataclass(frozen=True)
class Costs:
    """What a film's frames cost, and what it costs beside them.

    Attributes:
        seconds_a_frame: of the running pipeline.
        fixed_seconds: once a film.
        bytes_a_frame: of the coded video in the container, in the long run.
        fixed_bytes: once a film: the container's header and the first key frame.
    """

    seconds_a_frame: float
    fixed_seconds: float
    bytes_a_frame: float
    fixed_bytes: float

    def seconds(self, frames: int) -> float:
        """Of a film of so many frames."""
        return self.fixed_seconds + frames * self.seconds_a_frame

    def bytes(self, frames: int) -> int:
        """Of its video, without what is copied."""
        return round(self.fixed_bytes + frames * self.bytes_a_frame)


def weights(places: Sequence[float]) -> list[float]:
    """How much of the film each place stands for: the part that is nearest to it; they sum to 1.

    Args:
        places: shares of the film, 0 to 1, ascending.
    """
    edges = [0.0, *((a + b) / 2 for a, b in pairwise(places)), 1.0]
    return [after - before for before, after in pairwise(edges)]


def stretches(
    frames: int, rate: Fraction, length: int, count: int, begin: Fraction | None = None
) -> list[tuple[float, Segment]]:
    """`count` stretches of `length` frames after the film's first one, evenly spread.

    Args:
        frames: of the film.
        rate: frames a second.
        length: frames of a stretch.
        count: of stretches; fewer where they would overlap.
        begin: where the film's own segment begins, seconds.

    Returns:
        For each, its place as a share of the film and its segment.
    """
    room = frames - length  # the first stretch has been taken
    count = max(0, min(count, room // max(1, length)))
    found = []
    for number in range(1, count + 1):
        first = max(length, min(frames - length, round(frames * number / (count + 1))))
        start = (begin or Fraction(0)) + Fraction(first) / rate
        # half a frame earlier, so that rounded times leave no frame out and let none in
        half = Fraction(1, 2) / rate
        found.append((first / frames, Segment(start - half, start + length / rate - half)))
    return found


def costs(samples: Sequence[Sample], frames: int, key_interval: int) -> Costs:
    """What a film's frames cost by its samples.

    Args:
        samples: the first of them from the film's beginning, in the order of their places.
        frames: of the film.
        key_interval: frames, at most, from one key frame to the next.

    Returns:
        A film that was measured whole costs what was measured.

    Raises:
        ValueError: there is no sample with a frame in it.
    """
    known = [sample for sample in samples if sample.frames > 0]
    if not known:
        raise ValueError("no frame was measured")
    if known[0].whole:
        one = known[0]
        return Costs(one.seconds_a_frame, one.fixed_seconds, one.file_bytes / one.frames, 0.0)
    shares = weights([sample.place for sample in known])
    in_the_long_run, first_key = _coded(known, shares, frames, key_interval)
    header = sum(sample.header_bytes for sample in known) / len(known)
    return Costs(
        seconds_a_frame=sum(w * s.seconds_a_frame for w, s in zip(shares, known, strict=True)),
        fixed_seconds=known[0].fixed_seconds,
        bytes_a_frame=in_the_long_run + _FRAME_BYTES,
        fixed_bytes=header + max(0.0, first_key - in_the_long_run),
    )


def busyness(samples: Sequence[Sample], sizes: Sequence[int]) -> float:
    """How much more the film's frames take than those of the stretches, as its own coding has it:
    what moves costs bytes there too. Within 2/3 and 3/2, because other codecs weigh otherwise.

    Args:
        samples: in the order of their places.
        sizes: bytes of each coded frame of the film as it is, in the order in which they are shown.
    """
    shares = weights([sample.place for sample in samples])
    seen = 0.0
    for share, sample in zip(shares, samples, strict=True):
        first = round(sample.place * len(sizes))
        part = sizes[first : first + max(1, sample.frames)]
        if not part:
            return 1.0
        seen += share * sum(part) / len(part)
    if seen <= 0:
        return 1.0
    return min(3 / 2, max(2 / 3, sum(sizes) / len(sizes) / seen))


def _coded(
    samples: Sequence[Sample], shares: Sequence[float], frames: int, key_interval: int
) -> tuple[float, float]:
    """Bytes of a coded frame in the long run, and of a key frame."""
    keys = sum(sample.keys for sample in samples)
    key_bytes = sum(sample.key_bytes for sample in samples) / max(1, keys)
    pairs = [(w, s) for w, s in zip(shares, samples, strict=True) if s.others]
    if not pairs:  # every frame is coded alone
        total = sum(w * s.key_bytes / max(1, s.keys) for w, s in zip(shares, samples, strict=True))
        return total, total
    other_bytes = sum(w * s.other_bytes / s.others for w, s in pairs) / sum(w for w, _ in pairs)
    # the first key frame of a stretch says nothing: every file begins with one
    own = sum(w * (s.keys - 1) / max(1, s.keys - 1 + s.others) for w, s in pairs)
    share = max(own / sum(w for w, _ in pairs), min(1.0, 1 / key_interval), 1 / frames)
    return share * key_bytes + (1 - share) * other_bytes, key_bytes
