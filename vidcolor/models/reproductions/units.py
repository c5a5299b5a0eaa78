"""The units of the S4 networks: 8-bit Lab divided by 255.

OpenCV's 8-bit Lab holds L* x 255 / 100, a* + 128 and b* + 128 in bytes; the document of S4 divides
them by 255. Lightness then is L* / 100, and a chroma of zero is 128 / 255.
"""

from __future__ import annotations

from torch import Tensor


def lightness_to_input(lightness: Tensor, activation: str) -> Tensor:
    """L* in [0, 100], any shape, to the range the network reads.

    Args:
        lightness: L*.
        activation: with `tanh` the range is [-1, 1], with any other [0, 1].
    """
    return lightness / 50 - 1 if activation == "tanh" else lightness / 100


def output_to_ab(raw: Tensor, activation: str) -> Tensor:
    """What the network puts out, any shape, to a* or b* in Lab units.

    Args:
        raw: y = (chroma + 128) / 255, or with `tanh` t = 2 y - 1 in [-1, 1]. The layer that made
            it should run in float32, see `precision`: y is about 0.5 for all gray pixels.
        activation: the activation of the last layer.

    Returns:
        255 y - 128, float32.
    """
    raw = raw.float()
    y = (raw + 1) / 2 if activation == "tanh" else raw
    return 255 * y - 128
