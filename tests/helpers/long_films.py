"""Films of several shots with sound, long enough to have checkpoints, and their comparison."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np

from tests.helpers.films import read_frames
from tests.helpers.shots import pan

RATE = 12


def film_of_shots(
    path: Path,
    counts: Iterable[int],
    *,
    codec: str = "ffv1",
    pix_fmt: str = "gray",
    rate: int = RATE,
) -> Path:
    """A film of 128x96 with grain, in shots of so many frames, and PCM sound."""
    rng = np.random.default_rng(3)
    total = 0
    with av.open(str(path), "w") as container:
        video = cast(av.VideoStream, container.add_stream(codec, rate=rate))
        video.width, video.height, video.pix_fmt = 128, 96, pix_fmt
        sound: av.AudioStream = container.add_stream("pcm_s16le", rate=8000)
        sound.layout = "mono"
        for seed, count in enumerate(counts, 1):
            for shot in pan(count, seed):
                grainy = np.clip(shot * 0.7 + 40 + rng.normal(0, 2, shot.shape), 16, 235)
                frame = av.VideoFrame.from_ndarray(grainy.astype(np.uint8), format="gray")
                frame = frame.reformat(format=pix_fmt)
                frame.pts, frame.time_base = total, Fraction(1, rate)
                container.mux(video.encode(frame))
                total += 1
        for first in range(0, 8000 * total // rate, 1000):
            tone = (8000 * np.sin(np.arange(first, first + 1000) / 6)).astype(np.int16)
            samples = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
            samples.sample_rate, samples.pts = 8000, first
            container.mux(sound.encode(samples))
        container.mux(sound.encode(None))
        container.mux(video.encode(None))
    return path


def packets(path: Path, kind: str) -> list[tuple[Any, bytes]]:
    """Pts and bytes of all packets of the streams of a kind."""
    with av.open(str(path)) as container:
        streams = [each for each in container.streams if each.type == kind]
        return [(p.pts, bytes(p)) for each in streams for p in container.demux(each) if p.size]


def assert_same_film(one: Path, other: Path) -> None:
    """Two films have the same frames, pts and pixels, and the same packets of all streams."""
    ours, theirs = read_frames(one), read_frames(other)
    assert [frame.pts for frame in ours] == [frame.pts for frame in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert np.array_equal(a.to_ndarray(), b.to_ndarray())
    if one.suffix != ".mov":
        for kind in ("audio", "video"):
            assert packets(one, kind) == packets(other, kind), kind
        return
    # QuickTime's sound is read in chunks as long as it was muxed in.
    first, second = packets(one, "audio"), packets(other, "audio")
    assert first[0][0] == second[0][0]
    assert b"".join(each for _, each in first) == b"".join(each for _, each in second)
