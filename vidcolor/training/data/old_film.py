"""The look of old film and bad copies, put on colour pictures to train on.

A model that has seen only modern pictures with their colours taken away takes grain for texture,
scratches for edges and an orthochromatic sky for snow. Every function works on one picture, grey
`(1, H, W)` in [0, 1], and throws its dice with torch's global generator of the CPU.
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

from ...color.convert import grey_to_lightness

# How much of R', G' and B' an emulsion sees. Panchromatic film: BT.601's luma. Orthochromatic film
# is blind to red, and the first films saw blue almost alone; these weights are our estimates.
_EMULSIONS = ((0.299, 0.587, 0.114), (0.03, 0.52, 0.45), (0.0, 0.2, 0.8))


def _uniform(low: float, high: float) -> float:
    return float(torch.empty(1).uniform_(low, high))


def _happens(share: float) -> bool:
    return float(torch.rand(1)) < share


def expose(rgb: Tensor) -> Tensor:
    """Grey as one of three kinds of film sees R'G'B' `(3, H, W)` in [0, 1], or between two.

    Two thirds of the pictures are panchromatic, as most of the film that has survived is.
    """
    weights = torch.tensor(_EMULSIONS[0])
    if _happens(1 / 3):
        other = torch.tensor(_EMULSIONS[1 + int(_happens(0.3))])
        weights = torch.lerp(weights, other, _uniform(0.3, 1.0))
    return (rgb * weights[:, None, None]).sum(dim=0, keepdim=True)


def soften(grey: Tensor) -> Tensor:
    """A soft lens, or a copy of a smaller picture."""
    if _happens(0.6):
        return TF.gaussian_blur(grey, [5, 5], [_uniform(0.3, 1.5)])
    small = F.interpolate(grey[None], scale_factor=_uniform(0.4, 0.8), mode="area")
    return F.interpolate(small, size=grey.shape[-2:], mode="bilinear")[0]


def develop(grey: Tensor) -> Tensor:
    """Gamma, faded blacks and whites, and now and then a range that was stretched and clipped."""
    black, white = torch.rand(2).tolist()
    grey = grey ** float(torch.empty(1).uniform_(-0.35, 0.35).exp())
    if _happens(0.15):
        return ((grey - 0.1 * black) / (1 - 0.1 * black - 0.1 * white)).clamp(0, 1)
    return 0.15 * black + grey * (1 - 0.15 * black - 0.15 * white)


def darken_corners(grey: Tensor) -> Tensor:
    """Vignetting: up to 40 % less light in the corners."""
    y = torch.linspace(-1, 1, grey.shape[-2])[:, None]
    x = torch.linspace(-1, 1, grey.shape[-1])[None, :]
    return grey * (1 - _uniform(0, 0.2) * (x**2 + y**2))


def add_grain(grey: Tensor) -> Tensor:
    """Gaussian grain up to 6 % of white, fine or as coarse as two pixels."""
    noise = torch.randn_like(grey)
    if _happens(0.5):
        noise = 2 * TF.gaussian_blur(noise, [3, 3], [0.7])  # about the deviation it had
    return grey + _uniform(0, 0.06) * noise


def scratch(grey: Tensor) -> Tensor:
    """One to three upright scratches of one or two pixels, and some dust, lighter or darker."""
    height, width = grey.shape[-2:]
    grey = grey.clone()
    for _ in range(1 + int(torch.randint(3, (1,)))):
        left = int(torch.randint(width, (1,)))
        top, bottom = sorted(torch.randint(height + 1, (2,)).tolist())
        grey[..., top:bottom, left : left + 1 + int(_happens(0.3))] += _uniform(-0.5, 0.5)
    for _ in range(int(torch.randint(6, (1,)))):
        top, left = (int(torch.randint(side, (1,))) for side in (height, width))
        size = 1 + int(torch.randint(3, (1,)))
        grey[..., top : top + size, left : left + size] = float(torch.rand(1))
    return grey


def compress(grey: Tensor) -> Tensor:
    """The blocks and ringing of a codec: JPEG of quality 12 to 70."""
    levels = (grey[0].clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=int(_uniform(12, 70)))
    return torch.from_numpy(np.array(Image.open(file)))[None].float() / 255


def copy_film(grey: Tensor) -> Tensor:
    """H.264 of poor quality, as the third frame of a slow move: smeared texture, blocks, and what
    is left of the frames before."""
    levels = (grey[0].clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    step = int(torch.randint(-2, 3, (1,)))
    moved = [np.roll(levels, step * ago, axis=1) for ago in (2, 1)]
    return torch.from_numpy(h264_copy([*moved, levels], int(_uniform(24, 40))))[None].float() / 255


# What may happen to a picture, in the order in which it happens to film, and its share.
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
    """L* `(1, H, W)` in [0, 100] of a picture as an old film, or a bad copy of one, holds it.

    Args:
        rgb: R'G'B' `(3, H, W)` in [0, 1].
        emulsion: makes the grey `(1, H, W)` that the film sees of `rgb`.
    """
    grey = emulsion(rgb)
    for step, share in _STEPS:
        if _happens(share):
            grey = step(grey)
    return grey_to_lightness(grey.clamp(0, 1))


def h264_copy(frames: Sequence[np.ndarray], crf: int) -> np.ndarray:
    """The last of some frames after libx264 and back, in memory.

    Args:
        frames: `(H, W)` uint8 each, of one size; the first is coded alone, the others from those
            before them.
        crf: 0 (lossless) to 51; films of poor quality have 30 and more.

    Returns:
        `(H, W)` uint8.
    """
    coder = av.CodecContext.create("libx264", "w")
    coder.height, coder.width = frames[0].shape
    coder.pix_fmt, coder.time_base = "gray", Fraction(1, 25)
    # one thread, because the processes that load pictures have the cores
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
    plane = shown[-1].planes[0]  # as it is: to_ndarray would take its range for limited
    levels = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return levels[: coder.height, : coder.width].copy()
