"""Adjust the predicted chroma: saturation, temperature and tint, as in a photo editor."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

MAX_SATURATION = 5.0
MAX_SHIFT = 100.0
_SHIFT_AT_100 = 20.0  # Lab units of a* or b*, in the mid-tones


@dataclass(frozen=True)
class ColorAdjustment:
    """A change of the predicted chroma; the default changes nothing.

        a' = saturation a + 20 (tint / 100) w(L),  b' = saturation b + 20 (temperature / 100) w(L)
        w(L) = 4 (L / 100) (1 - L / 100)

    Temperature and tint shift colors along the axes of Lab; this is not chromatic adaptation. An
    adaptation (a factor on X and Z) moves a gray by an amount proportional to L* + 16, so it tints
    paper white the most, and it changes lightness, which must be kept. The window w is 1 in the
    mid-tones (L* 50) and 0.84 to 0.96 over most skin (L* 40 to 70). It is 0 at black and at white,
    so both stay neutral. A value of 100 moves middle gray by 20 units: along b*, that is about the
    step from daylight D65 to D50 (17.7 by Bradford's adaptation). Saturation does not scale the
    shift: saturation 0 with a temperature gives an evenly toned print.

    Attributes:
        saturation: factor on the chroma, 0 to 5; 0 is gray, 1 is the model's prediction.
        temperature: -100 to 100; above 0 warmer (toward yellow, +b*), below 0 colder (toward blue).
        tint: -100 to 100; above 0 toward magenta (+a*), below 0 toward green.

    Raises:
        ValueError: a value is out of range or not a number.
    """

    saturation: float = 1.0
    temperature: float = 0.0
    tint: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.saturation <= MAX_SATURATION:
            raise ValueError(
                f"saturation must lie between 0 and {MAX_SATURATION:g}, not {self.saturation}"
            )
        for name in ("temperature", "tint"):
            value = getattr(self, name)
            if not -MAX_SHIFT <= value <= MAX_SHIFT:
                raise ValueError(
                    f"{name} must lie between -{MAX_SHIFT:g} and {MAX_SHIFT:g}, not {value}"
                )

    @property
    def shifts(self) -> bool:
        """Whether the adjustment depends on lightness: temperature or tint is not 0."""
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
        return ab + shift * (_SHIFT_AT_100 / 100) * (4 * level * (1 - level)).clamp_min(0)
