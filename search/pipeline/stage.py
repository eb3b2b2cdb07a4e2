"""A stage of a pipeline: a subcommand that runs in a folder of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Stage:
    """A command to run in a folder of its own.

    Args:
        name: Name of the stage and of its folder.
        command: Subcommand of scarlet-search.
        why: What it is for, in one line.
        options: Options of the command by name. A recipe's name under "config" gives those that are not named.
        product: File in its folder that is there when it is done.
        needs: Stages whose products it takes: when one of them runs again, so does it.
        keep: Refuse to run again with other options: it took too long to be lost to a slip.
        processes: Processes to start under torchrun.
    """

    name: str
    command: str
    why: str
    options: dict[str, Any]
    product: str
    needs: tuple[str, ...] = ()
    keep: bool = False
    processes: int = 1
