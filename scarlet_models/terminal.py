"""Terminal output of the commands: tables that stay whole when the output is a file or a pipe; log lines on stderr."""

import json
import logging
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # --help need not wait for rich
    from rich.console import Console
    from rich.table import Table


def output(content: Any, as_json: bool, show: Callable[[Any], None]) -> None:
    """Print plain data as JSON for programs, or show it to people."""
    if as_json:
        print(json.dumps(content, indent=2))
    else:
        show(content)


def console() -> "Console":
    """A console on standard output. Lines wrap at the width of a terminal, but not in files and pipes."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True) if sys.stdout.isatty() else Console(highlight=False, width=10_000)


def table(*columns: str, rows: Iterable[Iterable[str]] = ()) -> "Table":
    """A table. A heading that starts with ">" makes its column right-aligned."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", no_wrap=True)
    for row in rows:
        made.add_row(*row)
    return made


def short(count: int) -> str:
    """A count in a few digits, such as 365.3M."""
    for unit, letter in ((10**9, "G"), (10**6, "M"), (10**3, "K")):
        if count >= unit:
            return f"{count / unit:.{2 if letter == 'G' else 1}f}{letter}"
    return str(count)


def log_to_stderr() -> None:
    """Sends log messages with the time of day to stderr."""
    last: Any = logging.lastResort  # its class looks up sys.stderr for each message: rich's while a bar is shown
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", handlers=[type(last)()], force=True
    )
    for chatty in ("timm", "faster_coco_eval"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
