"""What an extension costs: a package of the test's own adds a model, an encoder, a loss, an option
and a command, each in one place, and the command line uses them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.clips import encode, frames
from tests.helpers.films import read_frames, read_streams
from tests.helpers.readback import luma_codes
from tests.training.conftest import write_picture
from vidcolor.color.convert import rgb_to_lab

ROOT = Path(__file__).resolve().parents[1]

MODEL = '''
import torch
from vidcolor.models import ColorModel, register_model

@register_model("one_color")
class OneColor(ColorModel):
    """The same a*b* everywhere."""

    stride = 8

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("ab", torch.tensor([12.0, -8.0]).view(1, 2, 1, 1))

    def forward(self, lightness):
        return self.ab.expand(len(lightness), 2, *lightness.shape[-2:])
'''

ENCODER = """
from vidcolor.sinks.encoder_table import ENCODERS, Encoder

ENCODERS["libvpx-vp9"] = Encoder(
    codec="VP9",
    crf=0,
    max_crf=63,
    preset_option="cpu-used",
    preset="8",
    options={"lossless": "1"},
    odd_subsampled=True,
)
"""

OPTION = """
from dataclasses import dataclass
from vidcolor.options import option
from vidcolor.run.settings import Settings

@dataclass(frozen=True)
class ToneSettings(Settings):
    warmth: int = option(0, low=-50, high=50, help="Warmth of a toned print.")
"""

OBJECTIVE = """
import torch.nn.functional as F
from vidcolor.training.objectives import Objective, register_objective

@register_objective("shifted_l1")
class ShiftedL1(Objective):
    def loss(self, raw, batch):
        ab = F.interpolate(batch.ab, size=raw.shape[-2:], mode="area")
        return 1000 + F.l1_loss(raw.float(), ab)
"""

COMMAND = """
from dataclasses import replace
import click
from vidcolor import Colorizer, ColorAdjustment, ColorizerOptions, colorize
from vidcolor.cli import COMMANDS
from vidcolor.cli.options import takes
from .option import ToneSettings

COMMANDS["tone"] = ("extension.command:tone", "Make a toned print.")

@click.command()
@click.argument("source")
@click.argument("output")
@takes(options=ColorizerOptions, settings=ToneSettings)
def tone(source: str, output: str, options: ColorizerOptions, settings: ToneSettings) -> None:
    toned = ColorAdjustment(saturation=0, temperature=settings.warmth)
    colorizer = Colorizer(options, adjustment=toned)
    (report,) = colorize(source, output, colorizer=colorizer, settings=settings)
    print(report.status, settings.warmth)
"""

# every line of the command line in one process, because importing torch takes seconds
MAIN = """
import json, sys
from pathlib import Path
import torch
from extension import command, encoder, model, objective
from vidcolor.cli import main
from vidcolor.models.entry import Entry
from vidcolor.models.weights import save_weights

entry = Entry("one_color")
save_weights(Path("w.safetensors"), model.OneColor().state_dict(), entry, torch.float32)
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["vidcolor", *arguments]
    try:
        main()
    except SystemExit as exit:
        print("exit", exit.code, flush=True)
"""
WEIGHTS = ("--weights", "w.safetensors", "--device", "cpu", "--size", "32")
LINES = {
    "film": (
        "run",
        "in.mkv",
        "-o",
        "out.mkv",
        *WEIGHTS,
        "--encoder",
        "libvpx-vp9",
        "--luma",
        "exact",
    ),
    "picture": ("run", "in.png", "-o", "out.png", *WEIGHTS),
    "tone": ("tone", "in.png", "toned.png", *WEIGHTS, "--warmth", "40"),
    "wrong": ("tone", "in.png", "no.png", *WEIGHTS, "--warmth", "51"),
    "help": ("tone", "--help"),
    "commands": ("--help",),
    "train": (
        *("train", "--recipe", "s2", "--data", "pictures", "--set", "size=16"),
        *("--set", "test_part=split", "--set", "split=[0.6,0.2,0.2]", "--epochs", "1"),
        *("--set", "objective=shifted_l1", "--workers", "0", "--device", "cpu", "-o", "trained"),
    ),
}


@dataclass(frozen=True)
class Outcome:
    """What the lines left behind and printed."""

    folder: Path
    out: str
    err: str


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("extension")
    package = folder / "extension"
    package.mkdir()
    parts = {"model": MODEL, "encoder": ENCODER, "option": OPTION, "command": COMMAND}
    parts["objective"] = OBJECTIVE
    for name, text in {"__init__": "", "__main__": MAIN, **parts}.items():
        (package / f"{name}.py").write_text(text)
    encode(folder / "in.mkv", "ffv1", "yuv420p", frames(3))
    Image.new("L", (48, 32), 119).save(folder / "in.png")  # L* 50
    (folder / "pictures").mkdir()
    for seed in range(10):
        write_picture(folder / "pictures" / f"{seed}.png", seed, side=24)
    done = subprocess.run(
        [sys.executable, "-m", "extension", json.dumps(list(LINES.values()))],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT)))},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return Outcome(folder, done.stdout, done.stderr)


def ab_of(pixels: np.ndarray) -> torch.Tensor:
    """Mean a*b* of R'G'B' `(H, W, 3)` uint8."""
    rgb = torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float() / 255
    return rgb_to_lab(rgb)[1:].mean(dim=(1, 2))


def test_every_line_ends_as_it_should(outcome: Outcome) -> None:
    codes = [line.split()[1] for line in outcome.out.splitlines() if line.startswith("exit")]
    assert codes == ["0", "0", "2"], outcome.err  # other commands return
    assert "Traceback" not in outcome.err


def test_a_new_model_and_a_new_encoder_make_a_film(outcome: Outcome) -> None:
    film = outcome.folder / "out.mkv"
    assert read_streams(film)[0].codec == "vp9"
    assert np.array_equal(luma_codes(film), np.stack(frames(3)))
    planes = [frame.to_ndarray(format="yuv444p") for frame in read_frames(film)]
    cb, cr = np.stack(planes).mean(axis=(0, 2, 3))[1:]
    assert cb > 130 and cr > 130  # a* 12, b* -8 is violet


def test_a_new_model_colors_a_picture(outcome: Outcome) -> None:
    with Image.open(outcome.folder / "out.png") as image:
        assert ab_of(np.asarray(image)) == pytest.approx([12, -8], abs=0.5)


def test_a_new_option_and_a_new_command(outcome: Outcome) -> None:
    with Image.open(outcome.folder / "toned.png") as image:
        assert ab_of(np.asarray(image)) == pytest.approx([0, 8], abs=0.5)  # 20 * 40 / 100
    assert "done 40" in outcome.out
    assert "--warmth INTEGER RANGE" in outcome.out and "Warmth of a toned print." in outcome.out
    assert "Make a toned print." in outcome.out
    assert "--warmth" in outcome.err and not (outcome.folder / "no.png").exists()


def test_a_new_loss_trains(outcome: Outcome) -> None:
    results = json.loads((outcome.folder / "trained" / "results.json").read_text(encoding="utf-8"))
    assert results["recipe"]["objective"] == "shifted_l1"
    assert results["history"][0]["train_loss"] > 1000
    assert (outcome.folder / "trained" / "weights.safetensors").exists()
