"""The options that steer the result, on the command line: run, preview and eval."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.clips import encode
from tests.helpers.command_line import Vidcolor
from tests.helpers.films import read_frames
from tests.helpers.readback import files_in
from tests.helpers.tiny_encoder import save, scene
from vidcolor.color.convert import lab_to_rgb, lightness_to_gray, rgb_to_lab
from vidcolor.run.colorizer import Colorizer

TINY = ("--model", "_tiny", "--device", "cpu", "--size", "96")
RAMP = ("--model", "_ramp", "--device", "cpu", "--size", "64")


@pytest.fixture
def color(tmp_path: Path) -> Path:
    return save(tmp_path / "reference.png", scene(1, hue=0.5))


@pytest.fixture
def gray(tmp_path: Path, color: Path) -> Path:
    with Image.open(color) as image:
        image.convert("L").save(tmp_path / "gray.png")
    return tmp_path / "gray.png"


def ab_of(path: Path, box: tuple[int, int, int, int] | None = None) -> torch.Tensor:
    with Image.open(path) as image:
        pixels = np.array(image.convert("RGB").crop(box) if box else image.convert("RGB"))
    return rgb_to_lab(torch.from_numpy(pixels).permute(2, 0, 1).float() / 255)[1:]


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).square().sum(dim=0).sqrt().mean())


def test_run_with_a_reference(command: Vidcolor, color: Path, gray: Path, tmp_path: Path) -> None:
    truth = ab_of(color)
    found = {}
    for name, more in (
        ("plain", ()),
        ("full", ("--reference", color)),
        ("half", ("--reference", color, "--reference-strength", "0.5")),
        ("none", ("--reference", color, "--reference-strength", "0")),
    ):
        output = tmp_path / f"{name}.png"
        answer = command("run", gray, "-o", output, "--no-provenance", *TINY, *more)
        assert (answer.code, answer.out) == (0, "")
        found[name] = distance(ab_of(tmp_path / f"{name}.png"), truth)
    assert found["full"] < 5 < found["half"] < found["plain"]
    assert (tmp_path / "none.png").read_bytes() == (tmp_path / "plain.png").read_bytes()


def test_temperature_tint_and_mirroring(command: Vidcolor, tmp_path: Path) -> None:
    Image.new("L", (48, 32), 119).save(tmp_path / "g.png")  # L* 50
    ab = {}
    for name, more in (
        ("plain", ()),
        ("warm", ("--temperature", "50")),
        ("green", ("--tint", "-50")),
        ("gray", ("--saturation", "0")),
        ("mirrored", ("--tta",)),
    ):
        output = tmp_path / f"{name}.png"
        assert command("run", tmp_path / "g.png", "-o", output, *RAMP, *more).code == 0
        ab[name] = ab_of(output).mean(dim=(1, 2))
    assert ab["warm"] - ab["plain"] == pytest.approx([0, 10], abs=0.5)
    assert ab["green"] - ab["plain"] == pytest.approx([-10, 0], abs=0.5)
    assert ab["gray"] == pytest.approx([0, 0], abs=0.01)
    assert torch.equal(ab["mirrored"], ab["plain"])  # of a flat picture


def test_a_film_and_its_preview(command: Vidcolor, color: Path, tmp_path: Path) -> None:
    with Image.open(color) as image:
        luma = np.array(image.convert("L"))
    film = encode(tmp_path / "f.mkv", "ffv1", "gray", [luma] * 3).path
    reference = ("--reference", color, "--reference", color)
    answer = command("run", film, "-o", tmp_path / "o.mkv", *TINY, *reference)
    assert answer.code == 0
    sheets = []
    for name, more in (("plain.png", ()), ("pulled.png", (*reference, "--temperature", "-30"))):
        sheet = tmp_path / name
        assert command("run", film, "-o", sheet, *TINY, "--preview", "1", *more).code == 0
        sheets.append(ab_of(sheet, (496, 8, 976, 488)))  # the right one of the pair
    assert distance(*sheets) > 8


def test_eval(command: Vidcolor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    forward = Colorizer._forward

    def counted(
        self: Colorizer, lightness: torch.Tensor, with_features: bool
    ) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
        seen.append(lightness)
        return forward(self, lightness, with_features)

    monkeypatch.setattr(Colorizer, "_forward", counted)
    (tmp_path / "set").mkdir()
    one = save(tmp_path / "set" / "1.png", scene(1, hue=0.5))
    options = ("--at", "96", "--json")
    rows = {}
    for name, more in (
        ("plain", ()),
        ("pulled", ("--reference", one)),
        ("mirrored", ("--tta",)),
        ("cold", ("--temperature", "-100", "--tint", "-100")),
    ):
        seen.clear()
        answer = command("eval", tmp_path / "set", *TINY, *options, *more)
        assert answer.code == 0
        if name == "mirrored":
            assert len(seen) == 2
            assert torch.equal(seen[1], seen[0].flip(-1))
        rows[name] = json.loads(answer.out)["rows"][-1]["psnr"]
    assert rows["pulled"] > rows["plain"] + 5
    assert rows["cold"] < rows["plain"]


def two_shots(folder: Path) -> tuple[Path, Path]:
    """A film of two shots of 8 frames, whose halves change places, and a folder with a warm and a
    cold picture."""
    left, right = (rgb_to_lab(scene(seed, hue=0.0))[:, :1] for seed in (1, 2))
    both = torch.cat([left, right], dim=3)
    views = [both, torch.cat([right, left], dim=3)]
    (folder / "palette").mkdir()
    for name, ab in (("1 warm.png", (20.0, 15.0)), ("2 cold.png", (-10.0, -20.0))):
        planes = torch.tensor(ab).view(1, 2, 1, 1).expand(1, 2, *both.shape[-2:])
        save(folder / "palette" / name, lab_to_rgb(torch.cat([both, planes], dim=1)))
    lumas = [(lightness_to_gray(view)[0, 0] * 255).round().byte().numpy() for view in views]
    frames = [luma for luma in lumas for _ in range(8)]
    film = encode(folder / "two.mkv", "ffv1", "gray", frames).path
    return film, folder / "palette"


def chroma_signs(path: Path) -> list[str]:
    """For each frame of a film whether it is warm, cold or neither."""
    found = []
    for frame in read_frames(path):
        lab = rgb_to_lab(torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1) / 255)
        b = float(lab[2].mean())
        found.append("warm" if b > 10 else "cold" if b < -14 else "neither")
    return found


@pytest.mark.parametrize("more", [(), ("--no-stabilize",), ("--batch-size", "5")])
def test_a_folder_has_a_picture_for_each_shot(
    command: Vidcolor, tmp_path: Path, more: tuple[str, ...]
) -> None:
    film, folder = two_shots(tmp_path)
    # at 136 the model sees the frames of 192x96 as they are
    options = ("run", film, *TINY, "--size", "136", "--encoder", "ffv1", *more)
    answer = command(*options, "-o", tmp_path / "o.mkv", "--reference", folder)
    assert answer.code == 0 and "warning" not in answer.err
    assert chroma_signs(tmp_path / "o.mkv") == ["warm"] * 8 + ["cold"] * 8
    (folder / "2 cold.png").rename(folder / "0 cold.png")
    (folder / "3 more.png").write_bytes((folder / "1 warm.png").read_bytes())
    answer = command(*options, "-o", tmp_path / "p.mkv", "--reference", folder)
    assert chroma_signs(tmp_path / "p.mkv") == ["cold"] * 8 + ["warm"] * 8
    assert (
        f"warning: {film}: 2 shots were found for 3 reference pictures; from 3 more.png on unused"
        in answer.err
    )
    (folder / "1 warm.png").unlink()
    (folder / "3 more.png").unlink()  # the last one stays
    answer = command(*options, "-o", tmp_path / "q.mkv", "--reference", folder)
    assert chroma_signs(tmp_path / "q.mkv") == ["cold"] * 16


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--reference", "none.png"), 1, "error: none.png: no such file"),
        (("--reference", "bad.png"), 1, "error: bad.png: cannot be read"),
        (("--reference", "empty"), 1, "error: empty: holds no picture"),
        (("--reference", "empty", "--reference", "reference.png"), 1, "stands alone"),
        (("--reference", "reference.png", "--model", "_ramp"), 2, "has no encoder features"),
        (("--reference-strength", "0.5"), 2, "--reference-strength needs --reference"),
        (("--reference", "reference.png", "--reference-strength", "2"), 2, "--reference-strength"),
        (
            ("--reference", "reference.png", "--reference-strength", "nan"),
            2,
            "--reference-strength",
        ),
        (("--temperature", "101"), 2, "--temperature"),
        (("--tint", "-101"), 2, "--tint"),
        (("--tint", "nan"), 2, "--tint"),
        (("--saturation", "nan"), 2, "--saturation"),
        (("--saturation", "5.1"), 2, "--saturation"),
        (("--reference", ""), 2, "--reference"),
        (("--weights", ""), 2, "--weights"),
        (("--size", "31"), 2, "--size"),
        (("--size", "4097"), 2, "--size"),
    ],
)
@pytest.mark.parametrize("verb", ["run", "eval"])
def test_what_is_refused(
    command: Vidcolor,
    color: Path,
    gray: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    (tmp_path / "empty").mkdir()
    before = files_in(tmp_path)
    target = gray if verb == "run" else tmp_path
    answer = command(verb, target, *TINY, *arguments)
    assert answer.code == code and answer.out == ""
    assert message in answer.err.splitlines()[-1] and "Traceback" not in answer.err
    assert files_in(tmp_path) == before


def test_a_near_gray_reference_brings_a_warning(
    command: Vidcolor, gray: Path, tmp_path: Path
) -> None:
    answer = command("run", gray, "-o", tmp_path / "o.png", *TINY, "--reference", gray)
    assert answer.code == 0
    assert f"warning: {gray}: is nearly gray" in answer.err
