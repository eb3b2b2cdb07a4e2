"""What follows from several runs of a report: the space and the costs of a search, and the networks of its training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scarlet_models.documents import read_json
from scarlet_models.errors import UserError
from scarlet_models.networks import genotype_of
from scarlet_models.search.pipeline.networks import NAME as NETWORKS
from scarlet_models.search.pipeline.networks import PICKED
from scarlet_models.search.supernet.file import NAME as SUPERNET
from scarlet_models.space.cost import Cost
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.training.options import sizes
from scarlet_models.weights import save as saving

from .runs import Run, readable


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


class Context:
    """The runs of a report, and what each needs of the others.

    Attributes:
        settings: The setting of each evolve run; None if it is not known, or does not give the costs on record.
        networks: The network of each retrain and export run that is about one of a space.
        trained: `Setting.key` of these networks.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = runs
        self.settings = {run: self._find_setting(run) for run in self.of("evolve")}
        found = {run: _network_of(run) for run in (*self.of("retrain"), *self.of("export"))}
        self.networks = {run: network for run, network in found.items() if network}
        self.trained = {setting.key(genotype) for genotype, setting in self.networks.values()}

    def of(self, kind: str) -> list[Run]:
        """The runs of a kind."""
        return [run for run in self.runs if run.kind == kind]

    def picked(self, search: Run) -> Mapping[str, Any] | None:
        """The record of the network that run picked from an evolve run, if it did."""
        for run in self.of("run"):
            if run.path.resolve() == search.path.resolve().parent:
                with readable(run):
                    return next((n for n in run.json(NETWORKS)["networks"] if n["role"] == PICKED), None)
        return None

    def _find_setting(self, run: Run) -> Setting | None:
        """The space is that of the supernet in the run's options, or of one among the runs, or else one by name."""
        with readable(run):
            search, options = run.json("search.json") or {}, run.config()
            name = str(search.get("space") or options.get("space"))
            for space in self._spaces(str(options.get("supernet") or ""), name):
                size, classes = options.get("input_size"), options.get("num_classes")
                setting = Setting(space, size or space.input_size, classes or space.num_classes)
                if all(_agrees(setting, record) for record in run.front()):
                    return setting
        return None

    def _spaces(self, supernet: str, name: str) -> Iterator[SearchSpace]:
        for run in self.of("train"):
            if info := run.json("supernet.json"):
                yield SearchSpace.load(info["space"])
        place = Path(supernet)
        file = (place / SUPERNET if place.is_dir() else place).with_suffix(".json")
        if file.is_file():
            yield SearchSpace.load(read_json(file, dict)["space"])
        if name in SearchSpace.names() or Path(name).is_file():
            yield SearchSpace.load(name)


def _agrees(setting: Setting, record: Mapping[str, Any]) -> bool:
    try:
        return setting.cost(record["genotype"]) == Cost(record["macs"], record["params"])
    except UserError:  # it has other layers
        return False


def _network_of(run: Run) -> tuple[Genotype, Setting] | None:
    """The network that a retrain or export run is about; None if it is none of a space."""
    with readable(run):
        genotype, size, classes = _exported(run) or _configured(run)
    if genotype is None:
        return None
    space = genotype.space
    return genotype, Setting(space, size or space.input_size, classes or space.num_classes)


def _exported(run: Run) -> tuple[Genotype | None, int, int] | None:
    """Genotype, size and classes of the network that is saved in the folder; None if there is none yet."""
    files = sorted(run.path.glob(f"exported/*/{saving.CONFIG}" if run.kind == "retrain" else saving.CONFIG))
    if not files:
        return None
    content = run.json(str(files[0].relative_to(run.path)))
    size, classes = content["pretrained_cfg"]["input_size"][-1], content["num_classes"]
    return genotype_of(f"local-dir:{files[0].parent}"), size, classes


def _configured(run: Run) -> tuple[Genotype | None, int, int]:
    """The same by a training's options; 0 is the space's own."""
    options = run.config()
    genotype = Genotype.parse(options["genotype"], options["space"])
    return genotype, sizes(options["image_size"], options["epochs"])[-1], 0
