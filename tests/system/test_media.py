"""What is opened and what is not, which streams belong to the film, and what FFmpeg says."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.helpers.recordings import RATE, record
from vidcolor.errors import InputError
from vidcolor.system.media import film_stream, open_media, other_programs
from vidcolor.system.messages import Listener

PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.0,\n{}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile {}\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5 RTP/AVP 96\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period>{}</Period>'
    "</MPD>",
}


@pytest.mark.parametrize("suffix", [".m3u8", ".ffconcat", ".sdp", ".mpd", ".mp4", ".ts", ".mkv"])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_playlists_are_refused_whatever_they_are_called(
    tmp_path: Path, kind: str, suffix: str
) -> None:
    film = record(tmp_path / "film.ts", video=range(3), seconds=1)
    path = tmp_path / f"list{suffix}"
    path.write_text(PLAYLISTS[kind].format(film))
    with pytest.raises(InputError, match="playlist") as caught:
        open_media(f"file:{path}")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("protocol", ["http", "concat", "subfile", "async"])
def test_no_protocol_but_of_files(tmp_path: Path, protocol: str) -> None:
    film = record(tmp_path / "film.ts", video=range(3), seconds=1)
    with pytest.raises((OSError, av.error.FFmpegError)):
        open_media(f"{protocol}:{film}")


def test_a_playlist_that_is_allowed_opens_no_network(tmp_path: Path) -> None:
    path = tmp_path / "list.m3u8"
    path.write_text(PLAYLISTS["hls"].format("http://127.0.0.1:9/x.ts"))
    with pytest.raises((OSError, av.error.FFmpegError)):
        open_media(f"file:{path}", playlists=True)


def two_videos(path: Path, default: int) -> Path:
    with av.open(str(path), "w", container_options={"default_mode": "passthrough"}) as output:
        streams: Any = [
            output.add_stream("mpeg4", rate=RATE, width=size, height=48) for size in (64, 96)
        ]
        for number, stream in enumerate(streams):
            stream.pix_fmt = "yuv420p"
            stream.disposition = int(number == default)
        for stream in streams:
            luma = np.full((48, stream.width), 90, np.uint8)
            frame = av.VideoFrame.from_ndarray(luma, "gray").reformat(format="yuv420p")
            output.mux(stream.encode(frame) + stream.encode(None))
    return path


@pytest.mark.parametrize("default", [0, 1])
def test_the_default_video_is_the_film(tmp_path: Path, default: int) -> None:
    with open_media(f"file:{two_videos(tmp_path / 'two.mkv', default)}") as container:
        assert film_stream(container).index == default


def test_a_film_of_one_program_has_no_others(tmp_path: Path) -> None:
    path = record(tmp_path / "film.ts", video=range(RATE), seconds=1)
    with open_media(f"file:{path}") as container:
        assert other_programs(container) == frozenset()


def test_a_listener_hears_its_own_thread_and_leaves_all_as_it_was(
    capfd: pytest.CaptureFixture[str],
) -> None:
    level = av.logging.get_level()
    logger = logging.getLogger("libav")
    state = logger.propagate, list(logger.handlers)
    with Listener() as listener:
        other = threading.Thread(
            target=av.logging.log, args=(av.logging.ERROR, "h264", "elsewhere")
        )
        other.start()
        other.join()
        av.logging.log(av.logging.ERROR, "h264", "broken\n")
        av.logging.log(av.logging.ERROR, "h264", "broken\n")  # said twice, heard twice
        av.logging.log(av.logging.ERROR, "aac", "not asked for")
        av.logging.log(av.logging.WARNING, "h264", "only a warning")
        assert listener.take("h264") == ["broken", "broken"]
        assert listener.take("h264") == []
    assert av.logging.get_level() == level
    assert (logger.propagate, logger.handlers) == state
    assert capfd.readouterr() == ("", "")
