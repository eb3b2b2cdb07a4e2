"""A pipeline's stages, and stages.json: which of them are done, with which options, for what and in how long."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scarlet_models.documents import read_json
from scarlet_models.errors import UserError
from scarlet_models.files import write_json
from scarlet_models.options import build, check

NAME = "stages.json"


@dataclass(frozen=True)
class Stage:
    """A subcommand that runs in a folder of its own."""

    name: str  # also of its folder
    command: str  # of scarlet-search
    why: str  # what it is for, in one line
    options: dict[str, Any]  # by name; a recipe's name under "config" gives those that are not named
    product: str  # file in its folder that is there when it is done
    needs: tuple[str, ...] = ()  # stages whose products it takes: when one of them runs again, so does it
    keep: bool = False  # refuse to run again with other options: it took too long to be lost to a slip
    processes: int = 1  # to start under torchrun


@dataclass(frozen=True)
class Entry:
    """A stage that is done: its options without its folder, the line for the shell, and the time it took."""

    options: dict[str, Any]
    needs: list[str]
    command: str
    why: str
    seconds: float


class Journal:
    """The entries by stage, in the order of running; a UserError if the file is damaged."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        try:
            content = read_json(self.path, dict) if self.path.exists() else {}
            self.entries = {name: build(Entry, check(entry, dict[str, Any])) for name, entry in content.items()}
        except UserError as error:
            reason = str(error).removeprefix(f"{self.path}: ")
            advice = "remove it, and each stage goes on from what its folder holds"
            raise UserError(f"{self.path} is damaged ({reason}): {advice}") from None

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
