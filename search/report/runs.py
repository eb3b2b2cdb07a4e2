"""What a report finds in folders: runs of train, evolve, retrain, rank, latency and export, known by their files."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from scarlet_models.errors import UserError, first_line
from scarlet_models.networks import genotype_of
from scarlet_models.search.latency import table as latency_table
from scarlet_models.search.supernet.file import NAME as SUPERNET
from scarlet_models.space.cost import Cost
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.training.options import sizes
from scarlet_models.weights import save as saving

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
        rows = list(csv.DictReader(self._whole_lines(name)))
        columns = {}
        for key in rows[0] if rows else ():
            try:
                columns[key] = np.array([float(row[key] or "nan") for row in rows])
            except (TypeError, ValueError):  # text
                continue
        return columns

    def generations(self) -> list[dict[str, Any]]:
        """What evolve wrote of each generation, in order."""
        return [self.json(f"generations/{path.name}") for path in sorted(self.path.glob("generations/*.json"))]

    def front(self) -> list[dict[str, Any]]:
        """Records of an evolve run's networks that none dominates, so far."""
        done, generations = self.json("search.json"), self.generations()
        front: list[dict[str, Any]] = done["front"] if done else generations[-1]["front"] if generations else []
        return front

    def _whole_lines(self, name: str) -> list[str]:
        """Lines of a text file; without the last one if a kill, or a run that goes on, has left it torn."""
        return [line for line in self.text(name).splitlines(keepends=True) if line.endswith("\n")]


def _parse(path: Path, parser: Any, text: str) -> Any:
    try:
        return parser(text) if text else None
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} is damaged: {first_line(error)}") from error


@contextmanager
def readable(path: Path, what: str) -> Iterator[None]:
    """Turns what files of another shape than expected lead to into a UserError that names the path.

    Args:
        path: What is being read.
        what: It should be, in words.
    """
    try:
        yield
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UserError(
            f"{path} is no {what} that can be read ({type(error).__name__}: {error}): a file is damaged or of another "
            "version"
        ) from error


def find_runs(folders: Sequence[Path]) -> list[Run]:
    """All runs in the folders and up to two levels below, in a pipeline's order.

    Raises:
        UserError: a folder is not there, or nothing was found.
    """
    for root in folders:
        if not root.is_dir():
            raise UserError(f"there is no folder {root}")
    top = Path(os.path.commonpath([root.resolve() for root in folders])) if folders else Path()
    runs: dict[tuple[str, Path], Run] = {}
    for root in folders:
        for folder in _within(root, DEPTH):
            label = folder.resolve().relative_to(top) if folder.resolve() != top else Path(top.name)
            for kind in _kinds(folder):
                runs.setdefault((kind, folder.resolve()), Run(kind, folder, str(label)))
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
    """A space, and the images and classes that costs are counted for."""

    space: SearchSpace
    image_size: int
    num_classes: int

    def cost(self, genotype: Genotype | str) -> Cost:
        """MACs and params of a network."""
        return Genotype.parse(genotype, self.space).cost(self.image_size, self.num_classes)

    def key(self, genotype: Genotype | str) -> str:
        """The same for all genotypes that give one standalone network."""
        return f"{self.space.name} {Genotype.parse(genotype, self.space).canonical()}"


def find_setting(run: Run, runs: Sequence[Run]) -> Setting | None:
    """The setting of an evolve run; None if it is not known, or does not give the costs that the run has on record.

    The space is that of the supernet in its options, or of one among the runs, or else one of the package by name.
    """
    search, options = run.json("search.json") or {}, run.config()
    for space in _spaces(str(options.get("supernet") or ""), str(search.get("space") or options.get("space")), runs):
        size, classes = options.get("input_size") or space.input_size, options.get("num_classes") or space.num_classes
        setting = Setting(space, size, classes)
        if all(_agrees(setting, record) for record in run.front()):
            return setting
    return None


def _spaces(supernet: str, name: str, runs: Sequence[Run]) -> Iterator[SearchSpace]:
    places = [Path(supernet), *(run.path for run in runs if run.kind == "train")]
    for place in places:
        file = (place / SUPERNET if place.is_dir() else place).with_suffix(".json")
        if file.is_file():
            yield SearchSpace.load(_parse(file, json.loads, file.read_text(encoding="utf-8"))["space"])
    if name in SearchSpace.names() or Path(name).is_file():
        yield SearchSpace.load(name)


def _agrees(setting: Setting, record: Mapping[str, Any]) -> bool:
    try:
        return setting.cost(record["genotype"]) == Cost(record["macs"], record["params"])
    except UserError:  # it has other layers
        return False


def network_of(run: Run) -> tuple[Genotype, Setting] | None:
    """The network that a retrain or export run is about; None where it is none of a space, and for other runs."""
    if run.kind not in ("retrain", "export"):
        return None
    with readable(run.path, f"run of {run.kind}"):
        genotype, size, classes = _exported(run) or _configured(run)
    if genotype is None:
        return None
    space = genotype.space
    return genotype, Setting(space, size or space.input_size, classes or space.num_classes)


def _exported(run: Run) -> tuple[Genotype | None, int, int] | None:
    """Genotype, size and classes of the network that is saved in the folder; None where there is none yet."""
    files = sorted(run.path.glob(f"exported/*/{saving.CONFIG}" if run.kind == "retrain" else saving.CONFIG))
    if not files:
        return None
    content = run.json(str(files[0].relative_to(run.path)))
    size, classes = content["pretrained_cfg"]["input_size"][-1], content["num_classes"]
    return genotype_of(f"local-dir:{files[0].parent}"), size, classes


def _configured(run: Run) -> tuple[Genotype | None, int, int]:
    """The same by a retraining's options; 0 is the space's own."""
    options = run.config()
    genotype = Genotype.parse(options["genotype"], options["space"])
    return genotype, sizes(options["image_size"], options["epochs"])[-1], 0
