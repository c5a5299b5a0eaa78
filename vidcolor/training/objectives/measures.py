"""The names of what is measured, and which way is better."""

from __future__ import annotations

# what a recipe may choose its best epoch by
MONITORS = ("loss", "margin_error", "psnr", "psnr_ab", "gain", "accuracy")

# measures of which more is better; all others (losses, errors) are to be low
_HIGH = {"psnr", "gain", "ssim", "accuracy"}


def higher_is_better(measure: str) -> bool:
    """Whether more of `measure` is better; `psnr_a`, `test_psnr` and the like count as `psnr`."""
    return not _HIGH.isdisjoint(measure.split("_"))
