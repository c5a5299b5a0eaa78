"""Small picture sets."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch


def write_picture(path: Path, seed: int, *, gray: bool = False, side: int = 80) -> None:
    """A warm, smooth picture (or a gray one) as `path`."""
    random = np.random.default_rng(seed)
    light = cv2.resize(random.uniform(60, 170, (4, 5)).astype(np.float32), (side + 10, side))
    tint = (0, 0, 0) if gray else (-40, 0, 50)  # BGR
    bgr = np.clip(light[..., None] + np.array(tint), 0, 255).astype(np.uint8)
    path.write_bytes(cv2.imencode(path.suffix, bgr)[1].tobytes())


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of seven warm pictures."""
    folder = tmp_path_factory.mktemp("photographs")
    for seed in range(7):
        write_picture(folder / f"{seed}.png", seed)
    return folder


@pytest.fixture(scope="session")
def alexnet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of AlexNet, where torch's hub would have put the true ones."""
    from torchvision.models import alexnet

    path = tmp_path_factory.mktemp("hub") / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth"
    path.parent.mkdir(parents=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(alexnet(weights=None).features.state_dict(), path)
    return path


@pytest.fixture
def alexnet_cache(alexnet_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's hub cache holds AlexNet."""
    monkeypatch.setenv("TORCH_HOME", str(alexnet_file.parents[2]))
