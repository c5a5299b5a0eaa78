"""Lightness by a picture's own color profile, as a color-managed viewer shows it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..color.codes import Codes
from ..system.vips import libvips

SPACE = slice(16, 20)  # ICC.1:2022, 7.2: the profile header's data color space
_BANDS = {b"GRAY": 1, b"RGB ": 3, b"CMYK": 4}
_SRGB_LINEAR = np.array([0.2126729, 0.7151522, 0.0721750])  # IEC 61966-2-1: shares in luminance
_SRGB_PRIMARIES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
_FINE = 1 << 20  # steps of linear light in `_gray_codes`: less than a code of 16 bits each
# Bradford's cones. Source: ICC.1:2022, annex E.3.
_CONES = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_D50 = np.array([0.9642, 1.0, 0.8249])


def _linear(levels: NDArray[Any]) -> NDArray[Any]:
    """R'G'B' in [0, 1] to linear light. Source: IEC 61966-2-1:1999, eq. 1.5 and 1.6."""
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


def _encoded(linear: NDArray[Any]) -> NDArray[Any]:
    """Linear light in [0, 1] to R'G'B'. Source: IEC 61966-2-1:1999, eq. 1.7 and 1.8."""
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


@lru_cache(maxsize=2)
def _linear_shares(depth: int) -> tuple[NDArray[np.float32], ...]:
    """For R, G and B: the steps of luminance, of `_FINE`, of each code."""
    levels = _linear(np.arange(1 << depth) / ((1 << depth) - 1)) * (_FINE - 1)
    return tuple((levels * share).astype(np.float32) for share in _SRGB_LINEAR)


@lru_cache(maxsize=1)
def _gray_codes() -> NDArray[np.uint16]:
    """The gray code of 16 bits for each step of luminance."""
    light = np.arange(_FINE) / (_FINE - 1)
    codes: NDArray[np.uint16] = np.rint(_encoded(light) * 65535).astype(np.uint16)
    return codes


@lru_cache(maxsize=1)
def _lightness_codes() -> NDArray[np.uint16]:
    """The gray code of 16 bits for each L* in 65535 steps. Source: CIE 15:2004, 8.2.1."""
    f = (np.arange(65536) / 655.35 + 16) / 116
    luminance = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29))
    codes: NDArray[np.uint16] = np.rint(_encoded(luminance.clip(0, 1)) * 65535).astype(np.uint16)
    return codes


@lru_cache(maxsize=1)
def _luminance_codes() -> NDArray[np.uint16]:
    """The gray code of 16 bits for each relative luminance in 65535 steps."""
    light = np.arange(65536) / 65535
    codes: NDArray[np.uint16] = np.rint(_encoded(light) * 65535).astype(np.uint16)
    return codes


def gray_of_srgb(rgb: Codes) -> Codes:
    """The gray with the luminance of sRGB colors.

    Args:
        rgb: `(H, W, 3)` uint8 or uint16.

    Returns:
        `(H, W)`: of `rgb`'s type where all pixels are gray, which keep their codes; else uint16.
    """
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    if np.array_equal(red, green) and np.array_equal(green, blue):
        return green
    shares = _linear_shares(8 * rgb.dtype.itemsize)
    steps = shares[0][red]
    steps += shares[1][green]
    steps += shares[2][blue]
    steps += 0.5
    return _gray_codes()[steps.astype(np.int32)]


def gray_of_lightness(lightness: Any) -> Any:
    """A libvips image of L* in [0, 100] to one of gray codes of 16 bits."""
    table = libvips().Image.new_from_array(_lightness_codes()[None])
    return lightness.linear(655.35, 0.5).cast("ushort").maplut(table)


def with_profile(image: Any, profile: bytes) -> Any:
    """A copy of a libvips image with this ICC profile."""
    pyvips = libvips()
    image = image.copy()
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    return image


def gray_by_profile(image: Any, profile: bytes) -> Any:
    """A libvips image of gray codes of 16 bits with the luminance of `image` by its profile.

    Relative colorimetric: the paper's white is white, as on a screen. Gray by XYZ, and R'G'B' with
    16 bits, because LittleCMS rounds the L* of dark colors by up to 3 otherwise. (libvips' XYZ is
    adapted to D65, in which the luminance of colors is another than in the profile's own D50.)
    """
    if image.bands == 1:
        xyz = with_profile(image, profile).icc_import(embedded=True, pcs="xyz", intent="relative")
        table = libvips().Image.new_from_array(_luminance_codes()[None])
        return xyz[1].linear(655.35, 0.5).cast("ushort").maplut(table)
    if image.bands == 3 and image.format == "uchar":
        image = (image * 257).cast("ushort").copy(interpretation="rgb16")
    lab = with_profile(image, profile).icc_import(embedded=True, pcs="lab", intent="relative")
    return gray_of_lightness(lab[0])


def bands_of(profile: bytes) -> int:
    """Channels that a profile describes; 0 for another kind, or none."""
    return _BANDS.get(profile[SPACE], 0) if profile[36:40] == b"acsp" else 0


@lru_cache(maxsize=64)
def usable(profile: bytes) -> bool:
    """Whether colors can be converted by this profile."""
    bands = bands_of(profile)
    space = {1: "b-w", 3: "srgb", 4: "cmyk"}.get(bands)
    if space is None:
        return False
    pyvips = libvips()
    probe = pyvips.Image.black(2, 2, bands=bands).copy(interpretation=space)
    try:
        gray_by_profile(probe, profile).avg()
    except pyvips.Error:
        return False
    return True


@lru_cache(maxsize=64)
def is_srgb(profile: bytes) -> bool:
    """Whether an RGB profile gives each color what sRGB gives it, within what can be seen."""
    steps = np.linspace(0, 65535, 9).astype(np.uint16)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3)
    image = libvips().Image.new_from_array(cube, interpretation="rgb16")
    lab = with_profile(image, profile).icc_import(embedded=True, pcs="lab", intent="relative")
    reference = image.icc_import(input_profile="srgb", pcs="lab", intent="relative")
    return bool((lab - reference).abs().max() < 0.3)


def of_gamma(gamma: float, primaries: Sequence[float] | None, bands: int) -> bytes:
    """The profile that a PNG file's gAMA and cHRM chunks describe; empty where it is sRGB.

    Args:
        gamma: of the file, the exponent of encoding, 0.45455 for a display's 2.2.
        primaries: x, y of white, red, green and blue; None for those of sRGB.
        bands: 1 for gray.

    Sources: PNG (third edition), 11.3.2.1 and 11.3.2.2; ICC.1:2001-04, 6.4 and 6.5 (version 2).
    """
    points = np.array(primaries or _SRGB_PRIMARIES)
    plain = bands == 1 or np.abs(points - _SRGB_PRIMARIES).max() < 0.01
    if not 0.05 < gamma < 20 or (plain and abs(gamma - 0.45455) < 0.01):
        return b""
    curve = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(256 / gamma))
    white = (b"wtpt", _xyz(_D50))
    if bands == 1:
        tags = [white, (b"kTRC", curve)]
    else:
        try:
            columns = _adapted(points)
        except np.linalg.LinAlgError:
            return b""
        tags = [white, *((name, _xyz(c)) for name, c in zip(_COLORANTS, columns.T, strict=True))]
        tags += [(name, curve) for name in (b"rTRC", b"gTRC", b"bTRC")]
    name = b"from gAMA and cHRM\0"
    about = b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(78)
    tags += [(b"desc", about), (b"cprt", b"text\0\0\0\0none\0")]
    return _profile(b"GRAY" if bands == 1 else b"RGB ", tags)


_COLORANTS = (b"rXYZ", b"gXYZ", b"bXYZ")


def _xyz(values: Sequence[float] | NDArray[Any]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(float(v) * 65536) for v in values))


def _adapted(points: NDArray[Any]) -> NDArray[Any]:
    """XYZ of red, green and blue, `(3, 3)` by columns, adapted to D50 as profiles want it."""
    xyz = np.stack([points[0::2] / points[1::2], np.ones(4),
                    (1 - points[0::2] - points[1::2]) / points[1::2]])  # fmt: skip
    white, colors = xyz[:, 0], xyz[:, 1:]
    colors = colors * np.linalg.solve(colors, white)
    change = np.diag((_CONES @ _D50) / (_CONES @ white))
    return np.asarray(np.linalg.solve(_CONES, change @ _CONES) @ colors)


def _profile(space: bytes, tags: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A profile of version 2 for a display. Source: ICC.1:2001-04, 6.1."""
    table, body, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, data in tags:
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = start + len(body)
    head = struct.pack(">I4xI", size, 0x02400000) + b"mntr" + space + b"XYZ "
    head += struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _xyz(_D50)[8:]
    return head.ljust(128, b"\0") + table + body
