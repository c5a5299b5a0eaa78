"""What the user types becomes a list of films, pictures and sequences."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

from vidcolor.errors import InputError
from vidcolor.sources import (
    FilmInput,
    Input,
    PictureInput,
    SequenceInput,
    expand,
    natural_key,
    output_suffix,
)

KINDS = {FilmInput: "film", PictureInput: "picture", SequenceInput: "sequence"}


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names(items: list[Input]) -> list[tuple[str, str]]:
    return [(i.relative.as_posix(), KINDS[type(i)]) for i in items]


def test_folder_in_natural_order(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tmp_path / "été 1923"
    touch(
        *(root / n for n in ("img10.PNG", "img2.png", "Img1.jpg", "film.MKV", "notes.txt")),
        *(root / n for n in ("reel 10/a.tif", "reel 9/b.tif", ".hidden.png", ".git/c.png")),
    )
    with caplog.at_level(logging.INFO):
        found = names(expand([str(root)], rate=None))
    assert found == [
        ("film.MKV", "film"),
        ("Img1.jpg", "picture"),
        ("img2.png", "picture"),
        ("img10.PNG", "picture"),
        ("reel 9/b.tif", "picture"),
        ("reel 10/a.tif", "picture"),
    ]
    assert "1 other files" in caplog.text


def test_natural_key() -> None:
    given = ["b", "a10", "a2", "A1", "a02", "10", "9", ""]
    assert sorted(given, key=natural_key) == ["9", "10", "A1", "a02", "a2", "a10", "b", ""]


def test_files(working_folder: Path) -> None:
    touch(working_folder / "a.mp4", working_folder / "sub/b.jpeg", working_folder / "c.unknown")
    found = expand(["a.mp4", "sub/b.jpeg", "c.unknown", "./a.mp4"], rate=None)
    assert names(found) == [("a.mp4", "film"), ("b.jpeg", "picture"), ("c.unknown", "film")]
    assert found[1].path == Path("sub/b.jpeg")


def test_glob(working_folder: Path) -> None:
    touch(*(working_folder / "scans" / n for n in ("10.tif", "9.tif", "x.txt", "odd [1].tif")))
    touch(working_folder / "scans/deep/1.tif")
    assert names(expand(["scans/*.tif"], rate=None)) == [
        ("9.tif", "picture"),
        ("10.tif", "picture"),
        ("odd [1].tif", "picture"),
    ]
    assert ("deep/1.tif", "picture") in names(expand(["scans/**/*.tif"], rate=None))
    # A file of that very name is meant, not the pattern.
    assert names(expand(["scans/odd [1].tif"], rate=None)) == [("odd [1].tif", "picture")]
    with pytest.raises(InputError, match="matches no file"):
        expand(["scans/*.png"], rate=None)


def test_sequence(working_folder: Path) -> None:
    touch(*(working_folder / f"frames/{i:05d}.png" for i in (3, 4)))
    touch(*(working_folder / f"frames/shot_{i}.png" for i in (0, 1)))
    (item,) = expand(["frames/%05d.png"], rate=Fraction(24))
    assert item == SequenceInput(Path("frames/%05d.png"), Path("frames"))
    (item,) = expand(["frames/shot_%d.png"], rate=Fraction(24))
    assert item.relative == Path("shot")
    with pytest.raises(InputError, match="--fps"):
        expand(["frames/%05d.png"], rate=None)
    touch(working_folder / "frames/00006.png")
    with pytest.raises(InputError, match=r"00005\.png: missing"):
        expand(["frames/%05d.png"], rate=Fraction(24))


@pytest.mark.parametrize("animated", [False, True])
@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_what_an_animation_is(tmp_path: Path, animated: bool, form: str) -> None:
    path = tmp_path / f"a.{form.lower()}"
    images = [Image.new("RGB", (8, 8), (40 * i, 0, 0)) for i in range(3)]
    more = {"save_all": True, "append_images": images[1:]} if animated else {}
    images[0].save(path, format=form, **more)
    kind = "film" if animated and form == "PNG" else "picture"  # FFmpeg cannot decode the other
    assert [KINDS[type(i)] for i in expand([str(path)], rate=None)] == [kind]


def test_formats_that_are_only_read(tmp_path: Path) -> None:
    touch(*(tmp_path / n for n in ("a.pgm", "b.PPM", "c.tga", "d.jp2", "e.tif")))
    assert [KINDS[type(i)] for i in expand([str(tmp_path)], rate=None)] == ["picture"] * 5
    assert output_suffix(Path("scans/a.PGM")) == output_suffix(Path("d.jp2")) == ".png"
    assert output_suffix(Path("e.tif")) == ".tif" and output_suffix(Path("F.JPG")) == ".JPG"


def test_what_is_left_out_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(*(tmp_path / n for n in ("a.png", "b.HEIC", "sub/c.heic", "d.nef", "e.txt", "f.braw")))
    assert names(expand([str(tmp_path)], rate=None)) == [("a.png", "picture")]
    (warning,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    line = warning.getMessage()
    assert str(tmp_path) in line and "1 .braw, 2 .heic, 1 .nef" in line and "convert" in line
    caplog.clear()
    assert names(expand([str(tmp_path / "*")], rate=None)) == [("a.png", "picture")]
    assert "1 .braw, 1 .heic, 1 .nef" in caplog.text
    with pytest.raises(InputError, match=r"b\.HEIC: \.heic pictures are not read; convert it"):
        expand([str(tmp_path / "b.HEIC")], rate=None)
    with pytest.raises(InputError, match="no picture that is read; convert them"):
        expand([str(tmp_path / "*.nef")], rate=None)


def test_gif_of_one_picture_is_a_picture(tmp_path: Path) -> None:
    one, two = Image.new("L", (8, 8)), Image.new("L", (8, 8), 200)
    one.save(tmp_path / "one.gif")
    one.save(tmp_path / "two.gif", save_all=True, append_images=[two])
    found = expand([str(tmp_path)], rate=None)
    assert [(KINDS[type(i)], i.output.name) for i in found] == [
        ("picture", "one.png"),
        ("film", "two.gif"),
    ]


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        expand([str(tmp_path / "nothing.mp4")], rate=None)
    touch(tmp_path / "empty/readme.txt")
    with pytest.raises(InputError, match="holds no film and no picture"):
        expand([str(tmp_path / "empty")], rate=None)
