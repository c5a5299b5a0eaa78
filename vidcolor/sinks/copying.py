"""Mux the copied packets of an input's other streams: `CopyMuxer`."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, cast

from av.container import OutputContainer
from av.error import FFmpegError
from av.format import Flags
from av.packet import Packet

from ..errors import OutputError
from ..frames import StreamInfo
from .container import label, without_kinds
from .files import is_system_error
from .streams import stream_info


class CopyMuxer:
    """Muxes copied packets.

    Args:
        output: the container, ready for packets.
        path: of the film, for messages.
        copy: the kinds of streams that are copied, for messages.
    """

    def __init__(self, output: OutputContainer, path: Path, copy: frozenset[str]) -> None:
        self._output, self._path, self._copy = output, path, copy
        self._last_dts: dict[int, int] = {}  # by stream
        self._times: dict[StreamInfo, float] = {}  # seconds of the last packet

    def mux(self, packet: Packet[Any]) -> None:
        """Mux a copied packet. Muxers refuse a decoding time that is not after the last one, as
        DVDs and damaged films have them; it is made later by the least step, as FFmpeg does."""
        target = packet.stream
        unit, before = target.time_base, self._last_dts.get(target.index)
        assert packet.pts is not None and packet.dts is not None and unit is not None
        ticks = Fraction(packet.time_base) / unit
        packet.pts, packet.dts = _nearest(packet.pts * ticks), _nearest(packet.dts * ticks)
        packet.duration = _nearest((packet.duration or 0) * ticks)
        packet.time_base = unit
        if before is not None:
            strict = not self._output.format.flags & cast(int, Flags.ts_nonstrict.value)
            packet.dts = max(packet.dts, before + strict)
            packet.pts = max(packet.pts, packet.dts)
        self._last_dts[target.index] = packet.dts
        self._times[stream_info(target)] = float(packet.dts * unit)
        self._write(packet, [stream_info(target)])

    def mux_film(self, packet: Packet[Any]) -> None:
        """Mux a packet of the film itself. The muxer then writes the copied packets that it holds
        back so as to interleave them, and may refuse one of those only now."""
        self._write(packet, list(self._times))

    def _write(self, packet: Packet[Any], suspects: list[StreamInfo]) -> None:
        try:
            self._output.mux(packet)
        except FFmpegError as error:
            if is_system_error(error) or not suspects:
                raise
            output = self._path
            which = " or ".join(label(each) for each in suspects)
            other = f"use -o {output.with_suffix('.mkv')} or "
            raise OutputError(
                f"{output}: {output.suffix} refuses {which} at about "
                f"{max(self._times[each] for each in suspects):.3f} s ({error.strerror}); "
                f"{other if output.suffix != '.mkv' else ''}{without_kinds(suspects, self._copy)}"
            ) from error


def _nearest(time: Fraction) -> int:
    return (2 * time.numerator + time.denominator) // (2 * time.denominator)
