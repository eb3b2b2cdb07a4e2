"""What signals end, and where."""

import os
import signal
import time

import pytest

from scarlet_models.signals import StopSignals


class Sending:
    """An object that gets a signal while it goes."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)


def test_a_signal_that_a_destructor_swallows_is_raised_again(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    started = time.monotonic()
    with pytest.raises(SystemExit) as ended, StopSignals("the line"):
        Sending()
        time.sleep(20)
    assert ended.value.code == 143 and time.monotonic() - started < 10
    assert "the line" in caplog.text and "ignored" not in capfd.readouterr().err
