"""The table of video encoders, and what a user sets of one.

To add an encoder, add a row to `ENCODERS`. Nothing here imports PyAV or torch, so that help texts
can list the encoders quickly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from ..errors import OutputError
from ..options import check_options, option


@dataclass(frozen=True)
class Encoder:
    """What one encoder can do and what it needs. Names and values are FFmpeg's.

    Pixel formats are not listed: `encoders.encoder_formats` asks the FFmpeg build for them. Whether
    a container holds the encoder's stream is tried by `container.check_container`.

    Attributes:
        codec: the format it writes.
        needs: the hardware it needs, empty for none.
        crf_option: the option that the quality goes to; empty if the encoder has no such scale.
        crf, max_crf: the default and the worst quality of the scale; 0 is the best.
        preset_option: the option that the preset goes to; empty if the encoder has no presets.
        preset: the default.
        presets: the presets' names; empty if the encoder itself refuses other names without
            printing. Numbers are always passed on.
        profiles: the default of `preset_option` by chroma subsampling, where `preset` is None.
        options: options that are always set.
        slices: pairs of a least width in pixels and the number of slices a frame is cut into,
            widest first; below the last width the encoder decides.
        thread_type: how its threads share the work (`SLICE`); empty for PyAV's default.
        environment: environment variables that must be set while the encoder opens.
        formats: pixel formats to use of those that it takes; empty for all.
        default_subsampling: chroma subsampling (horizontal, vertical) for sources without chroma.
        odd_subsampled: takes an odd size in 4:2:0 and 4:2:2. H.264 and HEVC cannot: their cropping
            counts in chroma samples.
        carries_full_range: can write full-range luma. ProRes has no flag for it.
        least_size: least width and height in pixels.
        max_rate: highest frame rate that it is told, frames a second. Only rate control uses it.
        interlaced: codes interlaced frames as such, or marks them. For the others the container
            alone gives the field order.
        equal_fields: codes interlaced frames only where both fields have equally many chroma rows.
        containers: suffixes to offer if the chosen container cannot hold the film, best first.
        mov_tag: codec tag in MP4 and MOV; empty for FFmpeg's default.
        key_interval: most frames from one key frame to the next; 1 means that every frame stands
            alone. `key_seconds`: the same in seconds, 0 if it is counted in frames.
        lookahead: frames that it looks at before it codes one.
        lookaheads: the same by preset, where it differs.
    """

    codec: str
    needs: str = ""
    crf_option: str = "crf"
    crf: float | None = None
    max_crf: float = 51
    preset_option: str = "preset"
    preset: str | None = None
    presets: tuple[str, ...] = ()
    profiles: Mapping[tuple[int, int], str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    slices: tuple[tuple[int, int], ...] = ()
    thread_type: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    formats: tuple[str, ...] = ()
    default_subsampling: tuple[int, int] = (2, 2)
    odd_subsampled: bool = False
    carries_full_range: bool = True
    least_size: int = 1
    max_rate: int = 240
    interlaced: bool = False
    equal_fields: bool = False
    containers: tuple[str, ...] = (".mkv", ".mp4", ".mov")
    mov_tag: str = ""
    key_interval: int = 250
    key_seconds: int = 0
    lookahead: int = 60
    lookaheads: Mapping[str, int] = field(default_factory=dict)

    @property
    def intra(self) -> bool:
        """Whether every frame is a key frame."""
        return self.key_interval == 1 and not self.key_seconds

    def frames_ahead(self, preset: str | None) -> int:
        """Frames that the encoder looks at before it codes one, at a preset (None: its default)."""
        return self.lookaheads.get(preset or self.preset or "", self.lookahead)

    def key_frame_interval(self, rate: Fraction) -> int:
        """Most frames from one key frame to the next, at a rate in frames a second."""
        return max(1, round(self.key_seconds * rate)) if self.key_seconds else self.key_interval


_X26X_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower",
                 "veryslow", "placebo")  # fmt: skip
# Source: x264 --fullhelp, rc-lookahead
_X264_LOOKAHEADS = {"ultrafast": 0, "superfast": 0, "veryfast": 10, "faster": 20, "fast": 30,
                    "medium": 40, "slow": 50}  # fmt: skip
_FORCED = {"forced-idr": "1"}  # a forced key frame is one that decoding can begin at
_NVENC = _FORCED | {"rc": "vbr", "tune": "hq", "b": "0"}
_NVIDIA = "an NVIDIA graphics card"
_ARCHIVE = (".mkv", ".mov", ".mp4")  # MP4 last: few players read FFV1 or ProRes there

# By FFmpeg's names.
ENCODERS: dict[str, Encoder] = {
    "libx264": Encoder(
        codec="H.264",
        crf=18,
        preset="medium",
        presets=_X26X_PRESETS,
        options=_FORCED,
        interlaced=True,
        equal_fields=True,  # it codes pairs of macroblock rows
        lookaheads=_X264_LOOKAHEADS,
    ),
    "libx265": Encoder(
        codec="HEVC",
        crf=20,
        preset="medium",
        presets=_X26X_PRESETS,
        options=_FORCED | {"x265-params": "log-level=none"},  # it prints to stderr itself
        least_size=16,
        mov_tag="hvc1",  # Apple's players need it
    ),
    "libsvtav1": Encoder(
        codec="AV1",
        crf=28,
        max_crf=63,
        preset="6",
        environment={"SVT_LOG": "1"},  # its only switch for the banner that it prints to stderr
        odd_subsampled=True,
        least_size=4,
        containers=(".mkv", ".mp4", ".mov", ".webm"),
        key_seconds=5,
    ),
    # Level 3 with slice checksums and one-frame groups is the archives' profile of FFV1.
    "ffv1": Encoder(
        codec="FFV1, lossless",
        crf_option="",
        preset_option="",
        options={"level": "3", "slicecrc": "1", "context": "1", "g": "1"},
        slices=((1921, 24), (721, 12), (352, 4)),
        thread_type="SLICE",
        default_subsampling=(1, 1),
        odd_subsampled=True,
        interlaced=True,
        containers=_ARCHIVE,
        key_interval=1,
        lookahead=0,
    ),
    "prores_ks": Encoder(
        codec="ProRes",
        crf_option="",
        preset_option="profile",
        profiles={(2, 1): "hq", (1, 1): "4444"},
        options={"vendor": "apl0"},
        default_subsampling=(2, 1),
        odd_subsampled=True,
        carries_full_range=False,
        interlaced=True,
        containers=_ARCHIVE,
        key_interval=1,
        lookahead=0,
    ),
    "dnxhd": Encoder(
        codec="DNxHR",
        crf_option="",
        preset_option="profile",
        presets=("dnxhr_hqx", "dnxhr_444"),
        profiles={(2, 1): "dnxhr_hqx", (1, 1): "dnxhr_444"},
        options={"profile": "dnxhr_hqx"},
        formats=("yuv422p10le", "yuv444p10le"),
        default_subsampling=(2, 1),
        carries_full_range=False,
        least_size=256,
        containers=(".mov", ".mxf", ".mkv"),
        key_interval=1,
        lookahead=0,
    ),
    "h264_nvenc": Encoder(
        codec="H.264", needs=_NVIDIA, crf_option="cq", crf=19, preset="p5", options=_NVENC
    ),
    "hevc_nvenc": Encoder(
        codec="HEVC",
        needs=_NVIDIA,
        crf_option="cq",
        crf=21,
        preset="p5",
        options=_NVENC,
        mov_tag="hvc1",
    ),
}


def list_encoders() -> str:
    """All encoders with what they write, for a help text."""
    return ", ".join(f"{name} ({encoder.codec})" for name, encoder in ENCODERS.items())


def _defaults(name: str) -> str:
    """The defaults of all encoders that have one, for a help text; `name` is a field."""
    found = ((key, getattr(encoder, name)) for key, encoder in ENCODERS.items())
    return ", ".join(f"{key} {value}" for key, value in found if value is not None)


@dataclass(frozen=True)
class EncoderSettings:
    """What the user chose; None takes the encoder's default. Each field is an option of a run.

    Attributes:
        encoder: a key of `ENCODERS`.
        crf: quality, lower is better; the scale is the encoder's own.
        preset: the encoder's own word for speed (for prores_ks: the profile).
        pix_fmt: FFmpeg's name of a planar format; None keeps the source's depth and subsampling.
    """

    encoder: str = option("libx264", metavar="NAME", help=f"Encoder of films: {list_encoders()}.")
    crf: float | None = option(
        None,
        low=0,
        high=max(encoder.max_crf for encoder in ENCODERS.values()),
        help=f"Quality of films, lower is better [{_defaults('crf')}].",
    )
    preset: str | None = option(
        None,
        metavar="NAME",
        help=f"Speed preset, in the encoder's own words [{_defaults('preset')}].",
    )
    pix_fmt: str | None = option(
        None,
        metavar="NAME",
        help="Pixel format of films, by FFmpeg's name [the film's bit depth and subsampling].",
    )

    def __post_init__(self) -> None:
        check_options(self)


def find_encoder(name: str) -> Encoder:
    """The row of `ENCODERS` of that name.

    Raises:
        OutputError: there is none; the message lists the names.
    """
    encoder = ENCODERS.get(name)
    if encoder is None:
        raise OutputError(f"encoder {name} is not known; take one of {', '.join(ENCODERS)}")
    return encoder
