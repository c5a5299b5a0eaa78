"""`PictureSink`: pixels, depth, transparency and metadata by format."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from tests.helpers.profiles import ADOBE_RGB, PRO_PHOTO
from tests.helpers.profiles import rgb_profile as space_profile
from vidcolor.errors import OutputError
from vidcolor.frames import ColorBatch, ColorTags, LumaBatch, PictureInfo, PixelFormat
from vidcolor.sinks import PictureSink
from vidcolor.sinks.tags import revised_exif
from vidcolor.sources import PictureSource

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


def gray_profile() -> bytes:
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
    assert read is not None and read.dtype == np.uint16
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
    read = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    assert read is not None
    assert np.array_equal(read[:, :, ::-1], np.floor(pixels(colors) * 65535 / 4095 + 0.5))
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
    kept: dict[str, Any] = {
        "dpi": (600.0, 300.0),
        "xmp": XMP,
        "comment": "Grüße".encode(),
        "text": TEXTS,
    }
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
                assert (image.info.get("jfif_unit", 0) == 0 and "dpi" not in image.info) or (
                    suffix == ".tif" and 282 not in image.tag_v2  # type: ignore[attr-defined]
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


def shown(path: Path) -> np.ndarray:
    """L*, a*, b* `(H, W, 3)` by LittleCMS, to a step of 8 bits."""
    image = Image.open(path)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    lab = ImageCms.createProfile("LAB")
    transform = ImageCms.buildTransform(
        profile, lab, "RGB", "LAB", renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC
    )
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None
    values = np.asarray(converted).astype(float)
    signed = (values[..., 1:] + 128) % 256 - 128
    return np.dstack([values[..., 0] / 2.55, signed])


@pytest.mark.parametrize("primaries", [ADOBE_RGB, PRO_PHOTO])
def test_colors_are_converted_into_the_profile_s_space(
    tmp_path: Path, primaries: tuple[tuple[float, ...], ...]
) -> None:
    level = np.linspace(60, 200, 37).astype(int)
    rgb = np.stack([np.tile(level + shift, (23, 1)) for shift in (30, 0, -30)])
    luma = np.full((23, 37), 128 * 257, np.uint16)
    for wide in (False, True):
        colors = batch(tmp_path / f"{wide}.png", depth=16, bit_depth=8, wide=wide,
                       icc=space_profile(primaries, 1.8) if wide else rgb_profile())  # fmt: skip
        red, green, blue = torch.from_numpy(rgb.astype(np.int32) * 257)[:, None].unbind(0)
        source = replace(colors.source, luma=torch.from_numpy(luma)[None, None], bit_depth=16)
        PictureSink().write(replace(colors, planes=(red, green, blue), source=source))
    narrow, wide_ = shown(tmp_path / "False.png"), shown(tmp_path / "True.png")
    assert np.abs(narrow[..., 1:] - wide_[..., 1:]).max() <= 2  # codes of a* and b*
    assert np.abs(wide_[..., 0] - 53.6).max() < 1  # of the luma, 128
    stored = np.asarray(Image.open(tmp_path / "True.png")).astype(int)
    assert np.abs(stored - np.asarray(Image.open(tmp_path / "False.png"))).max() > 5


def test_untagged_pictures_become_srgb(tmp_path: Path) -> None:
    for suffix in (".png", ".tif", ".webp", ".jpg"):
        with Image.open(PictureSink().write(batch(tmp_path / f"a{suffix}")).path) as image:
            name = ImageCms.getProfileDescription(
                ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
            )
        assert "sRGB" in name


def test_formats_follow_the_input(tmp_path: Path) -> None:
    report = PictureSink().write(batch(tmp_path / "a.webp", lossless=True))
    colors = batch(tmp_path / "a.webp")
    with Image.open(report.path) as image:
        assert np.array_equal(np.asarray(image), pixels(colors))
    for name, number in (("lzw", 5), ("none", 1), ("packbits", 32773), ("deflate", 8)):
        report = PictureSink().write(batch(tmp_path / f"{name}.tif", compression=name))
        with Image.open(report.path) as image:
            assert image.tag_v2[259] == number  # type: ignore[attr-defined]
            assert np.array_equal(np.asarray(image), pixels(colors))
    sizes = [
        PictureSink().write(batch(tmp_path / f"{quality}.jpg", quality=quality)).bytes
        for quality in (0, 90, 99)
    ]
    assert sizes[0] == sizes[1] < sizes[2]


def test_avif(tmp_path: Path) -> None:
    report = PictureSink().write(batch(tmp_path / "a.avif", depth=16, exif=exif_block(6)))
    assert report.bit_depth == 16
    with Image.open(report.path) as image:
        assert image.size == (37, 23)
        assert image.getexif()[0x010F] == "Zeiss Ikon" and image.getexif().get(0x0112, 1) == 1


def test_iptc_is_kept(tmp_path: Path) -> None:
    records = b"\x1c\x02\x78\0\x0dFlower market"
    for suffix in (".jpg", ".tif", ".png"):
        report = PictureSink().write(batch(tmp_path / f"a{suffix}", iptc=records))
        found = PictureSource([(report.path, report.path)]).read(0).picture
        assert found is not None and found.iptc.rstrip(b"\0") == records and not report.notes
    report = PictureSink().write(batch(tmp_path / "a.webp", iptc=records))
    assert "left out the iptc" in report.notes[0]


def test_thumbnail_is_made_anew(tmp_path: Path) -> None:
    small = io.BytesIO()
    Image.new("L", (24, 32), 90).save(small, "JPEG")
    data = small.getvalue()
    block = exif_with_thumbnail(data)
    report = PictureSink().write(batch(tmp_path / "a.jpg", exif=block))
    with Image.open(report.path) as image:
        found = image.getexif()
        assert found[0x0112] == 1
        inner = found.get_ifd(0x8769)
        assert (inner[0xA002], inner[0xA003]) == (37, 23)
        raw = image.info["exif"][6:]
        start, size = (struct.unpack_from("<I", raw, 68 + 2 + 12 * i + 8)[0] for i in (1, 2))
        thumbnail = Image.open(io.BytesIO(raw[start : start + size]))
        assert thumbnail.size == (37, 23) and thumbnail.mode == "RGB"
    assert data not in report.path.read_bytes()


def exif_with_thumbnail(data: bytes) -> bytes:
    """An EXIF block of a picture on its side, 23x37, with a thumbnail. Source: TIFF 6.0, 2."""
    first, inner, second, start = 8, 8 + 2 + 24 + 4, 8 + 2 + 24 + 4 + 30, 200
    entry = struct.Struct("<HHII")
    body = struct.pack("<2sHI", b"II", 42, first)
    body += struct.pack("<H", 2) + entry.pack(0x0112, 3, 1, 6) + entry.pack(0x8769, 4, 1, inner)
    body += struct.pack("<I", second)
    body += struct.pack("<H", 2) + entry.pack(0xA002, 4, 1, 23) + entry.pack(0xA003, 4, 1, 37)
    body += struct.pack("<I", 0)
    body += struct.pack("<H", 3) + entry.pack(0x0103, 3, 1, 6)
    body += entry.pack(0x0201, 4, 1, start) + entry.pack(0x0202, 4, 1, len(data))
    return b"Exif\0\0" + (body + struct.pack("<I", 0)).ljust(start, b"\0") + data


def test_pages_in_any_order(tmp_path: Path) -> None:
    sink = PictureSink()
    output = tmp_path / "a.tif"
    parts = [
        batch(output, size=(20 + number, 10), page=number, pages=3, exif=exif_block())
        for number in range(3)
    ]
    for number in (2, 0, 1):
        report = sink.write(parts[number])
        assert bool(report.bytes) == (number == 1)
    with Image.open(output) as image:
        assert image.n_frames == 3  # type: ignore[attr-defined]
        for number in range(3):
            image.seek(number)
            assert np.array_equal(np.asarray(image), pixels(parts[number]))
            assert image.getexif()[0x010F] == "Zeiss Ikon"
    frames = [
        batch(tmp_path / "b.webp", page=number, pages=2, lossless=True, delays=(80, 80))
        for number in range(2)
    ]
    for number, frame in enumerate(frames):  # equal frames would become one
        red, green, blue = frame.planes[number:] + frame.planes[:number]
        frames[number] = replace(frame, planes=(red, green, blue))
        sink.write(frames[number])
    with Image.open(tmp_path / "b.webp") as image:
        assert image.n_frames == 2  # type: ignore[attr-defined]
        for number, frame in enumerate(frames):
            image.seek(number)
            assert np.array_equal(np.asarray(image.convert("RGB")), pixels(frame))
            assert image.info["duration"] == 80


def breaking(part: ColorBatch) -> Iterator[ColorBatch]:
    """Its upper five rows, then an error."""
    red, green, blue = (plane[:, :5] for plane in part.planes)
    yield replace(part, planes=(red, green, blue))
    raise OutputError("the second strip cannot be made")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp", ".avif", ".bmp"])
def test_a_picture_whose_strips_end_in_an_error_is_not_kept(tmp_path: Path, suffix: str) -> None:
    part = batch(tmp_path / f"a{suffix}")
    with pytest.raises(OutputError, match="second strip"):
        PictureSink().write_strips(part.source, breaking(part), 8)
    assert not list(tmp_path.iterdir())


def test_a_page_that_cannot_be_written_is_left_out(tmp_path: Path) -> None:
    for bad in range(3):
        sink = PictureSink()
        output = tmp_path / f"{bad}.tif"
        parts = [batch(output, size=(20 + n, 10), page=n, pages=3) for n in range(3)]
        for number, part in enumerate(parts):
            strips = breaking(part) if number == bad else iter([part])
            report = sink.write_strips(part.source, strips, 8)
            assert (report.failure is not None) == (number == bad)
        assert report.path == tmp_path / f"{bad}.incomplete.tif" and report.bytes
        with Image.open(report.path) as image:
            assert image.n_frames == 2  # type: ignore[attr-defined]
            for place, number in enumerate(n for n in range(3) if n != bad):
                image.seek(place)
                assert np.array_equal(np.asarray(image), pixels(parts[number]))
    assert len(list(tmp_path.iterdir())) == 3


def test_a_closed_sink_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    sink = PictureSink()
    with closing(sink):
        sink.write(batch(tmp_path / "a.tif", page=0, pages=2))
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())
