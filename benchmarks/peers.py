"""Film colorization as it is mostly done today: an OpenCV loop that calls a network frame by frame.

Read a frame, shrink it to the network's square input, predict a*b* in fp32 with a batch of one,
enlarge a*b*, put it under the frame's own L*, and write with OpenCV's own encoder. No sound, one
step after the other. Torch keeps its default number of threads. The networks' values are random,
because they change no time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vidcolor.models import ColorModel, create_model
from vidcolor.models.describe import describe

from .peer_networks import DDColorTinySized, DeOldifySized


@dataclass(frozen=True)
class Peer:
    """A network, and the side of the square it sees, pixels."""

    make: Callable[[], ColorModel]
    size: int


def _eccv16() -> ColorModel:
    return create_model("eccv16")


PEERS = {
    "eccv16": Peer(_eccv16, 256),
    "ddcolor_tiny_sized": Peer(DDColorTinySized, 512),
    "deoldify_sized": Peer(DeOldifySized, 336),
}


def peer_size(name: str, size: int = 0) -> dict[str, Any]:
    """What a peer's network is: `parameters`, `macs` (as `vidcolor.models.describe` counts them)
    and `all_macs`, which counts products among activations too (attention); at `size` or its own.
    """
    peer = PEERS[name]
    size = size or peer.size
    with torch.device("meta"):
        network = peer.make().eval().requires_grad_(False)
        counter = FlopCounterMode(display=False)
        with counter:
            network(torch.empty(1, 1, size, size))
        found = describe(network, size)
    return {
        "size": size,
        "parameters": found.parameters,
        "macs": found.macs,
        "all_macs": counter.get_total_flops() // 2,
    }


def opencv_loop(
    film: Path,
    output: Path,
    network: nn.Module,
    size: int,
    device: str,
    enough: Callable[[int, float], bool],
) -> tuple[int, float]:
    """Colorize a film's frames one by one, until `enough` or its end.

    Args:
        film: what OpenCV can read.
        output: an `.mp4` file, MPEG-4 part 2.
        network: L* `(1, 1, size, size)` in [0, 100] to a*b*, on `device`.
        size: the side of the network's input.
        device: `cpu` or `cuda`.
        enough: asked with the frames done and their seconds.

    Returns:
        Frames, and wall seconds for them. The first frame of the film, in which libraries wake up,
        counts for neither.

    Raises:
        RuntimeError: OpenCV cannot read the film or write the output.
    """
    import cv2

    capture = cv2.VideoCapture(str(film))
    width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
    height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    code = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(output), code, capture.get(cv2.CAP_PROP_FPS), (width, height))
    if not capture.isOpened() or not writer.isOpened():
        raise RuntimeError(f"OpenCV cannot read {film} or write {output}")
    done, seconds, began = -1, 0.0, time.perf_counter()
    with torch.inference_mode():
        while not enough(done, seconds):
            ok, bgr = capture.read()
            if not ok:
                break
            lab = cv2.cvtColor(bgr.astype(np.float32) / 255, cv2.COLOR_BGR2LAB)
            small = cv2.resize(lab[..., 0], (size, size), interpolation=cv2.INTER_AREA)
            ab = network(torch.from_numpy(small)[None, None].to(device))
            ab = ab[0].permute(1, 2, 0).float().cpu().numpy()
            lab[..., 1:] = cv2.resize(ab, (width, height))
            rgb = cv2.cvtColor(lab, cv2.COLOR_LAB2BGR)
            writer.write((rgb.clip(0, 1) * 255).round().astype(np.uint8))
            done += 1
            if done == 0:
                began = time.perf_counter()
            seconds = time.perf_counter() - began
    capture.release()
    writer.release()
    return max(done, 0), seconds


def peer_cost(
    *, name: str, film: Path, output: Path, device: str, frames: int, seconds: float, size: int = 0
) -> dict[str, Any]:
    """`fps` of a peer's loop over at least `frames` frames and `seconds` s, or the whole film.

    Raises:
        RuntimeError: the film has fewer than two frames, or OpenCV cannot read or write.
    """
    peer = PEERS[name]
    torch.manual_seed(0)
    network = peer.make().eval().to(device)
    done, taken = opencv_loop(
        film,
        output,
        network,
        size or peer.size,
        device,
        lambda done, taken: done >= frames and taken >= seconds,
    )
    if not done:
        raise RuntimeError(f"{film}: has too few frames to time {name}")
    return {"fps": done / taken, "frames": done, "threads": torch.get_num_threads()}
