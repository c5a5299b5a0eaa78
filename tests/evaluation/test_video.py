"""Measuring on clips, with predictors whose results are known beforehand."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.helpers.color_clips import HEIGHT, WIDTH, pan, write_clip
from vidcolor.color.adjust import ColorAdjustment
from vidcolor.color.compose import film_lightness
from vidcolor.color.convert import rgb_to_lab
from vidcolor.errors import InputError
from vidcolor.evaluation import VideoRow, VideoTable, evaluate_video, video
from vidcolor.evaluation.color_film import RgbBatch
from vidcolor.frames import LumaBatch, Segment
from vidcolor.run.colorizer import Colorizer
from vidcolor.run.prepared import Prepared


class Predicts(Colorizer):
    """A predictor made of a function from a batch with its truth to a*b*."""

    def __init__(self, ab: Callable[[RgbBatch], Tensor]) -> None:
        super().__init__("_ramp", device="cpu")
        self.ab = ab

    def lightness(self, batch: LumaBatch) -> Tensor:
        return film_lightness(batch)

    def predict(self, prepared: Prepared) -> Tensor | None:
        assert isinstance(prepared.batch, RgbBatch)
        needed = prepared.inference_indices
        return self.ab(prepared.batch)[needed] if needed else None


def true_ab(batch: RgbBatch) -> Tensor:
    return rgb_to_lab(batch.rgb.float() / 255)[:, 1:]


def flicker(batch: RgbBatch) -> Tensor:
    """The truth, 6 redder in every other frame."""
    numbers = torch.arange(batch.first_index, batch.first_index + len(batch))
    shift = torch.zeros(len(batch), 2, 1, 1)
    shift[:, 0, 0, 0] = 6.0 * (numbers % 2)
    return true_ab(batch) + shift


def nothing(batch: RgbBatch) -> Tensor:
    return torch.zeros(len(batch), 2, 8, 12)  # of any size


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "pan.mkv", pan(11))


def measure(ab: Callable[[RgbBatch], Tensor], *clips: Path, **options: object) -> VideoTable:
    return evaluate_video(Predicts(ab), clips, name="it", **options)  # type: ignore[arg-type]


def rows(table: VideoTable) -> dict[str, VideoRow]:
    return {row.name: row for row in table.clips[0].rows}


def test_truth_and_gray(clip: Path) -> None:
    table = measure(nothing, clip)
    found = rows(table)
    assert list(found) == ["truth", "gray", "it, per frame", "it, stabilized"]
    truth, gray = found["truth"], found["gray"]
    assert (truth.psnr, truth.colorfulness, truth.cdc_ratio, truth.warp_ratio) == (100, 1, 1, 1)
    assert truth.psnr_over_gray == pytest.approx(100 - gray.psnr)
    assert gray.psnr_over_gray == 0
    assert gray.colorfulness == pytest.approx(0, abs=1e-3)
    assert gray.warp_error == pytest.approx(0, abs=1e-6)
    assert truth.warp_error is not None
    assert 0 < truth.warp_error < 1  # it moves by whole pixels, so only the flow's error is left
    assert 0 < truth.cdc < 0.1
    # no color is the gray floor, but for rounding
    assert found["it, per frame"].psnr == pytest.approx(gray.psnr, abs=0.05)
    assert found["it, per frame"].warp_error == pytest.approx(0, abs=1e-6)


def test_what_was_measured(clip: Path) -> None:
    (table,) = measure(nothing, clip).clips
    assert (table.path, table.num_frames) == (str(clip), 11)
    assert (table.width, table.height) == (WIDTH, HEIGHT)
    assert (table.pairs, table.cuts, table.duplicates, table.unmatched) == (10, 0, 0, 0)
    assert table.seen is not None
    assert 0.8 < table.seen < 1
    assert table.damage == ()


def test_the_truth_as_prediction(clip: Path) -> None:
    row = rows(measure(true_ab, clip))["it, per frame"]
    assert row.psnr > 33  # its L* is that of Y', not that of the colors
    assert row.colorfulness == pytest.approx(1, abs=0.05)
    assert row.cdc_ratio == pytest.approx(1, abs=0.5)
    assert row.warp_ratio == pytest.approx(1, abs=0.35)


def test_flicker_by_hand(clip: Path) -> None:
    """A step of 6 in a* between all neighbors is 36; the rest is the truth's own."""
    steady, row = (rows(measure(ab, clip))["it, per frame"] for ab in (true_ab, flicker))
    assert row.warp_error is not None
    assert steady.warp_error is not None
    assert row.warp_error - steady.warp_error == pytest.approx(36, abs=2)
    assert row.cdc > 2 * steady.cdc
    assert row.psnr < steady.psnr


def test_stabilizing_takes_flicker_away(clip: Path) -> None:
    found = rows(measure(flicker, clip))
    before, after = found["it, per frame"], found["it, stabilized"]
    assert before.warp_error is not None
    assert after.warp_error is not None
    assert after.warp_error < 0.4 * before.warp_error
    assert after.cdc < 0.7 * before.cdc
    # a model that does not flicker loses nothing
    found = rows(measure(nothing, clip))
    assert found["it, stabilized"].psnr == pytest.approx(found["it, per frame"].psnr)


def test_every_row_has_the_same_pairs_whatever_the_batch(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = measure(flicker, clip)
    monkeypatch.setattr(video, "_BATCH", 1)
    other = measure(flicker, clip)
    for row, same in zip(one.clips[0].rows, other.clips[0].rows, strict=True):
        assert row.name == same.name
        assert row.psnr == pytest.approx(same.psnr)
        assert row.cdc == pytest.approx(same.cdc)
        assert row.warp_error == pytest.approx(same.warp_error)


def test_cuts_and_duplicates_are_left_out(tmp_path: Path) -> None:
    shots = pan(10), pan(10, seed=5, step=2)
    shots[0].insert(4, shots[0][4])
    path = write_clip(tmp_path / "two shots.mkv", [*shots[0], *shots[1]])
    table = measure(true_ab, path)
    found = table.clips[0]
    assert (found.num_frames, found.cuts, found.duplicates) == (21, 1, 1)
    assert found.pairs + found.unmatched == 18
    truth = rows(table)["truth"]
    assert truth.warp_error is not None
    assert truth.warp_error < 3  # a pair across the cut would stand out
    assert "left out: 1 across cuts, 1 duplicated frames" in table.notes[0]


def test_limit_and_segment(clip: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    table = measure(
        nothing,
        clip,
        limit=6,
        progress=lambda path, done, total: seen.append((path.name, done, total)),
    )
    assert table.clips[0].num_frames == 6
    assert seen[-1] == ("pan.mkv", 6, 6)
    segment = Segment(Fraction(2, 10), Fraction(8, 10))
    assert measure(nothing, clip, segment=segment).clips[0].num_frames == 6
    assert measure(nothing, clip, long_side=48).clips[0].width == 48
    with pytest.raises(ValueError, match="at least 5"):
        measure(nothing, clip, limit=4)


def test_several_clips_and_their_means(clip: Path, tmp_path: Path) -> None:
    still = write_clip(tmp_path / "still.mkv", pan(1) * 6)
    bad = tmp_path / "bad.mkv"
    bad.write_bytes(b"no film")
    table = measure(nothing, clip, bad, still, tmp_path / "missing.mkv")
    assert [Path(each.path).name for each in table.clips] == ["pan.mkv", "still.mkv"]
    assert [line.partition(":")[0] for line in table.failed] == [
        str(bad),
        str(tmp_path / "missing.mkv"),
    ]
    first, second = (each.rows[1] for each in table.clips)
    mean = table.mean[1]
    assert mean.name == "gray"
    assert mean.psnr == pytest.approx((first.psnr + second.psnr) / 2)
    # a still clip has no motion to measure and no CDC to divide by
    assert (second.cdc, second.cdc_ratio, second.warp_error, second.warp_ratio) == (
        0,
        None,
        None,
        None,
    )
    assert table.clips[1].duplicates == 5
    assert table.clips[1].seen is None
    assert (mean.cdc_ratio, mean.warp_error) == (first.cdc_ratio, first.warp_error)
    values = json.loads(json.dumps(table.to_dict(), allow_nan=False))
    assert values["clips"][1]["rows"][0]["warp_error"] is None
    assert values["mean"][0]["name"] == "truth"
    assert len(values["failed"]) == 2


def test_folders_and_sequences(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for i, picture in enumerate(pan(6)):
        Image.fromarray(picture).save(folder / f"{i:02d}.png")
    (table,) = measure(nothing, folder / "%02d.png").clips
    assert table.num_frames == 6
    write_clip(folder / "a.mkv", pan(5))
    # of a folder the films are taken and the pictures left
    assert [Path(each.path).name for each in measure(nothing, folder).clips] == ["a.mkv"]
    with pytest.raises(InputError, match=r"00\.png: a picture, not a clip"):
        measure(nothing, folder / "00.png")


def test_clips_that_say_nothing(tmp_path: Path) -> None:
    gray = write_clip(tmp_path / "gray.mkv", [np.full((64, 96, 3), 90, np.uint8)] * 6)
    with pytest.raises(InputError, match=r"gray\.mkv: holds no color .* chroma 0\.0, under 2\)"):
        measure(nothing, gray)
    short = write_clip(tmp_path / "short.mkv", pan(4))
    with pytest.raises(InputError, match=r"short\.mkv: 4 frames to measure on, but CDC needs 5"):
        measure(nothing, short)
    with pytest.raises(InputError, match=r"gray\.mkv.*and 1 more clips that failed"):
        measure(nothing, gray, short)
    with pytest.raises(InputError, match="no clip among the inputs"):
        measure(nothing)


def test_a_look_changes_both_rows(clip: Path) -> None:
    gray = Colorizer("_ramp", device="cpu", size=64, adjustment=ColorAdjustment(saturation=0))
    found = {row.name: row for row in evaluate_video(gray, [clip], name="it").clips[0].rows}
    for name in ("it, per frame", "it, stabilized"):
        assert found[name].colorfulness == pytest.approx(0, abs=1e-3)
        assert found[name].psnr == pytest.approx(found["gray"].psnr, abs=0.05)
