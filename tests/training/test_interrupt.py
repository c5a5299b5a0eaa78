"""Signals wait for a moment that suits."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from vidcolor.training.interrupt import interruption


def test_ctrl_c_is_raised_at_the_check_and_not_before() -> None:
    handler = signal.getsignal(signal.SIGINT)
    with interruption() as signals:
        signals.check()
        os.kill(os.getpid(), signal.SIGINT)
        reached = True  # the block goes on: a step is never torn
        with pytest.raises(KeyboardInterrupt):
            signals.check()
    assert reached and not signals.forced
    assert signal.getsignal(signal.SIGINT) is handler


def test_sigterm_exits_with_143() -> None:
    with interruption() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(SystemExit) as caught:
            signals.check()
    assert caught.value.code == 143


def test_a_second_ctrl_c_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 101.0, 101.0, 104.0])
    with interruption() as signals:
        monkeypatch.setattr("vidcolor.training.interrupt.time.monotonic", lambda: next(clock))
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)  # a second later: torchrun's copy of the same
        assert not signals.forced
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signals.forced


def test_other_threads_leave_the_handlers_alone() -> None:
    handler = signal.getsignal(signal.SIGINT)
    seen = []

    def work() -> None:
        with interruption() as signals:
            signals.check()
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [handler]
