"""stages.json of a pipeline: which stages are done, with which options, for what and in how long."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scarlet_models.documents import read_json
from scarlet_models.errors import UserError
from scarlet_models.files import write_json
from scarlet_models.options import build, check

NAME = "stages.json"


@dataclass(frozen=True)
class Entry:
    """A stage that is done.

    Args:
        options: Its options, without its folder.
        needs: Stages whose products it took.
        command: The line for the shell.
        why: What it was for.
        seconds: How long it took.
    """

    options: dict[str, Any]
    needs: list[str]
    command: str
    why: str
    seconds: float


class Journal:
    """The entries by stage, in the order of running.

    Raises:
        UserError: The file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.entries: dict[str, Entry] = {}
        if self.path.exists():
            try:
                content = read_json(self.path, dict)
                self.entries = {name: build(Entry, check(entry, dict[str, Any])) for name, entry in content.items()}
            except UserError as error:
                reason = str(error).removeprefix(f"{self.path}: ")
                raise UserError(
                    f"{self.path} is damaged ({reason}): remove it, and each stage goes on from what its folder holds"
                ) from None

    def add(self, name: str, entry: Entry) -> None:
        """Note that a stage is done."""
        self.entries[name] = entry
        self._write()

    def forget(self, name: str) -> None:
        """Drop a stage and all that were made from it: when it runs again, they are out of date."""
        if self.entries.pop(name, None):
            for later in [later for later, entry in self.entries.items() if name in entry.needs]:
                self.forget(later)
            self._write()

    def _write(self) -> None:
        write_json(self.path, {name: asdict(entry) for name, entry in self.entries.items()})
