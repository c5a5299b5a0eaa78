"""Make training pictures look like old film and bad copies.

A model trained on clean pictures mistakes grain for texture, scratches for edges and an
orthochromatic sky for snow. Every function works on one gray picture `(1, H, W)` in [0, 1]; random
numbers come from torch's global CPU generator.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from fractions import Fraction

import av
import numpy as np
import torch
import torch.nn.functional as F
import torchvision.transforms.v2.functional as TF
from PIL import Image
from torch import Tensor

from ...color.convert import gray_to_lightness

# Weights of R', G' and B'. Panchromatic film: BT.601's luma. Orthochromatic film does not see red,
# the first films saw almost only blue; these weights are our estimates.
_EMULSIONS = ((0.299, 0.587, 0.114), (0.03, 0.52, 0.45), (0.0, 0.2, 0.8))


def _uniform(low: float, high: float) -> float:
    return float(torch.empty(1).uniform_(low, high))


def _happens(share: float) -> bool:
    return float(torch.rand(1)) < share


def expose(rgb: Tensor) -> Tensor:
    """Gray `(1, H, W)` of R'G'B' `(3, H, W)` in [0, 1] on one of three kinds of film, or between.

    Two thirds are panchromatic, like most of the surviving film.
    """
    weights = torch.tensor(_EMULSIONS[0])
    if _happens(1 / 3):
        other = torch.tensor(_EMULSIONS[1 + int(_happens(0.3))])
        weights = torch.lerp(weights, other, _uniform(0.3, 1.0))
    return (rgb * weights[:, None, None]).sum(dim=0, keepdim=True)


def soften(gray: Tensor) -> Tensor:
    """Blur like a soft lens, or like the copy of a smaller picture."""
    if _happens(0.6):
        blurred: Tensor = TF.gaussian_blur(gray, [5, 5], [_uniform(0.3, 1.5)])
        return blurred
    small = F.interpolate(gray[None], scale_factor=_uniform(0.4, 0.8), mode="area")
    return F.interpolate(small, size=gray.shape[-2:], mode="bilinear")[0]


def develop(gray: Tensor) -> Tensor:
    """Change gamma, fade blacks and whites; in 15 % of the pictures stretch and clip the range."""
    black, white = (float(level) for level in torch.rand(2).tolist())
    gray = torch.pow(gray, float(torch.empty(1).uniform_(-0.35, 0.35).exp()))
    if _happens(0.15):
        return ((gray - 0.1 * black) / (1 - 0.1 * black - 0.1 * white)).clamp(0, 1)
    return 0.15 * black + gray * (1 - 0.15 * black - 0.15 * white)


def darken_corners(gray: Tensor) -> Tensor:
    """Darken the corners by up to 40 %."""
    y = torch.linspace(-1, 1, gray.shape[-2])[:, None]
    x = torch.linspace(-1, 1, gray.shape[-1])[None, :]
    return gray * (1 - _uniform(0, 0.2) * (x**2 + y**2))


def add_grain(gray: Tensor) -> Tensor:
    """Add Gaussian grain, up to 6 % of white, of one or two pixels."""
    noise = torch.randn_like(gray)
    if _happens(0.5):
        noise = 2 * TF.gaussian_blur(noise, [3, 3], [0.7])  # about the same deviation
    return gray + _uniform(0, 0.06) * noise


def scratch(gray: Tensor) -> Tensor:
    """Add one to three vertical scratches of one or two pixels, and dust, lighter or darker."""
    height, width = gray.shape[-2:]
    gray = gray.clone()
    for _ in range(1 + int(torch.randint(3, (1,)))):
        left = int(torch.randint(width, (1,)))
        top, bottom = sorted(torch.randint(height + 1, (2,)).tolist())
        gray[..., top:bottom, left : left + 1 + int(_happens(0.3))] += _uniform(-0.5, 0.5)
    for _ in range(int(torch.randint(6, (1,)))):
        top, left = (int(torch.randint(side, (1,))) for side in (height, width))
        size = 1 + int(torch.randint(3, (1,)))
        gray[..., top : top + size, left : left + size] = float(torch.rand(1))
    return gray


def compress(gray: Tensor) -> Tensor:
    """Add the blocks and ringing of JPEG, quality 12 to 70."""
    levels = (gray[0].clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=int(_uniform(12, 70)))
    return torch.from_numpy(np.array(Image.open(file)))[None].float() / 255


def copy_film(gray: Tensor) -> Tensor:
    """Add the artifacts of H.264 of poor quality, as the third frame of a slow motion: smeared
    texture, blocks, and traces of the frames before."""
    levels = (gray[0].clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    step = int(torch.randint(-2, 3, (1,)))
    moved = [np.roll(levels, step * ago, axis=1) for ago in (2, 1)]
    return torch.from_numpy(h264_copy([*moved, levels], int(_uniform(24, 40))))[None].float() / 255


# The steps in the order in which they happen to film, and the share of the pictures.
_STEPS = (
    (soften, 0.5),
    (develop, 1.0),
    (darken_corners, 0.3),
    (add_grain, 0.8),
    (scratch, 0.2),
    (compress, 0.2),
    (copy_film, 0.2),
)


def old_film(rgb: Tensor, emulsion: Callable[[Tensor], Tensor] = expose) -> Tensor:
    """L* `(1, H, W)` in [0, 100] of a picture on old film, or on a bad copy of it.

    Args:
        rgb: R'G'B' `(3, H, W)` in [0, 1].
        emulsion: computes the film's gray `(1, H, W)` of `rgb`.
    """
    gray = emulsion(rgb)
    for step, share in _STEPS:
        if _happens(share):
            gray = step(gray)
    return gray_to_lightness(gray.clamp(0, 1))


def h264_copy(frames: Sequence[np.ndarray], crf: int) -> np.ndarray:
    """Encode frames by libx264 in memory and decode the last one.

    Args:
        frames: `(H, W)` uint8 each, of one size; the first is a key frame, the others are
            predicted.
        crf: 0 (lossless) to 51; poor quality is 30 and more.

    Returns:
        `(H, W)` uint8.
    """
    coder = av.CodecContext.create("libx264", "w")
    coder.height, coder.width = frames[0].shape
    coder.pix_fmt, coder.time_base = "gray", Fraction(1, 25)
    # one thread: every worker process encodes
    coder.options = {"crf": str(crf), "preset": "veryfast", "threads": "1", "bf": "0"}
    packets = []
    for number, levels in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(levels), format="gray")
        frame.pts = number
        packets += coder.encode(frame)
    packets += coder.encode(None)
    reader = av.CodecContext.create("h264", "r")
    reader.thread_count = 1
    shown = [frame for packet in packets for frame in reader.decode(packet)]
    shown += reader.decode(None)
    plane = shown[-1].planes[0]  # not to_ndarray, which would assume limited range
    levels = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return levels[: coder.height, : coder.width].copy()
