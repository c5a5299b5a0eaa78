"""The colorizer of tests that color whole films."""

from __future__ import annotations

import pytest

from vidcolor import Colorizer


@pytest.fixture(scope="module")
def colorizer() -> Colorizer:
    return Colorizer("_ramp", device="cpu", size=64, precision="fp32")
