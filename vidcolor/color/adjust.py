"""The look of the result: saturation, temperature and tint, as in a photo editor."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

MAX_SATURATION = 5.0
MAX_SHIFT = 100.0
_UNITS = 20.0  # of a* or b* for a slider at 100, in the mid-tones


@dataclass(frozen=True)
class Look:
    """A change of predicted chroma; the default changes nothing.

        a' = saturation a + 20 (tint / 100) w(L),  b' = saturation b + 20 (temperature / 100) w(L)
        w(L) = 4 (L / 100) (1 - L / 100)

    A shift along the axes of Lab, and not a chromatic adaptation: an adaptation (a factor on X and
    Z) moves a grey by an amount proportional to L* + 16, so it tints paper white the most, and it
    would move lightness, which this project keeps. The window w is 1 in the mid-tones (L* 50), 0.84
    to 0.96 over most skin (L* 40 to 70), and falls to 0 at black and at white, so that both stay
    clean. A slider at 100 moves a middle grey by 20: along b* that is about the step from
    daylight D65 to D50 (17.7 by Bradford's adaptation). The shift is not scaled by the saturation:
    saturation 0 with a temperature gives an evenly toned print.

    Attributes:
        saturation: factor on the chroma, 0 to 5; 0 gives grey, 1 what the model predicts.
        temperature: -100 to 100; above 0 warmer (towards yellow, +b*), below colder (towards blue).
        tint: -100 to 100; above 0 towards magenta (+a*), below towards green.

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
        """Whether lightness matters: temperature or tint is not 0."""
        return bool(self.temperature or self.tint)

    def apply(self, ab: Tensor, lightness: Tensor) -> Tensor:
        """The chroma with this look.

        Args:
            ab: `(B, 2, h, w)` a*b*.
            lightness: `(B, 1, h, w)` L* in [0, 100] of the same pixels.

        Returns:
            `(B, 2, h, w)`; `ab` itself for the default look.
        """
        if self.saturation != 1:
            ab = ab * self.saturation
        if not self.shifts:
            return ab
        level = lightness.to(ab.dtype) / 100
        shift = ab.new_tensor([self.tint, self.temperature]).view(1, 2, 1, 1)
        return ab + shift * (_UNITS / 100) * (4 * level * (1 - level)).clamp_min(0)
