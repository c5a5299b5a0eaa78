"""`--dossier`: what the command line adds to a bag."""

from __future__ import annotations

from pathlib import Path

import bagit

from tests.helpers.command_line import Vidcolor
from tests.helpers.shot_folders import moving, write_folder, write_gray_film
from vidcolor.run.references.shot_list import Shot

MADE = ("--model", "_ramp", "--device", "cpu", "--size", "64", "--encoder", "ffv1")


def test_the_page_and_the_lists_of_shots(command: Vidcolor, tmp_path: Path) -> None:
    frames = moving(12, 1, hue=0.5)
    film = write_gray_film(tmp_path / "film.mkv", frames)
    shots = write_folder(tmp_path / "shots", frames, [Shot(1, 0, 11)], stills=(4,))
    answer = command(
        "run", film, "-o", tmp_path / "o.mkv", *MADE, "--dossier", tmp_path / "d", "--shots", shots
    )
    assert answer.code == 0, answer.err
    bag = tmp_path / "d" / "o.mkv"
    bagit.Bag(str(bag)).validate()
    assert "<html" in (bag / "data" / "report.html").read_text(encoding="utf-8")
    copied = bag / "data" / "shots" / "shots.toml"
    assert copied.read_bytes() == (shots / "shots.toml").read_bytes()
