"""Progress with a remaining time: a bar on a terminal, else a plain line every half minute."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import ExitStack
from datetime import timedelta

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

_logger = logging.getLogger(__name__)


def log_to_stderr() -> None:
    """Sends log messages with the time of day to stderr."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", force=True)
    for chatty in ("timm", "faster_coco_eval"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


class Progress:
    """Counts steps. Use as a context manager.

    Args:
        total: Steps of the whole run.
        done: Steps done before (resumed runs).
        label: What is being done.
        quiet: Print nothing (every rank but the first).
        every: Seconds between plain lines.
    """

    def __init__(self, total: int, done: int, label: str, quiet: bool = False, every: float = 30.0) -> None:
        self.total, self.done, self.label, self.every = total, done, label, every
        self.first, self.started, self.logged = done, time.monotonic(), time.monotonic()
        self.quiet = quiet
        self.bar = tqdm(total=total, initial=done, desc=label, disable=quiet or not sys.stderr.isatty(), smoothing=0.05)

    def __enter__(self) -> Progress:
        self.stack = ExitStack()
        self.stack.enter_context(self.bar)
        if not self.bar.disable:
            self.stack.enter_context(logging_redirect_tqdm())
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def advance(self, note: str) -> None:
        """One step is done; `note` is what to show beside the count."""
        self.done += 1
        self.bar.set_postfix_str(note, refresh=False)
        self.bar.update()
        now = time.monotonic()
        if self.bar.disable and not self.quiet and now - self.logged >= self.every:
            self.logged = now
            remaining = (now - self.started) / (self.done - self.first) * (self.total - self.done)
            eta = timedelta(seconds=round(remaining))
            _logger.info("%s step %d/%d  %s  remaining %s", self.label, self.done, self.total, note, eta)
