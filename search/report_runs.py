"""What a report finds in folders: runs of train, evolve, retrain, rank, latency and export, known by their files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from scarlet_models import saving
from scarlet_models.errors import UserError
from scarlet_models.space import SearchSpace

from . import latency_table
from .supernet_file import NAME as SUPERNET

DEPTH = 2  # folders below a given one in which runs are looked for
_OWN_FOLDERS = {"checkpoints", "events", "generations", "report"}

Table = dict[str, np.ndarray]


@dataclass(frozen=True)
class Run:
    """What one command left in a folder; a folder can hold the runs of several."""

    kind: str
    path: Path
    label: str

    @property
    def slug(self) -> str:
        """The label as a part of file names."""
        return "_".join(Path(self.label).parts)

    def text(self, name: str) -> str:
        """A text file's content; empty where there is none."""
        path = self.path / name
        try:
            return path.read_text(encoding="utf-8") if path.is_file() else ""
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from error

    def json(self, name: str) -> Any:
        """A JSON file's content; None where there is no such file."""
        return _parse(self.path / name, json.loads, self.text(name))

    def config(self) -> dict[str, Any]:
        """The resolved options; empty where there are none."""
        return _parse(self.path / "config.yaml", yaml.safe_load, self.text("config.yaml")) or {}

    def table(self, name: str) -> Table:
        """A CSV's columns of numbers: float64, not a number where a cell is empty; other columns are left out."""
        rows = list(csv.DictReader(self.text(name).splitlines()))
        columns = {}
        for key in rows[0] if rows else ():
            try:
                columns[key] = np.array([float(row[key] or "nan") for row in rows])
            except (TypeError, ValueError):  # text, or a last row that a kill tore off
                continue
        return columns

    def generations(self) -> list[dict[str, Any]]:
        """What evolve wrote of each generation, in order."""
        return [self.json(f"generations/{path.name}") for path in sorted(self.path.glob("generations/*.json"))]

    def evaluations(self) -> dict[str, float]:
        """Top-1 in percent of each genotype in evaluations.jsonl."""
        lines = self.text("evaluations.jsonl").splitlines(keepends=True)
        rows = [json.loads(line) for line in lines if line.endswith("\n")]
        return {row["genotype"]: row["top1"] for row in rows}


def _parse(path: Path, parser: Any, text: str) -> Any:
    try:
        return parser(text) if text else None
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} is damaged: {str(error).splitlines()[0]}") from error


def find_runs(folders: Sequence[Path]) -> list[Run]:
    """All runs in the folders and up to two levels below, in a pipeline's order.

    Raises:
        UserError: a folder is not there, or nothing was found.
    """
    runs: dict[tuple[str, Path], Run] = {}
    for root in folders:
        if not root.is_dir():
            raise UserError(f"there is no folder {root}")
        for folder in _within(root, DEPTH):
            label = str(folder.relative_to(root)) if folder != root else folder.resolve().name
            for kind in _kinds(folder):
                runs.setdefault((kind, folder.resolve()), Run(kind, folder, label))
    if not runs:
        raise UserError(
            f"nothing to report in {', '.join(map(str, folders))}: give the folder of a run of train, evolve, rank, "
            "latency, retrain or export, or one that holds such folders"
        )
    return sorted(runs.values(), key=lambda run: KINDS.index(run.kind))


def _within(folder: Path, depth: int) -> Iterator[Path]:
    yield folder
    if depth:
        for path in sorted(folder.iterdir()):
            if path.is_dir() and path.name not in _OWN_FOLDERS and not path.name.startswith("."):
                yield from _within(path, depth - 1)


KINDS = ("train", "rank", "latency", "evolve", "retrain", "export")


def _kinds(folder: Path) -> Iterator[str]:
    """What a folder holds the files of."""
    config = folder / "config.yaml"
    if (folder / "search.json").is_file() or any(folder.glob("generations/*.json")):
        yield "evolve"
    elif (folder / SUPERNET).with_suffix(".json").is_file():
        yield "train"
    elif (folder / "metrics.csv").is_file() and config.is_file():
        text = config.read_text(encoding="utf-8", errors="replace")
        yield "train" if "\nstabilizer:" in text else "retrain"
    if any(folder.glob("rank_*.csv")):
        yield "rank"
    if (folder / latency_table.NAME).is_file():
        yield "latency"
    if (folder / saving.CONFIG).is_file() and (folder / saving.WEIGHTS).is_file():
        yield "export"


@dataclass(frozen=True)
class Setting:
    """The space of a search's networks, and the pictures and classes that their MACs are counted for."""

    space: SearchSpace
    image_size: int
    num_classes: int


def find_setting(run: Run, runs: Sequence[Run]) -> Setting | None:
    """The setting of an evolve run: of the supernet in its options, or of one among the runs; None if it is not known.

    A supernet among the runs counts if its sha256 is the one that the search names.
    """
    search = run.json("search.json") or {}
    places = [Path(str(run.config().get("supernet") or ""))]
    places += [other.path for other in runs if other.kind == "train"]
    for place in places:
        file = (place / SUPERNET if place.is_dir() else place).with_suffix(".json")
        if file.is_file():
            content = _parse(file, json.loads, file.read_text(encoding="utf-8"))
            if search.get("supernet") in (None, "", content.get("sha256")):
                return Setting(SearchSpace.load(content["space"]), content["image_size"], content["num_classes"])
    try:
        space = SearchSpace.load(search["space"])
    except (KeyError, UserError):
        return None
    return Setting(space, space.input_size, space.num_classes)
