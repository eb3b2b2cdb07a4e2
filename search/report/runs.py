"""The runs that a report finds in folders, and their files, each read once."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import TemplateRuntimeError

from scarlet_models.documents import MAX_JSON, parse_json, parse_yaml, read_csv, read_json, read_text
from scarlet_models.errors import UserError, as_user_error
from scarlet_models.search.latency import table as latency_table
from scarlet_models.search.pipeline.networks import NAME as NETWORKS
from scarlet_models.search.pipeline.networks import measured
from scarlet_models.weights import save as saving

DEPTH = 2  # folders below a given one in which runs are looked for
_OWN_FOLDERS = {"anchors", "checkpoints", "events", "generations", "report"}

KINDS = ("train", "rank", "latency", "evolve", "run", "retrain", "export")  # in a pipeline's order
TRAININGS = ("train", "evolve", "retrain")  # that keep their options in config.yaml, and their command in env.json

Table = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Run:
    """What one command left in a folder; a folder can hold the runs of several."""

    kind: str
    path: Path
    label: str  # the path below the folder that all runs of the report share
    _read: dict[Any, Any] = field(default_factory=dict, repr=False)

    def text(self, name: str) -> str:
        """A text file's content; empty if there is none."""
        path = self.path / name
        return str(self._once(name, lambda: read_text(path, MAX_JSON) if path.is_file() else ""))

    def json(self, name: str) -> Any:
        """A JSON file's content; None if there is no such file."""
        text = self.text(name)
        return self._once((parse_json, name), lambda: parse_json(text, f"{self.path / name}") if text else None)

    def config(self) -> dict[str, Any]:
        """The resolved options; empty if there are none."""
        text, file = self.text("config.yaml"), str(self.path / "config.yaml")
        return self._once(parse_yaml, lambda: parse_yaml(text, file, dict) if text else {})

    def table(self, name: str) -> Table:
        """A CSV's columns of numbers: float64, not a number where a cell is empty; other columns are left out."""
        return self._once((read_csv, name), lambda: _columns(self.path / name))

    def generations(self) -> list[Path]:
        """The files that evolve wrote of each generation, in order."""
        return self._once("generations", lambda: sorted(self.path.glob("generations/*.json")))

    def generation(self, number: int) -> dict[str, Any]:
        """What evolve wrote of a generation; -1 is the last."""
        return self.json(f"generations/{self.generations()[number].name}")

    def front(self) -> list[dict[str, Any]]:
        """Records of an evolve run's networks that none dominates, so far."""
        done = self.json("search.json")
        return done["front"] if done else self.generation(-1)["front"] if self.generations() else []

    def measured(self) -> dict[str, float]:
        """What a training measured of its network, as `networks.measured` reads it."""
        return self._once(measured, lambda: measured(self.path))

    def _once(self, key: Any, read: Callable[[], Any]) -> Any:
        if key not in self._read:
            self._read[key] = read()
        return self._read[key]


def _columns(path: Path) -> Table:
    names, rows = read_csv(path, ()) if path.is_file() else ([], [])
    columns = {}
    for name in names:
        with suppress(ValueError):  # text
            columns[name] = np.array([float(row[name] or "nan") for row in rows])
    return columns


@contextmanager
def readable(run: Run) -> Iterator[None]:
    """Turn what files of another shape than expected lead to into a UserError that names the run's folder."""
    try:
        yield
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, TemplateRuntimeError) as error:
        what = f"{run.path} is no run of {run.kind} that can be read ({type(error).__name__}: {error})"
        raise UserError(f"{what}: a file is damaged or of another version") from error


def find_runs(folders: Sequence[Path]) -> list[Run]:
    """All runs in the folders and up to two levels below, in a pipeline's order; a UserError if there is none."""
    for root in folders:
        if not root.is_dir():
            raise UserError(f"there is no folder {root}")
    top = Path(os.path.commonpath([root.resolve() for root in folders])) if folders else Path()
    runs: dict[tuple[str, Path], Run] = {}
    with as_user_error("cannot look for runs", OSError):
        for folder in (folder for root in folders for folder in _within(root, DEPTH)):
            label = folder.resolve().relative_to(top) if folder.resolve() != top else Path(top.name)
            for kind in _kinds(folder):
                runs.setdefault((kind, folder.resolve()), Run(kind, folder, str(label)))
    if not runs:
        advice = "give the folder of a run of train, evolve, rank, latency, retrain or export, or one that holds such"
        raise UserError(f"nothing to report in {', '.join(map(str, folders))}: {advice} folders")
    return sorted(runs.values(), key=lambda run: KINDS.index(run.kind))


def _within(folder: Path, depth: int) -> Iterator[Path]:
    yield folder
    if depth:
        for path in sorted(folder.iterdir()):
            if path.is_dir() and path.name not in _OWN_FOLDERS and not path.name.startswith("."):
                yield from _within(path, depth - 1)


def _kinds(folder: Path) -> Iterator[str]:
    """The commands whose files a folder holds. Those with an environment have written their name into it."""
    if (path := folder / "env.json").is_file():
        environment = read_json(path)
        command = environment.get("command") if isinstance(environment, dict) else ""
        yield from (kind for kind in TRAININGS if command == f"scarlet-search {kind}")
    if any(folder.glob("rank_*.csv")):
        yield "rank"
    if (folder / latency_table.NAME).is_file():
        yield "latency"
    if (folder / NETWORKS).is_file():
        yield "run"
    if (folder / saving.CONFIG).is_file() and (folder / saving.WEIGHTS).is_file():
        yield "export"
