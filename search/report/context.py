"""What follows from several runs of a report: the space and the costs of a search, and the networks of its training."""

from collections.abc import Mapping, Sequence
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

    def agrees(self, record: Mapping[str, Any]) -> bool:
        """Whether these are the costs on record."""
        try:
            return self.cost(record["genotype"]) == Cost(record["macs"], record["params"])
        except UserError:  # it has other layers
            return False

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
        """The space is one of a supernet among the runs, that of the supernet in the run's options, or one by name."""
        with readable(run):
            options, place = run.config(), Path(run.config().get("supernet") or "")
            infos = [train.json("supernet.json") for train in self.of("train")]
            file = (place / SUPERNET if place.is_dir() else place).with_suffix(".json") if place.name else place
            infos += [read_json(file, dict)] if file.is_file() else []
            spaces = [info["space"] for info in infos if info]
            name = str((run.json("search.json") or {}).get("space") or options.get("space"))
            spaces += [name] if name in SearchSpace.names() or Path(name).is_file() else []
            settings = (_setting(space, options.get("input_size"), options.get("num_classes")) for space in spaces)
            return next((setting for setting in settings if all(map(setting.agrees, run.front()))), None)


def _setting(space: Any, image_size: int | None, num_classes: int | None) -> Setting:
    found = SearchSpace.load(space)
    return Setting(found, image_size or found.input_size, num_classes or found.num_classes)


def _network_of(run: Run) -> tuple[Genotype, Setting] | None:
    """The network that a retrain or export run is about, as it was saved, else by the options; None if of no space."""
    with readable(run):
        files = sorted(run.path.glob(f"exported/*/{saving.CONFIG}" if run.kind == "retrain" else saving.CONFIG))
        if files:
            content = run.json(str(files[0].relative_to(run.path)))
            size, classes = content["pretrained_cfg"]["input_size"][-1], content["num_classes"]
            genotype = genotype_of(f"local-dir:{files[0].parent}")
        else:
            options = run.config()
            genotype = Genotype.parse(options["genotype"], options["space"])
            size, classes = sizes(options["image_size"], options["epochs"])[-1], None
        return (genotype, _setting(genotype.space, size, classes)) if genotype else None
