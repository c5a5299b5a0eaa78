"""L* of a picture as a color-managed viewer shows it, and the layouts that pictures come in."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import AppendingTiffWriter

from tests.helpers.clips import pattern
from tests.helpers.profiles import ADOBE_RGB, PRO_PHOTO, gray_profile, rgb_profile
from tests.helpers.tiffs import write_tiff
from vidcolor.frames import LumaBatch
from vidcolor.sources import PictureSource
from vidcolor.sources.orientation import upright

GRAY, DEEP = pattern(0, 65, 49), pattern(0, 65, 49, 16)
RGB = np.stack([pattern(i, 65, 49) for i in range(3)], axis=-1)


def read(path: Path) -> LumaBatch:
    (batch,) = PictureSource([(path, path.with_suffix(".out"))]).batches()
    return batch


def lightness(batch: LumaBatch) -> np.ndarray:
    assert len(batch) == 1, batch.damage
    level = batch.luma[0, 0].numpy() / ((1 << batch.bit_depth) - 1)
    linear = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    return lightness_of_luminance(linear)


def lightness_of_luminance(y: np.ndarray) -> np.ndarray:
    """Source: CIE 15:2004, 8.2.1."""
    return np.where(y > 216 / 24389, 116 * np.cbrt(y) - 16, y * 24389 / 27)


def shown(path: Path) -> np.ndarray:
    """L* by LittleCMS through Pillow, to a step of 8 bits."""
    image = Image.open(path)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    lab = ImageCms.createProfile("LAB")
    transform = ImageCms.buildTransform(
        profile, lab, image.mode, "LAB", renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC
    )
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None
    return np.asarray(converted)[..., 0] / 2.55


@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.2])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_gray_profile_of_a_gamma(tmp_path: Path, suffix: str, gamma: float) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(GRAY).save(path, icc_profile=gray_profile(gamma=gamma), quality=100)
    stored = np.asarray(Image.open(path)) / 255
    expected = lightness_of_luminance(stored**gamma)
    assert np.abs(lightness(read(path)) - expected).max() < 0.5  # LittleCMS' curves in the dark
    picture = read(path).picture
    assert picture is not None and picture.icc_profile == b""  # written as sRGB


def test_gray_profile_of_dot_gain(tmp_path: Path) -> None:
    ink = 1 - np.linspace(0, 1, 256)
    curve = 1 - np.clip(ink + 0.8 * ink * (1 - ink), 0, 1)  # 20 % more at half
    for suffix in (".png", ".tif"):
        path = tmp_path / f"a{suffix}"
        Image.fromarray(GRAY).save(path, icc_profile=gray_profile(curve=curve))
        expected = lightness_of_luminance(curve[GRAY])
        assert np.abs(lightness(read(path)) - expected).max() < 0.3


@pytest.mark.parametrize("primaries", [ADOBE_RGB, PRO_PHOTO])
def test_rgb_profile(tmp_path: Path, primaries: Sequence[Sequence[float]]) -> None:
    profile = rgb_profile(primaries, gamma=1.8)
    Image.fromarray(RGB).save(tmp_path / "a.png", icc_profile=profile)
    batch = read(tmp_path / "a.png")
    assert np.abs(lightness(batch) - shown(tmp_path / "a.png")).max() < 0.5
    assert batch.picture is not None and batch.picture.icc_profile == profile and batch.picture.wide
    assert batch.picture.bit_depth == 8 and batch.bit_depth == 16


def test_srgb_profile_keeps_the_codes_of_gray(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(np.repeat(GRAY[..., None], 3, axis=2)).save(
        tmp_path / "a.png", icc_profile=profile
    )
    batch = read(tmp_path / "a.png")
    assert np.array_equal(batch.luma[0, 0].numpy(), GRAY)
    assert batch.picture is not None and not batch.picture.wide


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(pixels: np.ndarray, extra: bytes = b"") -> bytes:
    """Source: PNG (third edition), 5.3 and 11.2."""
    height, width = pixels.shape[:2]
    deep = pixels.dtype == np.uint16
    kind = {2: 0, 3: 2}[pixels.ndim]
    head = struct.pack(">IIBBBBB", width, height, 16 if deep else 8, kind, 0, 0, 0)
    rows = (b"\0" + (row.astype(">u2") if deep else row).tobytes() for row in pixels)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra
        + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")
    )  # fmt: skip


def test_png_gamma_and_primaries(tmp_path: Path) -> None:
    linear = chunk(b"gAMA", struct.pack(">I", 100_000))
    adobe = (31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)
    wide = chunk(b"cHRM", struct.pack(">8I", *adobe))
    (tmp_path / "gray.png").write_bytes(png(GRAY, linear))
    expected = lightness_of_luminance(GRAY / 255)
    assert np.abs(lightness(read(tmp_path / "gray.png")) - expected).max() < 0.3
    (tmp_path / "rgb.png").write_bytes(png(RGB, linear + wide))
    batch = read(tmp_path / "rgb.png")
    # Adobe RGB (1998), 4.3.5, adapted to D50: the luminance of its primaries
    expected = lightness_of_luminance(RGB / 255 @ np.array([0.31111, 0.62567, 0.06322]))
    assert np.abs(lightness(batch) - expected).max() < 0.3
    assert batch.picture is not None and batch.picture.wide
    usual = chunk(b"gAMA", struct.pack(">I", 45455))
    (tmp_path / "usual.png").write_bytes(png(GRAY, usual))
    assert np.array_equal(read(tmp_path / "usual.png").luma[0, 0].numpy(), GRAY)


def test_saturated_colors_have_the_lightness_of_their_light(tmp_path: Path) -> None:
    pure = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    Image.fromarray(pure).save(tmp_path / "a.png")
    # CSS Color 4: lab of red, green and blue, by D65
    assert lightness(read(tmp_path / "a.png"))[0] == pytest.approx([53.24, 87.73, 32.30], abs=0.02)


def test_cmyk_without_a_profile(tmp_path: Path) -> None:
    inks = np.dstack([np.zeros_like(GRAY)] * 3 + [255 - GRAY])
    write_tiff(tmp_path / "a.tif", inks, photometric=5)
    batch = read(tmp_path / "a.tif")
    assert np.array_equal(batch.luma[0, 0].numpy(), GRAY)
    assert "complements" in batch.notes[0]
    deep = np.dstack([np.zeros_like(DEEP)] * 3 + [65535 - DEEP])
    write_tiff(tmp_path / "deep.tif", deep, photometric=5)
    (line,) = read(tmp_path / "deep.tif").damage
    assert "16-bit CMYK without a color profile" in line


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("codes", [GRAY, DEEP])
def test_white_is_zero(tmp_path: Path, codes: np.ndarray, order: Literal["<", ">"]) -> None:
    top = np.iinfo(codes.dtype).max
    write_tiff(tmp_path / "a.tif", top - codes, photometric=0, order=order)
    assert np.array_equal(read(tmp_path / "a.tif").luma[0, 0].numpy(), codes)


@pytest.mark.parametrize("codes", [GRAY, DEEP])
def test_planes_apart(tmp_path: Path, codes: np.ndarray) -> None:
    rgb = np.repeat(codes[..., None], 3, axis=2)
    write_tiff(tmp_path / "a.tif", rgb, photometric=2, planar=True)
    assert np.array_equal(read(tmp_path / "a.tif").luma[0, 0].numpy(), codes)


@pytest.mark.parametrize("codes", [GRAY, DEEP])
def test_fourth_samples(tmp_path: Path, codes: np.ndarray) -> None:
    top = int(np.iinfo(codes.dtype).max)
    veil = np.full_like(codes, top)
    veil[:, :30] = top // 4
    rgb = np.repeat(codes[..., None], 3, axis=2)
    write_tiff(tmp_path / "ir.tif", np.dstack([rgb, veil]), photometric=2, extra=(0,))
    batch = read(tmp_path / "ir.tif")
    assert np.array_equal(batch.luma[0, 0].numpy(), codes)
    assert batch.picture is not None and batch.picture.alpha is None
    assert "left out the samples beyond its color" in batch.notes[0]
    write_tiff(tmp_path / "alpha.tif", np.dstack([rgb, veil]), photometric=2, extra=(2,))
    batch = read(tmp_path / "alpha.tif")
    assert batch.picture is not None and batch.picture.alpha is not None
    assert np.array_equal(batch.picture.alpha.numpy(), veil) and not batch.notes
    assert np.array_equal(batch.luma[0, 0].numpy(), codes)
    times = (rgb.astype(np.uint64) * veil[..., None] // top).astype(codes.dtype)
    write_tiff(tmp_path / "times.tif", np.dstack([times, veil]), photometric=2, extra=(1,))
    batch = read(tmp_path / "times.tif")
    assert np.abs(batch.luma[0, 0].numpy().astype(int) - codes).max() <= 4
    assert batch.picture is not None and batch.picture.alpha is not None
    write_tiff(tmp_path / "gray.tif", np.dstack([codes, veil]), photometric=1, extra=(2,))
    batch = read(tmp_path / "gray.tif")
    assert np.array_equal(batch.luma[0, 0].numpy(), codes)
    assert batch.picture is not None and batch.picture.alpha is not None


def test_lab(tmp_path: Path) -> None:
    for codes in (GRAY, DEEP):
        zero = np.zeros_like(codes)
        write_tiff(tmp_path / "a.tif", np.dstack([codes, zero, zero]), photometric=8)
        expected = codes * (100 / np.iinfo(codes.dtype).max)
        assert np.abs(lightness(read(tmp_path / "a.tif")) - expected).max() < 0.02


def test_transparent_gray_of_png(tmp_path: Path) -> None:
    gone = chunk(b"tRNS", struct.pack(">H", int(DEEP[5, 5])))
    (tmp_path / "a.png").write_bytes(png(DEEP, gone))
    picture = read(tmp_path / "a.png").picture
    assert picture is not None and picture.alpha is not None
    assert np.array_equal(picture.alpha.numpy() == 0, DEEP[5, 5] == DEEP)


def test_hidden_transparency_of_bmp_is_told(tmp_path: Path) -> None:
    veil = np.full_like(GRAY, 255)
    veil[:9] = 60
    Image.fromarray(np.dstack([RGB, veil])).save(tmp_path / "a.bmp")
    assert "transparency" in read(tmp_path / "a.bmp").notes[0]
    Image.fromarray(RGB).save(tmp_path / "b.bmp")
    assert read(tmp_path / "b.bmp").notes == ()


@pytest.mark.parametrize(
    ("bits", "sample_format", "words"),
    [
        (12, 1, "12-bit gray TIFF is not supported; save it as 16-bit"),
        (16, 3, "half-float: floating-point pixels are not supported"),
        (32, 3, "floating-point pixels are not supported"),
        (16, 2, "signed 16-bit pixels are not supported"),
        (32, 1, "32-bit pixels are not supported"),
    ],
)
def test_what_is_not_read_is_named(
    tmp_path: Path, bits: int, sample_format: int, words: str
) -> None:
    codes = np.zeros((8, 8), {12: np.uint16, 16: np.uint16, 32: np.uint32}[bits])
    write_tiff(tmp_path / "a.tif", codes, bits=bits, sample_format=sample_format)
    (line,) = read(tmp_path / "a.tif").damage
    assert words in line and "good copy" not in line


def test_small_copies_in_a_tiff_are_passed_over(tmp_path: Path) -> None:
    large: tuple[Image.Image, dict[int, int]] = (Image.fromarray(GRAY), {})
    small = (Image.fromarray(GRAY[::4, ::4]), {254: 1})
    path = tmp_path / "a.tif"
    for pages in ((large, small), (small, large)):
        with AppendingTiffWriter(path, new=True) as file:
            for image, tags in pages:
                image.save(file, format="TIFF", tiffinfo=tags)
                file.newFrame()
        batch = read(path)
        assert np.array_equal(batch.luma[0, 0].numpy(), GRAY)
        assert batch.picture is not None and batch.picture.pages == 1
        assert "1 smaller copies" in batch.notes[0]


def test_bombs_are_refused_by_default(tmp_path: Path) -> None:
    head = struct.pack(">IIBBBBB", 30000, 30000, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(3751) * 30000, 9)
    path = tmp_path / "bomb.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )
    (line,) = read(path).damage
    assert "look like a decompression bomb; if it is none, give --large-pictures" in line


def test_pipes_are_never_opened(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "a.png")
    assert "is not a regular file" in read(tmp_path / "a.png").damage[0]


def test_samples_that_the_tags_leave_out_do_not_make_a_file_damaged(tmp_path: Path) -> None:
    """libtiff warns where ExtraSamples is missing; the pixels are whole."""
    write_tiff(tmp_path / "a.tif", np.dstack([GRAY, GRAY[::-1]]))
    batch = read(tmp_path / "a.tif")
    assert np.array_equal(batch.luma[0, 0].numpy(), GRAY)
    assert not batch.damage and any("infrared" in note for note in batch.notes)


@pytest.mark.parametrize("order", ["<", ">"])
def test_big_tiff(tmp_path: Path, order: Literal["<", ">"]) -> None:
    codes = GRAY.astype(np.uint16) * 257
    height, width = codes.shape
    tags = [(256, 4, width), (257, 4, height), (258, 3, 16), (259, 3, 1), (262, 3, 1)]
    tags += [(273, 4, 16), (274, 3, 3), (277, 3, 1), (278, 4, height), (279, 4, codes.nbytes)]
    data = codes.astype(codes.dtype.newbyteorder(order)).tobytes()
    head = struct.pack(f"{order}HHHQ", 43, 8, 0, 16 + len(data))
    folder = struct.pack(f"{order}Q", len(tags))
    for tag, kind, value in tags:
        form = {3: "H6x", 4: "I4x"}[kind]
        folder += struct.pack(f"{order}HHQ{form}", tag, kind, 1, value)
    start = b"II" if order == "<" else b"MM"
    (tmp_path / "a.tif").write_bytes(start + head + data + folder + bytes(8))
    assert np.array_equal(read(tmp_path / "a.tif").luma[0, 0].numpy(), codes[::-1, ::-1])


def test_the_cause_of_a_failure_is_that_of_the_file(tmp_path: Path) -> None:
    """libvips keeps the errors of all threads in one place."""
    Image.fromarray(np.tile(GRAY, (8, 8))).save(tmp_path / "whole.jpg")
    data = (tmp_path / "whole.jpg").read_bytes()
    paths = [tmp_path / f"{number}.jpg" for number in range(96)]
    for path in paths:
        path.write_bytes(data[: len(data) // 2] + b"\xff\xd9")
    source = PictureSource([(path, path) for path in paths])
    with ThreadPoolExecutor(8) as pool:
        batches = list(pool.map(source.read, range(len(paths))))
    for path, batch in zip(paths, batches, strict=True):
        (line,) = batch.damage
        assert line.startswith(f"{path}: was decoded") and "premature end of data" in line


def test_delays_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.roll(GRAY, 5 * number, 1)) for number in range(3)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:],
                   duration=[40, 80, 120], loop=2, lossless=True)  # fmt: skip
    for page in range(3):
        batch = PictureSource([(tmp_path / "a.webp", tmp_path / "b.webp")]).read(0, page)
        assert batch.picture is not None
        assert (batch.picture.delays, batch.picture.loop) == ((40, 80, 120), 2)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_large_pictures_are_turned_in_place(
    monkeypatch: pytest.MonkeyPatch, orientation: int
) -> None:
    monkeypatch.setattr("vidcolor.sources.orientation._LINES", 4)
    codes = np.arange(35 * 22, dtype=np.uint16).reshape(35, 22)
    places = {1: codes, 2: codes[:, ::-1], 3: codes[::-1, ::-1], 4: codes[::-1]}
    places |= {5: codes.T, 6: codes[::-1].T, 7: codes[::-1, ::-1].T, 8: codes[:, ::-1].T}
    wanted = places[orientation].copy()
    found = upright(codes, orientation)
    assert np.array_equal(found, wanted) and np.shares_memory(found, codes)


def test_alpha_of_16_bits(tmp_path: Path) -> None:
    """Kept as it is, also where its first strips would fit into 8 bits."""
    for last in (65535, 1000):
        veil = np.full(GRAY.shape, 257 * 90, np.uint16)
        veil[-1] = last
        write_tiff(tmp_path / "a.tif", np.dstack([GRAY.astype(np.uint16) * 257, veil]), extra=[2])
        picture = read(tmp_path / "a.tif").picture
        assert picture is not None and picture.alpha is not None
        alpha = picture.alpha.numpy().astype(int)
        assert np.array_equal(alpha * (257 if picture.alpha.dtype == torch.uint8 else 1), veil)
