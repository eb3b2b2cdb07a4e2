"""SIGINT and SIGTERM: what ends a command at once, and what lets a training finish its step first."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_logger = logging.getLogger(__name__)


class StopSignals:
    """Turns SIGINT into KeyboardInterrupt and SIGTERM into SystemExit(143), and logs the line that resumes.

    Use as a context manager. While it is `deferring`, a signal is only noted: whoever defers looks at `received` and
    calls `stop`. A second SIGINT ends the process even so.
    """

    def __init__(self, line: str = "") -> None:
        self.received: int | None = None  # the last signal
        self.line = line  # that resumes the command; empty if nothing is there to resume
        self._deferring = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():  # no other may set handlers
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
            self._hook, sys.unraisablehook = sys.unraisablehook, self._repeat
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            sys.unraisablehook = self._hook
        lost = kind is None and self.received is not None  # noted and not looked at, or swallowed by a library
        if self.line and (lost or (kind and issubclass(kind, KeyboardInterrupt | SystemExit))):
            _logger.warning("interrupted; this line goes on from there:\n%s", self.line)
        if lost:
            self.stop()

    @contextmanager
    def deferring(self) -> Iterator[None]:
        """Only note signals meanwhile."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False

    def stop(self) -> None:
        """Raise what the received signal stands for."""
        if self.received == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)
        raise KeyboardInterrupt

    def _repeat(self, lost: "sys.UnraisableHookArgs") -> None:
        """What Python does with an exception in a destructor; one of a signal is raised again a little later."""
        if self.received is None or not issubclass(lost.exc_type, KeyboardInterrupt | SystemExit):
            return self._hook(lost)
        number, self.received = self.received, None
        threading.Timer(0.01, os.kill, (os.getpid(), number)).start()

    def _note(self, number: int, frame: FrameType | None) -> None:
        again = self.received is not None
        if again and "RANK" in os.environ:  # torchrun passes each signal on once more
            return
        self.received = number
        if self._deferring and not (again and number == signal.SIGINT):
            _logger.warning("%s: the step is finished, then a checkpoint written", signal.Signals(number).name)
        else:
            self.stop()
