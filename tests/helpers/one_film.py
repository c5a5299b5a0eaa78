"""Color one input and look at its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vidcolor import Colorizer, Report, Settings, colorize


def color_one(path: Path, output: Path, colorizer: Colorizer, **settings: Any) -> Report:
    """The report of one input, colored with these settings."""
    (report,) = colorize(path, output, colorizer=colorizer, settings=Settings(**settings))
    return report
