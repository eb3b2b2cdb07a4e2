"""Progress with the remaining time: a bar on a terminal, else a plain line every half minute."""

import logging
import sys
import time
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

_EVERY = 30.0  # seconds between plain lines

_logger = logging.getLogger(__name__)


class Progress:
    """Counts steps: `total` of a whole run, of which `done` are done. `quiet` prints nothing. A context manager."""

    def __init__(self, total: int, done: int, label: str, quiet: bool = False) -> None:
        self.label, self.quiet = label, quiet
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self.bars = Bars(
            TextColumn("{task.description}"),
            *columns,
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
            redirect_stdout=False,
            disable=quiet or not sys.stderr.isatty(),
        )
        self.bar = self.bars.add_task(label, total=total, completed=done, note="")
        self.total, self.done, self.first = total, done, done
        self.started = self.logged = time.monotonic()

    def __enter__(self) -> "Progress":
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def advance(self, note: str) -> None:
        """One step is done; `note` is what to show beside the count."""
        self.done += 1
        self.bars.update(self.bar, advance=1, note=note)
        now = time.monotonic()
        if self.bars.disable and not self.quiet and now - self.logged >= _EVERY:
            self.logged = now
            remaining = (now - self.started) / (self.done - self.first) * (self.total - self.done)
            eta = timedelta(seconds=round(remaining))
            _logger.info("%s step %d/%d  %s  remaining %s", self.label, self.done, self.total, note, eta)
