"""What commands print: tables and bars that stay whole when the output is a file or a pipe."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table


def console() -> Console:
    """For standard output. Lines wrap at a terminal's width; elsewhere they stay as long as they are."""
    return Console(highlight=False, soft_wrap=True) if sys.stdout.isatty() else Console(highlight=False, width=10_000)


def table(*columns: str) -> Table:
    """An empty table. A column whose heading starts with ">" is right-aligned."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", no_wrap=True)
    return made


def millions(count: int) -> str:
    """A count such as 365.3M."""
    return f"{count / 1e6:,.1f}M"
