"""Films that are damaged, no films at all, or numbered sequences with and without gaps."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.helpers.clips import (
    Clip,
    damage_of,
    encode,
    frames,
    luma_of,
    make_frame,
    pattern,
    pts_of,
)
from vidcolor.errors import InputError
from vidcolor.sources import FilmSource
from vidcolor.sources.truncation import cut_off


def cut(clip: Clip, to: Path, share: float) -> Path:
    data = clip.path.read_bytes()
    to.write_bytes(data[: int(len(data) * share)])
    return to


@pytest.mark.parametrize("batch_size", [1, 4])
def test_truncated_film(tmp_path: Path, batch_size: int) -> None:
    options = {"movflags": "+faststart"}
    clip = encode(tmp_path / "w.mp4", "libx264", "yuv420p", frames(24), container_options=options)
    source = FilmSource(cut(clip, tmp_path / "cut.mp4", 0.6))
    batches = list(source.batches(batch_size))
    count = sum(map(len, batches))
    assert 0 < count < 24
    (line,) = [d for d in damage_of(batches) if "ends early" in d]
    assert line == f"{tmp_path / 'cut.mp4'}: ends early: {count} of 24 frames"
    assert pts_of(batches) == sorted(pts_of(batches))
    assert [b.first_index for b in batches] == [
        min(batch_size * i, count) for i in range(len(batches))
    ]


def test_truncated_matroska(tmp_path: Path, gray_film: Clip) -> None:
    source = FilmSource(cut(gray_film, tmp_path / "cut.mkv", 0.5))
    batches = list(source.batches(4))
    count = sum(map(len, batches))
    assert 0 < count < 12
    assert np.array_equal(luma_of(batches)[: count - 1], gray_film.luma[: count - 1])
    assert any("ends early" in d for d in damage_of(batches))


def with_sound(path: Path, options: dict[str, str]) -> Path:
    """24 frames of video with sound, in the way of a camera: a second, interleaved."""
    with av.open(str(path), "w", options=options) as container:
        video = container.add_stream("mpeg4", rate=24, options={"g": "4"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        codec = "pcm_s16le" if path.suffix == ".avi" else "aac"
        audio = container.add_stream(codec, rate=24000, layout="mono")
        assert isinstance(audio, av.AudioStream)
        for i, codes in enumerate(frames(24)):
            image = make_frame("yuv420p", codes)
            image.pts, image.time_base = i, Fraction(1, 24)
            container.mux(video.encode(image))
            noise = np.random.default_rng(i).integers(-999, 999, (1, 1024)).astype(np.float32)
            samples = noise / 1000 if codec == "aac" else noise.astype(np.int16)
            form = "fltp" if codec == "aac" else "s16"
            sound = av.AudioFrame.from_ndarray(samples, format=form, layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = 24000, 1024 * i, Fraction(1, 24000)
            container.mux(audio.encode(sound))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return path


CONTAINERS = {
    "riff.avi": {},
    "fragments.mp4": {"movflags": "frag_keyframe+empty_moov"},
    "first.mp4": {"movflags": "faststart"},
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_containers_that_hide_that_they_were_cut(tmp_path: Path, name: str) -> None:
    whole = with_sound(tmp_path / name, CONTAINERS[name])
    assert damage_of(list(FilmSource(whole).batches(8))) == []
    data = whole.read_bytes()
    (tmp_path / "more").mkdir()
    longer = tmp_path / "more" / name
    longer.write_bytes(data + b"junk behind it")  # nothing is missing
    assert damage_of(list(FilmSource(longer).batches(8))) == []
    for share in (0.4, 0.6, 0.8):
        cut = tmp_path / f"{share} {name}"
        cut.write_bytes(data[: int(len(data) * share)])
        batches = list(FilmSource(cut).batches(8))
        count = sum(map(len, batches))
        assert 0 < count < 24
        (line,) = [d for d in damage_of(batches) if "ends early" in d]
        assert line.startswith(f"{cut}: ends early: ")
        if name in ("riff.avi", "first.mp4"):
            assert line.endswith(f": {count} of 24 frames")
        else:
            assert line.endswith(f": the file is cut off after {count} frames")


def test_a_film_whose_header_was_cut_away(tmp_path: Path) -> None:
    clip = encode(tmp_path / "w.mp4", "libx264", "yuv420p", frames(12))  # its moov box comes last
    cut(clip, tmp_path / "cut.mp4", 0.5)
    with pytest.raises(InputError, match=r"cut\.mp4: .*; the file is cut off; restore it"):
        FilmSource(tmp_path / "cut.mp4")


def box(kind: bytes, body: bytes, size: int | None = None) -> bytes:
    return struct.pack(">I4s", len(body) + 8 if size is None else size, kind) + body


def chunk(kind: bytes, body: bytes, size: int | None = None) -> bytes:
    return kind + struct.pack("<I", len(body) if size is None else size) + body


FTYP, MOOF, MDAT = box(b"ftyp", b"isom"), box(b"moof", bytes(9)), box(b"mdat", bytes(40))
MOVI = chunk(b"LIST", b"movi" + bytes(40))
TS_PACKET = b"\x47" + bytes(187)
OGG_PAGE = b"OggS" + bytes(22) + b"\x02\xff\x05" + bytes(260)
EBML, SEGMENT = b"\x1a\x45\xdf\xa3\x83abc", b"\x18\x53\x80\x67\x40\x28"
SHORT_MOVI = chunk(b"LIST", b"movi" + bytes(40), 80)


@pytest.mark.parametrize(
    ("data", "cut"),
    [
        (FTYP + MOOF + MDAT, False),
        (FTYP + MOOF + MDAT[:-1], True),
        (FTYP + MOOF + MDAT + MOOF, True),  # it tells of an mdat that is not there
        (FTYP + MOOF + MDAT + MOOF[:-1], True),
        (FTYP + MOOF + MDAT + box(b"mfra", b"", 99), False),  # an index alone
        (FTYP + box(b"mdat", bytes(40), 0), False),  # up to the end
        (FTYP + box(b"mdat", struct.pack(">Q", 56) + bytes(40), 1), False),  # a size of 64 bits
        (FTYP + box(b"mdat", struct.pack(">Q", 57) + bytes(40), 1), True),
        (FTYP + box(b"mdat", bytes(4), 1), True),
        (FTYP + MDAT + box(b"mdat", b"", 4), False),  # no size can be 4
        (chunk(b"RIFF", b"AVI " + MOVI), False),
        (chunk(b"RIFF", b"AVI " + SHORT_MOVI), True),
        (chunk(b"RIFF", b"AVI " + chunk(b"LIST", b"movi" + bytes(40), 52)), False),  # old writers
        (chunk(b"RIFF", b"AVI " + MOVI) + chunk(b"RIFF", b"AVIX" + MOVI), False),
        (chunk(b"RIFF", b"AVI " + MOVI) + chunk(b"RIFF", b"AVIX" + SHORT_MOVI), True),
        (chunk(b"RIFF", b"WAVE" + SHORT_MOVI), False),
        (TS_PACKET * 6, False),
        (TS_PACKET * 6 + TS_PACKET[:99], True),
        ((bytes(4) + TS_PACKET) * 6, False),  # with times, as of Blu-ray discs
        ((bytes(4) + TS_PACKET) * 6 + bytes(4), True),
        (OGG_PAGE + OGG_PAGE, False),
        (OGG_PAGE + OGG_PAGE[:-1], True),
        (OGG_PAGE + OGG_PAGE[:28], True),
        (EBML + SEGMENT + bytes(40), False),
        (EBML + SEGMENT + bytes(39), True),
        (EBML + b"\x18\x53\x80\x67\xff" + bytes(39), False),  # of unknown size
        (b"", False),
    ],
)
def test_cut_off(tmp_path: Path, data: bytes, cut: bool) -> None:
    (tmp_path / "x").write_bytes(data)
    assert cut_off(tmp_path / "x") is cut


def test_an_avi_without_its_index_is_whole(tmp_path: Path) -> None:
    whole = with_sound(tmp_path / "whole.avi", {})
    data = whole.read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: data.rindex(b"idx1")])
    batches = list(FilmSource(tmp_path / "cut.avi").batches(8))
    assert sum(map(len, batches)) == 24 and damage_of(batches) == []
    # The sizes of a recording that was never closed tell nothing.
    at = data.index(b"movi")
    for size in (bytes(4), b"\xff" * 4):
        (tmp_path / "open.avi").write_bytes(data[:4] + size + data[8 : at - 4] + size + data[at:])
        batches = list(FilmSource(tmp_path / "open.avi").batches(8))
        assert not any("ends early" in line for line in damage_of(batches))


def test_sound_that_is_cut_behind_the_last_frame_is_told(tmp_path: Path) -> None:
    whole = with_sound(tmp_path / "whole.avi", {})
    data = whole.read_bytes()
    at = data.rindex(b"01wb", 0, data.rindex(b"idx1"))
    (tmp_path / "cut.avi").write_bytes(data[: at + 40])
    batches = list(FilmSource(tmp_path / "cut.avi").batches(8))
    assert sum(map(len, batches)) == 24
    (line,) = damage_of(batches)
    assert line.endswith("ends early: all 24 frames are there, but other streams may be cut")


def test_bad_packet_in_the_middle(tmp_path: Path) -> None:
    clip = encode(tmp_path / "a.mp4", "png", "rgb24", frames(12))
    data = bytearray(clip.path.read_bytes())
    at = -1
    for _ in range(6):  # the sixth picture loses its signature
        at = data.index(b"\x89PNG", at + 1)
    data[at : at + 8] = bytes(8)
    (tmp_path / "bad.mp4").write_bytes(data)
    source = FilmSource(tmp_path / "bad.mp4")
    batches = list(source.batches(2))
    whole = np.stack(frames(12))
    assert np.array_equal(luma_of(batches), np.delete(whole, 5, axis=0))
    assert damage_of(batches) == [f"{tmp_path / 'bad.mp4'}: packet at 0.417 s cannot be decoded"]
    assert len(set(pts_of(batches))) == 11


def test_last_packet_bad(tmp_path: Path) -> None:
    clip = encode(tmp_path / "a.mp4", "png", "rgb24", frames(8))
    data = bytearray(clip.path.read_bytes())
    at = data.rindex(b"\x89PNG")
    data[at : at + 8] = bytes(8)
    (tmp_path / "bad.mp4").write_bytes(data)
    batches = list(FilmSource(tmp_path / "bad.mp4").batches(7))
    assert [len(b) for b in batches] == [7, 0]
    assert batches[0].damage == () and len(batches[1].damage) == 1


def test_change_of_size(tmp_path: Path) -> None:
    first = encode(tmp_path / "a.h264", "libx264", "yuv420p", frames(4))
    second = encode(tmp_path / "b.h264", "libx264", "yuv420p", frames(4, 32, 32))
    both = tmp_path / "both.h264"
    both.write_bytes(first.path.read_bytes() + second.path.read_bytes())
    batches = list(FilmSource(both).batches(8))
    assert [len(batch) for batch in batches] == [8]
    assert damage_of(batches) == []
    (note,) = batches[0].notes
    assert "from 64x48 yuv420p limited range to 32x32" in note
    # a square picture in a frame of 4:3 has bars at its sides
    luma = batches[0].luma[:, 0]
    assert luma[4:, :, :8].float().mean() == 16 and luma[4:, :, -8:].float().mean() == 16
    assert luma[4:, :, 24:40].float().std() > 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "no such file"),
        (lambda p: p.mkdir(), "is a folder"),
        (lambda p: p.write_bytes(b""), "is empty; restore it from a good copy$"),
        (lambda p: p.write_bytes(bytes(range(256)) * 40), r"cannot be opened \(.*\); is it a film"),
    ],
)
def test_what_is_no_film(tmp_path: Path, make: Callable[[Path], object], message: str) -> None:
    path = tmp_path / "x.mkv"
    make(path)
    with pytest.raises(InputError, match=message) as caught:
        FilmSource(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("raised", [PermissionError, av.error.PermissionError])
def test_a_film_that_may_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: type[OSError]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise raised(13, "Permission denied")

    (tmp_path / "x.mkv").write_bytes(b"not empty")
    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(InputError) as caught:
        FilmSource(tmp_path / "x.mkv")
    told = f"{tmp_path / 'x.mkv'}: Permission denied; check the file's permissions"
    assert str(caught.value) == told


def test_text_and_sound_are_no_films(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello\n" * 50)
    with pytest.raises(InputError, match=r"no video stream|cannot be opened"):
        FilmSource(tmp_path / "notes.txt")
    with av.open(str(tmp_path / "s.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match="no video stream"):
        FilmSource(tmp_path / "s.wav")


# ---------------------------------------------------------------- numbered sequences


def write_sequence(folder: Path, numbers: list[int]) -> None:
    folder.mkdir()
    for i, number in enumerate(numbers):
        encode(folder / f"f {number:04d}.png", "png", "gray", [pattern(i, 65, 49)])


def test_sequence(tmp_path: Path) -> None:
    write_sequence(tmp_path / "séq", [7, 8, 9, 10])
    source = FilmSource(tmp_path / "séq" / "f %04d.png", rate=Fraction(24000, 1001))
    assert source.facts.num_frames_from_header == 4
    assert source.facts.average_rate == Fraction(24000, 1001)
    batches = list(source.batches(3))
    assert np.array_equal(luma_of(batches), np.stack([pattern(i, 65, 49) for i in range(4)]))
    assert damage_of(batches) == []


def test_sequence_with_a_gap(tmp_path: Path) -> None:
    write_sequence(tmp_path / "gap", [0, 1, 3])
    with pytest.raises(InputError, match=r"f 0002\.png: missing"):
        FilmSource(tmp_path / "gap" / "f %04d.png", rate=Fraction(24))
    with pytest.raises(InputError, match="no file of this numbered sequence"):
        FilmSource(tmp_path / "gap" / "g %04d.png", rate=Fraction(24))
