"""Saturation, temperature and tint of predicted colors, as in a photo editor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..options import check_options, option

if TYPE_CHECKING:  # the command line's help is made from this module, and torch takes seconds
    from torch import Tensor

_UNITS = 20.0  # of a* or b* for a slider at 100, in the mid-tones


@dataclass(frozen=True)
class ColorAdjustment:
    """A change of predicted chroma; the default changes nothing.

        a' = saturation a + 20 (tint / 100) w(L),  b' = saturation b + 20 (temperature / 100) w(L)
        w(L) = 4 (L / 100) (1 - L / 100)

    The shift moves colors along the axes of Lab. It is not a chromatic adaptation: that is a factor
    on X and Z, which moves a gray in proportion to L* + 16, tints paper white the most, and changes
    lightness, which this project keeps. The window w is 1 in the mid-tones (L* 50), 0.84 to 0.96
    over most skin (L* 40 to 70), and 0 at black and at white, so that both stay clean. A slider at
    100 moves a middle gray by 20: along b* that is about the step from daylight D65 to D50 (17.7 by
    Bradford's adaptation). Saturation does not scale the shift: saturation 0 with a temperature
    gives an evenly toned print.

    Attributes:
        saturation: factor on the chroma; 0 gives gray, 1 what the model predicts.
        temperature: above 0 toward yellow (+b*), below toward blue.
        tint: above 0 toward magenta (+a*), below toward green.

    Raises:
        OptionError: a value is out of range or not a number; it is a ValueError.
    """

    saturation: float = option(1.0, low=0, high=5, help="Factor on the colors; 0 gives gray.")
    temperature: float = option(
        0.0, low=-100, high=100, help="White balance: -100 is colder (blue), 100 warmer (yellow)."
    )
    tint: float = option(0.0, low=-100, high=100, help="White balance: -100 is green, 100 magenta.")

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def shifts(self) -> bool:
        """Whether the result depends on lightness: temperature or tint is not 0."""
        return bool(self.temperature or self.tint)

    def apply(self, ab: Tensor, lightness: Tensor) -> Tensor:
        """Adjust chroma.

        Args:
            ab: `(B, 2, h, w)` a*b*.
            lightness: `(B, 1, h, w)` L* in [0, 100] of the same pixels.

        Returns:
            `(B, 2, h, w)`; `ab` itself for the default adjustment.
        """
        if self.saturation != 1:
            ab = ab * self.saturation
        if not self.shifts:
            return ab
        level = lightness.to(ab.dtype) / 100
        shift = ab.new_tensor([self.tint, self.temperature]).view(1, 2, 1, 1)
        return ab + shift * (_UNITS / 100) * (4 * level * (1 - level)).clamp_min(0)
