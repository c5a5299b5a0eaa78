"""Read a film whose writing was cut off, to write its frames into its successor."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet

from ..errors import OutputError
from ..system.sequences import existing_numbers, sequence_file

# The first filter puts the stream's headers before each key frame, where the encoder put none.
_ANNEX_B = {
    "h264": "h264_mp4toannexb,filter_units=remove_types=7-8",
    "hevc": "hevc_mp4toannexb,filter_units=remove_types=32-34",
}


class EarlierFilm:
    """The video packets of a film that has no end.

    Args:
        path: the film. It need not be readable.
        size: number of its bytes to read; None for all.

    Attributes:
        pts: of the packets that lie whole in these bytes, in the film's own time base.

    Raises:
        OSError: it does not exist.
    """

    def __init__(self, path: Path, size: int | None = None) -> None:
        size = path.stat().st_size if size is None else size
        self.path = path
        self.pts: list[int] = []
        self._container: InputContainer | None = None
        self._packets: Iterator[Packet[Any]] = iter(())
        self._taken = 0
        with suppress(FFmpegError, OSError, IndexError), av.open(str(path)) as container:
            for packet in self._video(container):
                if packet.pos is None or packet.pos + packet.size > size:
                    break
                self.pts.append(packet.pts if packet.pts is not None else packet.dts or 0)

    @property
    def frames(self) -> int:
        """The number of frames that can be read."""
        return len(self.pts)

    @staticmethod
    def _video(container: InputContainer) -> Iterator[Packet[Any]]:
        return (packet for packet in container.demux(container.streams.video[0]) if packet.size)

    @classmethod
    def _as_encoded(cls, container: InputContainer) -> Iterator[Packet[Any]]:
        """The packets as the encoder made them: MP4 and Matroska hold H.264 and HEVC in a form that
        a muxer would not take beside an encoder's."""
        video = container.streams.video[0]
        header = video.codec_context.extradata
        name = _ANNEX_B.get(video.codec_context.name)
        if name is None or not header or header[0] != 1:
            yield from cls._video(container)
            return
        convert = BitStreamFilterContext(name, video)
        for packet in cls._video(container):
            yield from convert.filter(packet)

    def packets(self, stamps: Sequence[int], time_base: Fraction) -> Iterator[Packet[Any]]:
        """The next packets, which end a group of pictures.

        Args:
            stamps: the pts that their frames get, in order of presentation.
            time_base: of `stamps`, seconds.

        Yields:
            The packets in the file's order. Their dts are the sorted pts, moved earlier until none
            is after its pts.

        Raises:
            OutputError: the film has fewer packets.
        """
        own = self.pts[self._taken : self._taken + len(stamps)]
        self._taken += len(stamps)
        if len(own) < len(stamps):
            raise OutputError(f"{self.path}: ends early; give --restart")
        pts = [0] * len(own)
        for index, stamp in zip(sorted(range(len(own)), key=own.__getitem__), stamps, strict=True):
            pts[index] = stamp
        delay = max((stamp - shown for stamp, shown in zip(stamps, pts, strict=True)), default=0)
        if self._container is None:
            self._container = av.open(str(self.path))
            self._packets = self._as_encoded(self._container)
        for stamp, shown, packet in zip(stamps, pts, self._packets, strict=False):
            packet.time_base, packet.pts, packet.dts = time_base, shown, stamp - delay
            yield packet

    def close(self) -> None:
        """Close the file."""
        if self._container is not None:
            self._container.close()

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)


class EarlierSequence:
    """The first files of a numbered sequence that has no end.

    Args:
        path: their folder.
        pattern: of their names.
        size: number of their bytes to read; None for all.

    Raises:
        OSError: the folder cannot be read.
    """

    def __init__(self, path: Path, pattern: str, size: int | None = None) -> None:
        self.path = path
        self._files: list[Path] = []
        self._taken = 0
        numbers = sorted(existing_numbers(path / pattern))
        for place, number in enumerate(numbers):
            file = sequence_file(path / pattern, number)
            if size is not None:
                size -= file.stat().st_size
            if number != numbers[0] + place or (size is not None and size < 0):
                break
            self._files.append(file)

    @property
    def frames(self) -> int:
        """The number of frames that can be read."""
        return len(self._files)

    def take(self, count: int) -> list[Path]:
        """The next files.

        Raises:
            OutputError: the sequence has fewer.
        """
        found = self._files[self._taken : self._taken + count]
        self._taken += count
        if len(found) < count:
            raise OutputError(f"{self.path}: ends early; give --restart")
        return found

    def close(self) -> None:
        """Do nothing: no file is open."""

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
