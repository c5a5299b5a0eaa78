"""The TensorBoard log, read back with TensorBoard's own reader."""

from __future__ import annotations

import io
import math
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vidcolor.errors import OutputError, TrainingError
from vidcolor.evaluation.sheets import write_contact_sheet
from vidcolor.training.results.tensorboard import TensorBoardLog


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder)).Reload()


def scalars(log: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in log.Scalars(tag)]


def test_what_is_logged_comes_back(tmp_path: Path) -> None:
    picture = torch.rand(2, 3, 16, 16)
    write_contact_sheet(picture[:, :1], picture, picture, tmp_path / "sheet.png")
    folder = tmp_path / "deep" / "tensorboard"
    with closing(TensorBoardLog(folder)) as log:
        log.recipe({"model": "skip_cnn", "lr": [1e-3]})
        log.epoch({"epoch": 1, "train_loss": 0.5, "loss": 0.75, "psnr": 20.0, "lr": 0.125})
        row = {"epoch": 2, "train_loss": 0.25, "loss": math.nan, "psnr": None, "lr": 0.125}
        log.epoch(row, tmp_path / "sheet.png")
    found = read(folder)
    assert set(found.Tags()["scalars"]) == {
        "loss/train",
        "loss/validation",
        "psnr/validation",
        "run/lr",
    }
    assert scalars(found, "loss/train") == [(1, 0.5), (2, 0.25)]
    assert scalars(found, "psnr/validation") == [(1, 20.0)]
    assert scalars(found, "run/lr") == [(1, 0.125), (2, 0.125)]
    assert math.isnan(scalars(found, "loss/validation")[1][1])
    (image,) = found.Images("sheet")
    assert image.step == 2
    with (
        Image.open(io.BytesIO(image.encoded_image_string)) as logged,
        Image.open(tmp_path / "sheet.png") as written,
    ):
        assert (np.asarray(logged) == np.asarray(written)).all()
    (text,) = found.Tensors("recipe/text_summary")
    assert b"| model | skip_cnn |" in text.tensor_proto.string_val[0]


def test_an_epoch_is_on_disk_before_the_end(tmp_path: Path) -> None:
    with closing(TensorBoardLog(tmp_path)) as log:
        log.epoch({"epoch": 1, "loss": 0.5})
        assert scalars(read(tmp_path), "loss/validation") == [(1, 0.5)]


def test_a_resumed_log_replaces_what_was_lost(tmp_path: Path) -> None:
    with closing(TensorBoardLog(tmp_path)) as log:
        for epoch in (1, 2, 3):
            log.epoch({"epoch": epoch, "loss": 0.5})
    (first,) = tmp_path.iterdir()
    # names hold the second and sort by it; the second process comes later
    first.rename(first.with_name(first.name.replace("tfevents.", "tfevents.0")))
    with closing(TensorBoardLog(tmp_path, first_epoch=2)) as log:
        log.epoch({"epoch": 2, "loss": 0.25})
    assert scalars(read(tmp_path), "loss/validation") == [(1, 0.5), (2, 0.25)]


def test_a_missing_package_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in sys.modules if n.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(TrainingError, match=r"pip install 'vidcolor\[tensorboard\]'") as caught:
        TensorBoardLog(tmp_path / "log")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "log").exists()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="the TensorBoard log cannot be written"):
        TensorBoardLog(tmp_path / "file" / "log")
