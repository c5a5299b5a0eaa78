"""Importing the library has no side effects on the host program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_IMPORT_ALL = """
import os, pkgutil, signal, sys, threading
import cv2, torch

def state():
    return {
        "environment": dict(os.environ),
        "torch threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "torch precision": torch.get_float32_matmul_precision(),
        "torch gradients": torch.is_grad_enabled(),
        "OpenCV threads": cv2.getNumThreads(),
        "random numbers": torch.random.get_rng_state().tolist(),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "threads": threading.active_count(),
        "allocator": calls,
    }

calls = []
before = state() | {"allocator": []}
import vidcolor
names = [module.name for module in pkgutil.walk_packages(vidcolor.__path__, "vidcolor.")]
import vidcolor.system.memory
vidcolor.system.memory.retain_freed_memory = lambda: calls.append(1)
for name in names:
    if not name.endswith("__main__"):
        __import__(name)
after = state()
changed = [key for key in before if before[key] != after[key]]
sys.exit(f"imports changed: {changed}" if changed else 0)
"""


def test_importing_every_module_changes_nothing() -> None:
    result = subprocess.run(
        [sys.executable, "-c", _IMPORT_ALL],
        cwd=Path(__file__).resolve().parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
