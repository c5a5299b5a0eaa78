"""The fixture that runs the command line in this process, apart from imported weights."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # threads of several processes would wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")
import torch

from tests.helpers.command_line import Answer, Vidcolor
from vidcolor.cli import main
from vidcolor.models import create_model
from vidcolor.models.entry import Entry
from vidcolor.models.weights import import_weights, save_weights


@pytest.fixture(scope="session", autouse=True)
def _modules_are_no_garbage() -> None:
    """Garbage collections skip torch and the tests, and look only at what the tests make."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _signals_are_heard() -> None:
    """A shell starts what runs in its background with SIGINT ignored, nohup with SIGHUP, and
    children inherit that; the tests that send them need them heard."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def _imported_weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The weights of the tests' own models are imported, and none of the developer's.

    tests/plugin makes these models known as an installed package would, to subprocesses too.
    """
    folder = tmp_path_factory.mktemp("imported_weights")
    root = Path(__file__).resolve().parents[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIDCOLOR_WEIGHTS", str(folder / "store"))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(root), str(root / "tests" / "plugin")]))
        for name in ("_ramp", "_tiny"):
            file = folder / f"{name}.safetensors"
            save_weights(file, create_model(name).state_dict(), Entry(name), torch.float32)
            import_weights(file)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_measured_batches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nor may the batch sizes that `vidcolor probe` has found on the developer's machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIDCOLOR_CACHE", str(tmp_path_factory.mktemp("no_cache")))
        yield


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Vidcolor]:
    """`command("run", ...)` runs `main` as the console script does."""
    monkeypatch.setenv("COLUMNS", "400")  # so that tables do not break names
    logger = logging.getLogger("vidcolor")
    state = logger.handlers, logger.level, logger.propagate

    def run(*arguments: str | Path) -> Answer:
        monkeypatch.setattr(sys, "argv", ["vidcolor", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as exit:
            assert isinstance(exit.code, int)
            code = exit.code
        return Answer(code, *capsys.readouterr())

    yield run
    logger.handlers, logger.level, logger.propagate = state
