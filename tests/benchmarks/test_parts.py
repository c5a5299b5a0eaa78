"""What the benchmarks are made of: films, peers, processes, and the arithmetic of the tables."""

from __future__ import annotations

import os
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.alone import alone, peak_bytes
from benchmarks.films import RATE, FilmShelf, film_size, make_film, pictures
from benchmarks.jobs import bounds
from benchmarks.peers import opencv_loop, peer_size
from benchmarks.sections import linear_fit
from vidcolor.errors import InputError
from vidcolor.motion.shots import mark_cuts
from vidcolor.sources import FilmSource
from vidcolor.system.memory import resident_bytes

TINY = film_size("96x64")


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shots: 36 frames, and 12 of another."""
    return make_film(tmp_path_factory.mktemp("film") / "film.mp4", TINY, 48)


def test_film(film: Path) -> None:
    source = FilmSource(film)
    facts = source.facts
    assert (facts.width, facts.height, facts.average_rate) == (96, 64, Fraction(RATE))
    assert facts.num_frames_from_header == 48
    assert not facts.is_color
    batches = list(mark_cuts(source.batches(8), facts.time_base))
    assert [i for i, cut in enumerate(c for b in batches for c in b.cuts) if cut] == [0, 36]
    with av.open(str(film)) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
        heard = sum(frame.samples for frame in container.decode(audio=0))
        assert heard / 48_000 == pytest.approx(2, abs=0.1)


def test_pictures_move_and_repeat() -> None:
    made, again, other = (list(pictures(TINY, 6, seed)) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(made, again, strict=True))
    assert not np.array_equal(made[0], other[0])
    assert made[0].shape == (64, 96)
    assert min(p.min() for p in made) >= 16 and max(p.max() for p in made) <= 235
    steps = [np.abs(a.astype(int) - b).mean() for a, b in pairwise(made)]
    assert 1 < min(steps) < max(steps) < 40  # grain and motion, not another picture


def test_shelf_makes_a_film_once(tmp_path: Path) -> None:
    shelf = FilmShelf(tmp_path)
    path = shelf.film(TINY, 2)
    made = path.stat().st_mtime_ns
    assert shelf.film(TINY, 2) == path and path.stat().st_mtime_ns == made
    assert shelf.film(TINY, 3) != path


@pytest.mark.parametrize("text", ["640", "640x", "641x480", "16x16", "480P"])
def test_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=text):
        film_size(text)


@pytest.mark.parametrize(
    ("name", "size", "parameters", "macs"),
    [
        # the published networks, with the products among activations
        ("eccv16", 256, 32.2e6, 41.8e9),
        ("ddcolor_tiny_sized", 512, 55.0e6, 96.5e9),
        ("deoldify_sized", 336, 218e6, 246e9),
    ],
)
def test_peers_are_as_large_as_published(
    name: str, size: int, parameters: float, macs: float
) -> None:
    found = peer_size(name)
    assert found["size"] == size
    assert found["parameters"] == pytest.approx(parameters, rel=0.005)
    assert found["all_macs"] == pytest.approx(macs, rel=0.005)
    assert 0.85 * found["all_macs"] < found["macs"] <= found["all_macs"]


class Orange(nn.Module):
    """One color for every pixel, and a note of what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, lightness: Tensor) -> Tensor:
        self.seen.append(lightness.clone())
        return torch.tensor([20.0, 40.0]).view(1, 2, 1, 1).expand(1, 2, 8, 8)


def test_loop_colors_every_frame(film: Path, tmp_path: Path) -> None:
    network, output = Orange(), tmp_path / "out.mp4"
    done, seconds = opencv_loop(film, output, network, 32, "cpu", lambda done, taken: False)
    assert done == 47 and seconds > 0  # the first one does not count
    assert {tuple(seen.shape) for seen in network.seen} == {(1, 1, 32, 32)}
    light = torch.cat(network.seen)
    assert light.min() >= 0 and light.max() <= 100 and light.std() > 5
    with av.open(str(output)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 48
    red, _, blue = frames[20].reshape(-1, 3).mean(axis=0)
    assert red > blue + 40


def test_loop_stops_when_it_is_enough(film: Path, tmp_path: Path) -> None:
    network = Orange()
    done, _ = opencv_loop(
        film, tmp_path / "out.mp4", network, 32, "cpu", lambda done, taken: done >= 3
    )
    assert done == 3 and len(network.seen) == 4


def test_loop_says_what_it_cannot_read(tmp_path: Path) -> None:
    film = tmp_path / "none.mp4"
    with pytest.raises(RuntimeError, match=r"cannot read .*none\.mp4"):
        opencv_loop(film, tmp_path / "out.mp4", Orange(), 32, "cpu", lambda *_: True)


def take(*, mebibytes: int) -> dict[str, Any]:
    block = np.ones(mebibytes << 20, np.uint8)
    return {"process": os.getpid(), "sum": int(block.sum())}


def fail(*, code: int | None = None, line: str = "") -> dict[str, Any]:
    if line:
        raise InputError(line)
    if code is not None:
        os._exit(code)
    raise ValueError("no such thing")


def test_alone_is_another_process_with_a_peak_of_its_own() -> None:
    small, large = alone(take, mebibytes=1), alone(take, mebibytes=300)
    assert large["sum"] == 300 << 20
    assert len({small["process"], large["process"], os.getpid()}) == 3
    more = large["peak_rss_bytes"] - small["peak_rss_bytes"]
    assert 280 << 20 < more < 330 << 20
    assert peak_bytes() >= resident_bytes() - (1 << 20)  # pages under way are not counted at once


def test_alone_tells_of_failures() -> None:
    with pytest.raises(RuntimeError, match=r"fail failed:(.|\n)*no such thing"):
        alone(fail)
    with pytest.raises(InputError, match=r"^film.mp4: is empty$"):
        alone(fail, line="film.mp4: is empty")
    with pytest.raises(RuntimeError, match="fail ended with exit code 9"):
        alone(fail, code=9)


def test_bounds() -> None:
    rows = [
        {"stage": "decode", "stage_fps": 100.0},
        {"stage": "predict", "stage_fps": 20.0},
    ]
    one = bounds(rows, 100.0, 9.0, 1)  # the work of a frame takes the only core 0.1 s
    assert (one["slowest_stage"], one["slowest_stage_fps"]) == ("predict", 20)
    assert one["cores_bound_fps"] == pytest.approx(10)
    assert one["of_slowest_stage"] == pytest.approx(0.45)
    assert one["efficiency"] == one["of_cores_bound"] == pytest.approx(0.9)
    four = bounds(rows, 100.0, 9.0, 4)  # enough cores: the slowest stage binds
    assert four["cores_bound_fps"] == pytest.approx(40)
    assert four["efficiency"] == four["of_slowest_stage"] == pytest.approx(0.45)


def test_linear_fit() -> None:
    fit = linear_fit([1, 2, 4], [5, 7, 11])
    assert (fit["slope"], fit["intercept"]) == pytest.approx((2, 3))
    assert fit["r_squared"] == pytest.approx(1)
    # against a parabola, by hand: the line is y = 2 x - 1/3 and misses by 1/3, 2/3, 1/3
    fit = linear_fit([0, 1, 2], [0, 1, 4])
    assert (fit["slope"], fit["intercept"]) == pytest.approx((2, -1 / 3))
    assert fit["r_squared"] == pytest.approx(1 - (6 / 9) / (26 / 3))
    assert linear_fit([1, 2], [3, 3])["r_squared"] == 1
    with pytest.raises(ValueError, match="two different x"):
        linear_fit([2, 2], [1, 3])
