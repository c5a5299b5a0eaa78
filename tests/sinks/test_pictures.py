"""`PictureSink`: pixels, depth, transparency and metadata by format."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from vidcolor.errors import OutputError
from vidcolor.frames import ColorBatch, ColorTags, LumaBatch, PictureInfo, PixelFormat
from vidcolor.sinks import PictureSink
from vidcolor.sinks.tags import revised_exif

LOSSLESS = [".png", ".tif", ".tiff", ".bmp"]
ALL = [*LOSSLESS, ".jpg", ".jpeg", ".webp", ".PNG"]


def exif_block(orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "Zeiss Ikon"
    exif[0x0112] = orientation
    exif.get_ifd(0x8769)[0x9003] = "1938:05:01 12:00:00"
    return exif.tobytes()


@cache  # it holds the second of its making
def rgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def grey_profile() -> bytes:
    profile = bytearray(rgb_profile())
    profile[16:20] = b"GRAY"
    return bytes(profile)


def batch(
    output: Path,
    *,
    depth: int = 8,
    size: tuple[int, int] = (37, 23),
    source: Path | None = None,
    alpha: torch.Tensor | None = None,
    exif: bytes = b"",
    icc: bytes = b"",
    **kept: Any,
) -> ColorBatch:
    width, height = size
    generator = torch.Generator().manual_seed(1)
    top = 1 << depth
    planes = torch.randint(0, top, (3, 1, height, width), generator=generator)
    planes = planes.to(torch.uint8 if depth == 8 else torch.int32)
    picture = PictureInfo(
        source or output.with_name("in.png"),
        output,
        exif=exif,
        icc_profile=icc,
        alpha=alpha,
        **kept,
    )
    luma = LumaBatch(
        torch.zeros(1, 1, height, width, dtype=torch.uint8), 8, True, (0,), (0,), picture=picture
    )
    name = "rgb24" if depth == 8 else "rgb48"
    format = PixelFormat(name, depth, (1, 1), True, ColorTags(True, "bt709"))
    return ColorBatch((planes[0], planes[1], planes[2]), format, luma)


def pixels(colors: ColorBatch) -> np.ndarray:
    return torch.cat(colors.planes).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("suffix", ALL)
def test_every_format(tmp_path: Path, suffix: str) -> None:
    colors = batch(tmp_path / f"été 1{suffix}")
    report = PictureSink().write(colors)
    assert (report.width, report.height, report.bit_depth) == (37, 23, 8)
    assert report.bytes == report.path.stat().st_size
    with Image.open(report.path) as image:
        assert (image.mode, image.size) == ("RGB", (37, 23))
        if suffix.lower() in LOSSLESS:
            assert np.array_equal(np.asarray(image), pixels(colors))
    assert [each.name for each in tmp_path.iterdir()] == [f"été 1{suffix}"]


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_kept(tmp_path: Path, suffix: str, alpha: bool) -> None:
    size = (301, 233)  # several strips of a TIFF
    veil = torch.randint(0, 1 << 16, (233, 301)).to(torch.uint16) if alpha else None
    colors = batch(
        tmp_path / f"a{suffix}",
        depth=16,
        size=size,
        alpha=veil,
        exif=exif_block(),
        icc=rgb_profile(),
    )
    report = PictureSink().write(colors)
    assert report.bit_depth == 16
    data = np.frombuffer(report.path.read_bytes(), np.uint8)
    read = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    assert read.dtype == np.uint16
    assert np.array_equal(read[:, :, 2::-1], pixels(colors))
    if veil is not None:
        assert np.array_equal(read[:, :, 3], veil.numpy())
    with Image.open(report.path) as image:
        assert image.info["icc_profile"] == rgb_profile()
        exif = image.getexif()
        assert exif[0x010F] == "Zeiss Ikon"
        assert exif.get_ifd(0x8769)[0x9003] == "1938:05:01 12:00:00"


def test_deep_codes_are_rescaled_with_rounding(tmp_path: Path) -> None:
    colors = batch(tmp_path / "a.png", depth=12)
    PictureSink().write(colors)
    read = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)[:, :, ::-1]
    assert np.array_equal(read, np.floor(pixels(colors) * 65535 / 4095 + 0.5))
    colors = batch(tmp_path / "a.bmp", depth=16)
    assert PictureSink().write(colors).bit_depth == 8
    with Image.open(tmp_path / "a.bmp") as image:
        assert np.array_equal(np.asarray(image), np.floor(pixels(colors) / 257 + 0.5))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg"])
def test_transparency_is_kept_where_it_can_be(tmp_path: Path, suffix: str) -> None:
    alpha = torch.randint(0, 256, (23, 37)).to(torch.uint8)
    report = PictureSink().write(batch(tmp_path / f"a{suffix}", alpha=alpha))
    with Image.open(report.path) as image:
        if suffix == ".jpg":
            assert image.mode == "RGB"
        else:
            assert image.mode == "RGBA"
            assert np.array_equal(np.asarray(image)[:, :, 3], alpha.numpy())


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg"])
def test_exif_and_profile_are_kept(tmp_path: Path, suffix: str) -> None:
    exif = exif_block(orientation=6)
    report = PictureSink().write(batch(tmp_path / f"a{suffix}", exif=exif, icc=rgb_profile()))
    with Image.open(report.path) as image:
        assert image.info["icc_profile"] == rgb_profile()
        kept = image.getexif()
        assert kept[0x010F] == "Zeiss Ikon"
        assert kept.get_ifd(0x8769)[0x9003] == "1938:05:01 12:00:00"
        assert kept.get(0x0112, 1) == 1  # the pixels are upright already
        assert image.size == (37, 23)


def test_revised_exif_changes_values_in_place() -> None:
    block = exif_block(orientation=8)
    changed = revised_exif(block, 37, 23)
    assert sum(one != other for one, other in zip(block, changed, strict=True)) == 1
    assert revised_exif(b"", 37, 23) == b""
    broken = b"Exif\0\0II*\0\xff\xff\0\0"
    assert revised_exif(broken, 37, 23) == broken


XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/">grüße</x:xmpmeta>'.encode()
TEXTS = (("Title", "the barn"), ("Author", "Łukasz"), ("Story", "once " * 999))


def xmp_of(image: Image.Image) -> bytes | None:
    found = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    return found.encode() if isinstance(found, str) else found


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("exif", [b"", exif_block()])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg", ".bmp"])
def test_resolution_xmp_comment_and_text(
    tmp_path: Path, suffix: str, exif: bytes, depth: int
) -> None:
    kept = {"dpi": (600.0, 300.0), "xmp": XMP, "comment": "Grüße".encode(), "text": TEXTS}
    report = PictureSink().write(batch(tmp_path / f"a{suffix}", depth=depth, exif=exif, **kept))
    lost = {".webp": ("comment", "texts"), ".bmp": ("exif", "xmp", "comment")}.get(suffix, ())
    lost = tuple(name for name in lost if name != "exif" or exif)
    assert [note.split(",")[0] for note in report.notes] == [
        f"{report.path}: left out the {name}" for name in lost
    ]
    with Image.open(report.path) as image:
        image.load()
        if suffix != ".webp":
            assert image.info["dpi"] == pytest.approx((600, 300), abs=0.01)
        if suffix != ".bmp":
            assert xmp_of(image) == XMP
        if suffix == ".jpg":
            assert image.info["comment"] == "Grüße".encode()
        elif suffix == ".png":
            texts = dict(image.text)  # type: ignore[attr-defined]
            texts.pop("XML:com.adobe.xmp")
            assert texts == {**dict(TEXTS), "Comment": "Grüße"}
        elif suffix == ".tif":
            assert image.getexif()[270].encode("latin-1").decode() == "Grüße"
        if exif and suffix != ".bmp":
            assert image.getexif()[0x010F] == "Zeiss Ikon"


def test_nothing_is_invented(tmp_path: Path) -> None:
    for suffix in (".png", ".tif", ".webp", ".jpg", ".bmp"):
        with Image.open(PictureSink().write(batch(tmp_path / f"a{suffix}")).path) as image:
            image.load()
            assert not {"comment", "exif", "xmp"} & set(image.info)
            if suffix != ".bmp":  # its file always has one
                assert (
                    (image.info.get("jfif_unit", 0) == 0
                    and "dpi" not in image.info)
                    or (
                        suffix == ".tif" and 282 not in image.tag_v2  # type: ignore[attr-defined]
                    )
                )


def test_text_of_png_becomes_the_comment_of_jpeg(tmp_path: Path) -> None:
    report = PictureSink().write(batch(tmp_path / "a.jpg", text=TEXTS))
    with Image.open(report.path) as image:
        assert image.info["comment"] == b"the barn"


def test_what_is_too_long_for_jpeg_is_told(tmp_path: Path) -> None:
    long = bytes(70_000).replace(b"\0", b"x")
    report = PictureSink().write(
        batch(tmp_path / "a.jpg", xmp=long, comment=long, exif=b"Exif\0\0" + long)
    )
    assert [note.split(": ")[1] for note in report.notes] == [
        f"left out the {key}, too long for JPEG" for key in ("exif", "xmp", "comment")
    ]
    assert (
        PictureSink()
        .write(
            batch(
                tmp_path / "b.jpg",
                xmp=XMP.ljust(65_504),
                exif=exif_block(),
                icc=rgb_profile(),
            )
        )
        .notes
        == ()
    )


def test_jpeg_has_full_chroma(tmp_path: Path) -> None:
    report = PictureSink().write(batch(tmp_path / "a.jpg"))
    with Image.open(report.path) as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3  # type: ignore[attr-defined]


def test_refusals(tmp_path: Path) -> None:
    output = tmp_path / "a.png"
    output.write_bytes(b"precious")
    with pytest.raises(OutputError, match="already exists"):
        PictureSink().write(batch(output))
    with pytest.raises(OutputError, match="the output is the input itself"):
        PictureSink(overwrite=True).write(batch(output, source=output))
    assert output.read_bytes() == b"precious"
    with pytest.raises(OutputError, match=r"written as \.png, .*choose one of these"):
        PictureSink().write(batch(tmp_path / "a.gif"))
    colors = batch(output)
    assert colors.source.picture is not None
    with pytest.raises(OutputError, match="already exists"):
        PictureSink().check(colors.source.picture)
    PictureSink(overwrite=True).write(colors)
    assert [each.name for each in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(OutputError, match="quality 0"):
        PictureSink(quality=0)


def test_a_picture_that_does_not_read_back_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(image: object, path: Path, *_: object, **__: object) -> None:
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(25) + b"\0\0\0\0IDAT not a picture")

    monkeypatch.setattr("vidcolor.sinks.pictures.save", spoil)
    with pytest.raises(OutputError, match="cannot be read back"):
        PictureSink().write(batch(tmp_path / "a.png"))
    assert list(tmp_path.iterdir()) == []
