"""Still pictures: exact values, orientation, what is kept, and what cannot be read."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from tests.helpers.clips import pattern
from vidcolor.frames import LumaBatch
from vidcolor.sources import PictureSource

GRAY = pattern(0, 65, 49)
DEEP = pattern(1, 65, 49, 16)
RGB = np.stack([pattern(i, 65, 49) for i in range(3)], axis=-1)
RGB16 = np.stack([pattern(i, 65, 49, 16) for i in range(3)], axis=-1)

# EXIF 2.32, tag 274: how the stored rows and columns are turned to stand upright.
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).T,
    8: np.rot90,
}


def read(path: Path) -> LumaBatch:
    (batch,) = PictureSource([(path, path.with_suffix(".out"))]).batches()
    assert batch.picture is not None and batch.picture.path == path
    return batch


def values(batch: LumaBatch) -> np.ndarray:
    assert len(batch) == 1 and batch.damage == () and batch.full_range
    return batch.luma[0, 0].numpy()


def lightness_of(rgb: np.ndarray) -> np.ndarray:
    """L* of sRGB in [0, 1], `(H, W, 3)` or gray. Sources: IEC 61966-2-1:1999; CIE 15:2004."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    y = linear if rgb.ndim == 2 else linear @ np.array([0.2126729, 0.7151522, 0.0721750])
    return np.where(y > 216 / 24389, 116 * np.cbrt(y) - 16, y * 24389 / 27)


def lightness(batch: LumaBatch) -> np.ndarray:
    """L* of the codes that a batch holds."""
    return lightness_of(values(batch) / ((1 << batch.bit_depth) - 1))


def write_cv(path: Path, array: np.ndarray) -> None:
    path.write_bytes(cv2.imencode(path.suffix, array)[1].tobytes())


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".webp"])
def test_gray_is_exact(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"über été{suffix}"
    Image.fromarray(GRAY).save(path, lossless=True)
    batch = read(path)
    assert np.array_equal(values(batch), GRAY)
    assert (batch.bit_depth, batch.luma.dtype, batch.is_color) == (8, torch.uint8, False)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"gray{suffix}"
    write_cv(path, DEEP)
    batch = read(path)
    assert np.array_equal(values(batch), DEEP)
    assert (batch.bit_depth, batch.luma.dtype) == (16, torch.uint16)
    same = tmp_path / f"same{suffix}"
    write_cv(same, np.repeat(DEEP[..., None], 3, axis=2))
    assert np.array_equal(values(read(same)), DEEP)
    color = tmp_path / f"color{suffix}"
    write_cv(color, RGB16[..., ::-1])
    assert np.abs(lightness(read(color)) - lightness_of(RGB16 / 65535)).max() < 0.01
    assert read(color).is_color


def test_sixteen_bit_alpha(tmp_path: Path) -> None:
    write_cv(tmp_path / "a.png", np.dstack([RGB16[..., ::-1], DEEP]))
    batch = read(tmp_path / "a.png")
    assert batch.picture is not None and batch.picture.alpha is not None
    assert np.array_equal(batch.picture.alpha.numpy(), DEEP)


def test_white_is_zero_tiff(tmp_path: Path) -> None:
    for array in (GRAY, DEEP):
        path = tmp_path / f"inverted{array.dtype}.tif"
        Image.fromarray(array).save(path)
        data = bytearray(path.read_bytes())
        order = "<" if data[:2] == b"II" else ">"
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            if struct.unpack_from(order + "H", data, at)[0] == 262:
                struct.pack_into(order + "H", data, at + 8, 0)
        path.write_bytes(data)
        assert np.array_equal(values(read(path)), np.iinfo(array.dtype).max - array)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_color_and_alpha(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"c{suffix}"
    alpha = 255 - GRAY // 2  # WebP drops the color of wholly transparent pixels
    Image.fromarray(np.dstack([RGB, alpha])).save(path, lossless=True)
    batch = read(path)
    assert np.abs(lightness(batch) - lightness_of(RGB / 255)).max() < 0.01
    assert batch.picture is not None and batch.picture.alpha is not None
    assert np.array_equal(batch.picture.alpha.numpy(), alpha)
    assert batch.is_color


def test_palette_bilevel_and_transparent_palette(tmp_path: Path) -> None:
    Image.fromarray(GRAY // 8 * 8).convert("P").save(tmp_path / "p.png")
    assert np.array_equal(values(read(tmp_path / "p.png")), GRAY // 8 * 8)
    Image.fromarray(GRAY).convert("P").save(tmp_path / "t.png", transparency=bytes(range(256)))
    batch = read(tmp_path / "t.png")
    assert batch.picture is not None and batch.picture.alpha is not None
    Image.fromarray(GRAY > 99).save(tmp_path / "b.tif", compression="group4")
    assert np.array_equal(values(read(tmp_path / "b.tif")), (GRAY > 99) * np.uint8(255))


def test_jpeg_gray_rgb_and_cmyk(tmp_path: Path) -> None:
    smooth = np.tile(np.arange(65, dtype=np.uint8) * 3, (49, 1))
    for mode in ("L", "RGB", "CMYK"):
        path = tmp_path / f"{mode}.jpg"
        Image.fromarray(smooth).convert("RGB").convert(mode).save(path, quality=98)
        difference = values(read(path)).astype(int) - smooth
        assert np.abs(difference).max() <= 3, mode


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_orientation(tmp_path: Path, orientation: int, suffix: str) -> None:
    path = tmp_path / f"turned{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "a barn"
    flat = np.tile(np.arange(65, dtype=np.uint8) * 3, (49, 1))  # JPEG keeps it within a code or two
    flat[:24] //= 2
    Image.fromarray(flat).save(path, exif=exif, lossless=True, quality=100)
    batch = read(path)
    got = values(batch).astype(int)
    assert got.shape == UPRIGHT[orientation](flat).shape
    assert np.abs(got - UPRIGHT[orientation](flat)).max() <= (4 if suffix == ".jpg" else 0)
    assert batch.picture is not None
    kept = Image.Exif()
    kept.load(batch.picture.exif)
    assert kept[0x010E] == "a barn"


def deep_tiff(array: np.ndarray, orientation: int) -> bytes:
    """An uncompressed little-endian TIFF of `(H, W, 3)` uint16. Source: TIFF 6.0."""
    height, width, _ = array.shape
    fields = [
        *((256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, 8 + 2 + 11 * 12 + 4)),
        *((259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 152), (274, 3, 1, orientation)),
        *((277, 3, 1, 3), (278, 3, 1, height), (279, 4, 1, array.nbytes), (284, 3, 1, 1)),
    ]
    head = struct.pack("<2sHIH", b"II", 42, 8, len(fields))
    folder = b"".join(struct.pack("<HHII", *field) for field in fields)
    return head + folder + struct.pack("<I3H", 0, 16, 16, 16) + array.tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_deep_tiff(tmp_path: Path, orientation: int) -> None:
    (tmp_path / "t.tif").write_bytes(deep_tiff(RGB16, orientation))
    write_cv(tmp_path / "flat.png", RGB16[..., ::-1])
    flat = values(read(tmp_path / "flat.png"))
    assert np.array_equal(values(read(tmp_path / "t.tif")), UPRIGHT[orientation](flat))


def test_exif_and_icc_are_kept(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0found in the attic"
    Image.fromarray(GRAY).save(tmp_path / "k.jpg", exif=exif, icc_profile=profile)
    batch = read(tmp_path / "k.jpg")
    assert batch.picture is not None
    assert batch.picture.icc_profile == profile
    assert b"found in the attic" in batch.picture.exif
    assert batch.picture.exif.startswith(b"Exif\0\0")


XMP = '<rdf:Description tiff:Orientation="%d" dc:creator="Łukasz"/>'


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp"])
def test_resolution_xmp_and_comment(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = tmp_path / f"m{suffix}"
    more: dict[str, Any] = {"comment": "grüße".encode()} if suffix in (".jpg", ".webp") else {}
    xmp = (XMP % orientation).encode()
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "Müller".encode()  # a writer that does not mind the ASCII of the standard
    if suffix == ".png":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        more = {"pnginfo": info}
    elif suffix == ".tif":
        exif[700] = xmp
    Image.fromarray(GRAY).save(path, dpi=(600, 300), xmp=xmp, exif=exif, **more)
    (batch,) = PictureSource([(path, path)]).batches()
    picture = batch.picture
    assert picture is not None
    if suffix == ".webp":
        assert picture.dpi is None  # WebP has none
    else:
        turned = orientation == 6 and suffix != ".bmp"  # the picture is turned, and so is its dpi
        assert picture.dpi == pytest.approx((300, 600) if turned else (600, 300), abs=0.01)
    if suffix == ".bmp":
        assert picture.xmp == b""
    elif suffix == ".tif":  # Pillow drops the orientation
        assert b"\xc5\x81ukasz" in picture.xmp and b'Orientation="6"' not in picture.xmp
    else:
        assert picture.xmp == (XMP % 1).encode()
    assert picture.comment == ("grüße".encode() if suffix == ".jpg" else b"")
    assert picture.text == ()
    if suffix != ".bmp":
        assert "Müller".encode() in picture.exif


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_bad_exif_stops_no_picture(tmp_path: Path, suffix: str) -> None:
    for exif in (b"Exif\0\0MM", b"Exif\0\0junk" * 9):
        path = tmp_path / f"b{suffix}"
        Image.fromarray(GRAY).save(path, exif=exif, lossless=True)
        batch = read(path)
        assert values(batch).shape == GRAY.shape and batch.picture is not None
        assert batch.picture.exif == b""
        assert batch.notes == (f"{path}: its EXIF block is damaged and left out",)


def test_text_of_png(tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("Title", "the barn")
    info.add_text("Story", "long " * 999, zip=True)
    info.add_itxt("Author", "Łukasz", lang="pl")
    info.add_text("comment", "of some tool")
    info.add_text("Raw profile type APP1", "\nAPP1\n      2\n4d4d\n")
    info.add(b"tEXt", b"After\0the pixels", after_idat=True)
    Image.fromarray(GRAY).save(tmp_path / "t.png", pnginfo=info)
    picture = read(tmp_path / "t.png").picture
    assert picture is not None and picture.comment == b"" and picture.dpi is None
    assert dict(picture.text) == {
        "Title": "the barn",
        "Story": "long " * 999,
        "Author": "Łukasz",
        "comment": "of some tool",
        "After": "the pixels",
    }
    assert all(type(part) is str for pair in picture.text for part in pair)


def pnm(array: np.ndarray, white: int) -> bytes:
    """Source: Netpbm, pgm(5) and ppm(5)."""
    kind = b"P6" if array.ndim == 3 else b"P5"
    size = b"%d %d" % (array.shape[1], array.shape[0])
    codes = array.astype(np.uint8 if white < 256 else ">u2")
    return kind + b"\n# of a scanner, 1 2 3\n" + size + b"\n%d\n" % white + codes.tobytes()


def test_netpbm(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(pnm(GRAY, 255))
    assert np.array_equal(values(read(tmp_path / "a.pgm")), GRAY)
    (tmp_path / "b.pgm").write_bytes(pnm(DEEP, 65535))
    assert np.array_equal(values(read(tmp_path / "b.pgm")), DEEP)
    for white, depth in ((1023, 10), (65535, 16)):
        codes = pattern(1, 65, 49, 16) >> (16 - depth)
        (tmp_path / "c.ppm").write_bytes(pnm(np.repeat(codes[..., None], 3, axis=2), white))
        batch = read(tmp_path / "c.ppm")
        assert batch.bit_depth == 16
        assert np.array_equal(values(batch), (codes * 65535.0 / white + 0.5).astype(np.uint16))


@pytest.mark.parametrize("suffix", [".tga", ".jp2", ".pcx", ".sgi", ".pbm", ".qoi"])
def test_other_formats(tmp_path: Path, suffix: str) -> None:
    wanted = GRAY if suffix != ".pbm" else (GRAY > 99) * np.uint8(255)
    image = Image.fromarray(wanted if suffix != ".pbm" else GRAY > 99)
    (image.convert("RGB") if suffix == ".qoi" else image).save(tmp_path / f"a{suffix}")
    batch = read(tmp_path / f"a{suffix}")
    assert np.array_equal(values(batch), wanted)
    assert batch.picture is not None and batch.picture.comment == b""


@pytest.mark.parametrize("gray", [False, True])
def test_deep_jpeg_2000(tmp_path: Path, gray: bool) -> None:
    write_cv(tmp_path / "a.jp2", DEEP if gray else np.repeat(DEEP[..., None], 3, axis=2))
    batch = read(tmp_path / "a.jp2")
    assert batch.bit_depth == 16
    assert np.abs(values(batch).astype(int) - DEEP).mean() < 2000  # of 65535; OpenCV's is lossy


def test_several_pictures_in_one_file(tmp_path: Path) -> None:
    images = [Image.fromarray(pattern(i, 65, 49)) for i in range(3)]
    for suffix in (".webp", ".tif"):
        path = tmp_path / f"many{suffix}"
        images[0].save(path, save_all=True, append_images=images[1:], lossless=True)
        batch = read(path)
        assert np.array_equal(values(batch), GRAY)
        assert batch.notes == (f"{path}: holds 3 pictures; each is colorized",)
        source = PictureSource([(path, path)])
        assert source.page_sizes(0) == [65 * 49] * 3
        for page in range(3):
            picture = source.read(0, page)
            assert np.array_equal(values(picture), pattern(page, 65, 49))
            assert picture.picture is not None
            assert (picture.picture.page, picture.picture.pages) == (page, 3)
    Image.fromarray(GRAY).save(tmp_path / "one.tif")
    assert read(tmp_path / "one.tif").notes == ()


def test_each_cause_has_its_own_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(name: str) -> str:
        (line,) = read(tmp_path / name).damage
        head, line = line[: len(str(tmp_path / name)) + 2], line[len(str(tmp_path / name)) + 2 :]
        assert head == f"{tmp_path / name}: " and line.count(";") == 1
        return line

    Image.fromarray(GRAY.astype(np.float32)).save(tmp_path / "float.tif")
    assert told("float.tif") == (
        "floating-point pixels are not supported; save it with 8 or 16 bits"
    )
    assert told("gone.png") == "no such file; check the name"
    (tmp_path / "empty.png").touch()
    assert told("empty.png") == "is empty; restore it from a good copy"
    heads = {"one.tif": b"I", "two.tif": b"II*", "nine.png": b"\x89PNG\r\n\x1a\n\0"}
    for name, head in heads.items():
        (tmp_path / name).write_bytes(head)
        assert told(name) == (
            "cannot be read (not a picture, or cut short at its very start); "
            "restore it from a good copy"
        )
    (tmp_path / "text.jpg").write_bytes(b"hello" * 99)
    assert told("text.jpg").endswith("; restore it from a good copy")
    Image.fromarray(GRAY).save(tmp_path / "large.png")

    def refuse(*_: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert told("large.png") == ("cannot be read (Permission denied); check the file's permissions")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    items = []
    for suffix in (".png", ".jpg", ".webp", ".tif", ".bmp"):
        whole = io.BytesIO()
        Image.fromarray(RGB).save(whole, format=Image.registered_extensions()[suffix])
        for share in (0.0, 0.02, 0.5, 0.9):
            path = tmp_path / f"cut {share}{suffix}"
            path.write_bytes(whole.getvalue()[: int(len(whole.getvalue()) * share)])
            items.append((path, path))
    deep = cv2.imencode(".png", RGB16)[1].tobytes()
    for name, data in (("deep.png", deep[: len(deep) // 2]), ("text.jpg", b"hello" * 99)):
        (tmp_path / name).write_bytes(data)
        items.append((tmp_path / name, tmp_path / name))
    items.append((tmp_path / "gone.png", tmp_path / "gone.png"))
    batches = list(PictureSource(items).batches())
    assert len(batches) == len(items)
    for (path, _), batch in zip(items, batches, strict=True):
        assert len(batch) == 0 and batch.luma.shape[0] == 0
        assert batch.picture is not None and batch.picture.path == path
        (line,) = batch.damage
        assert line.startswith(f"{path}: ") and line.count(";") == 1 and "\n" not in line


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("pixels", [GRAY, RGB])
def test_jpeg_without_its_end_marker(tmp_path: Path, pixels: np.ndarray, progressive: bool) -> None:
    """It is decoded, but not trusted: its last rows may be missing too."""
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=90, progressive=progressive)
    (tmp_path / "a.jpg").write_bytes(data.getvalue())
    whole = values(read(tmp_path / "a.jpg"))
    for cut in (1, 2):
        (tmp_path / "a.jpg").write_bytes(data.getvalue()[:-cut])
        batch = read(tmp_path / "a.jpg")
        assert np.array_equal(batch.luma[0, 0].numpy(), whole)
        (line,) = batch.damage
        assert "end marker" in line
    (tmp_path / "a.jpg").write_bytes(data.getvalue()[: len(data.getvalue()) * 3 // 4])
    assert len(read(tmp_path / "a.jpg")) == 0


def test_pillow_prints_nothing(tmp_path: Path) -> None:
    entries = [(256, 4, 8), (257, 4, 8), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8)]
    entries += [(277, 3, 65535), (278, 4, 8), (279, 4, 64)]
    table = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries))
    (tmp_path / "a.tif").write_bytes(head + table + bytes(68))
    code = "import pathlib, sys; from vidcolor.sources import PictureSource; "
    code += "p = pathlib.Path(sys.argv[1]); print(len(PictureSource([(p, p)]).read(0)))"
    command = [sys.executable, "-c", code, str(tmp_path / "a.tif")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_pictures_come_in_order(tmp_path: Path) -> None:
    items = []
    for i in range(5):
        Image.fromarray(GRAY[: 10 + i]).save(tmp_path / f"{i}.png")
        items.append((tmp_path / f"{i}.png", tmp_path / f"out{i}.png"))
    found = [(batch.first_index, batch.luma.shape[2]) for batch in PictureSource(items).batches()]
    assert found == [(i, 10 + i) for i in range(5)]
