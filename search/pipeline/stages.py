"""The stages of a whole search, as its options make them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from scarlet_models.search.evolution.objectives import wants_latency
from scarlet_models.training.options import DataOptions

from .networks import PICKED
from .options import LIMITS, SearchOptions
from .pipeline import Pipeline
from .stage import Stage


class Stages:
    """Makes the stages.

    Args:
        options: Options of the search.
        pipeline: The pipeline that will run them.
        name: Name of the exported network.
    """

    def __init__(self, options: SearchOptions, pipeline: Pipeline, name: str) -> None:
        self.options, self.pipeline, self.name = options, pipeline, name

    def searching(self) -> list[Stage]:
        """The stages up to the front; none for a given genotype.

        Where latency matters, blocks are timed first, so that a limit out of reach shows before any training.
        """
        if self.options.genotype:
            return []
        wanted = self.pipeline.options_of(self._evolving())
        if wanted.latency_table or not wants_latency(wanted):
            return [self.training(), self._evolving()]
        table = str(self.pipeline.out / "latency" / "table.json")
        return [self._timing(wanted), self.training(), self._evolving(latency_table=table)]

    def training_of(self, networks: Sequence[Mapping[str, Any]]) -> list[Stage]:
        """Training of networks on their own, each stage once.

        Args:
            networks: Records with "role", "stage" and "genotype", which is empty as long as it is not known.
        """
        stages = {network["stage"]: network for network in reversed(networks)}
        return [self._retraining(network) for network in reversed(stages.values())]

    def finishing(self, networks: Sequence[Mapping[str, Any]]) -> list[Stage]:
        """The stages after all training."""
        return [self._exporting(), self._reporting([network["stage"] for network in networks])]

    def training(self) -> Stage:
        """Training of the supernet."""
        options = self.options
        return Stage(
            "train",
            "train",
            "a supernet that holds every network of the space learns on the images",
            self._common("train") | {"space": options.space} | options.train,
            "supernet.safetensors",
            keep=True,
            processes=options.processes,
        )

    def _timing(self, wanted: Any) -> Stage:
        """Timing of the blocks, at the size and classes that the search counts MACs at."""
        at = _given({"image_size": wanted.input_size or None, "num_classes": wanted.num_classes or None})
        return Stage(
            "latency",
            "latency",
            "each block of the space is timed on this device",
            self._common("latency") | {"space": self.options.space} | at | self.options.latency,
            "table.json",
        )

    def _evolving(self, **more: Any) -> Stage:
        options = self.options
        supernet = {"supernet": str(self.pipeline.out / "train")}
        limits = {name: getattr(options, name) for name in LIMITS}
        return Stage(
            "evolve",
            "evolve",
            "generations of networks are scored with the supernet's weights; the best trade-offs are the front",
            self._common("evolve") | supernet | options.evolve | _given(limits) | more,
            "search.json",
            needs=("latency", "train"),
            processes=options.processes,
        )

    def _retraining(self, network: Mapping[str, Any]) -> Stage:
        options, role = self.options, network["role"]
        name = self.name if role == PICKED else f"{self.name}_{role}"
        given = {"genotype": network["genotype"], "space": options.space, "name": name, "final": options.final}
        return Stage(
            network["stage"],
            "retrain",
            f"the {role} network is trained on its own, from new weights",
            self._common("retrain") | given | options.retrain,
            "final.json" if options.final else f"exported/{name}/config.json",
            needs=("evolve",),
            processes=options.processes,
        )

    def _exporting(self) -> Stage:
        """The network as timm and people read it."""
        source = str(self.pipeline.out / "retrain" / "exported" / self.name)
        what = "the network becomes a folder that timm and people read"
        tables = [stage.options["latency_table"] for stage in self.searching() if "latency_table" in stage.options]
        given = {"network": source, **({"latency_table": tables[0]} if tables else {})}
        return Stage(f"exported/{self.name}", "export", what, given, "config.json", needs=("latency", "retrain"))

    def _reporting(self, trained: list[str]) -> Stage:
        """The page that shows it all."""
        return Stage(
            "report",
            "report",
            "curves, fronts and networks are drawn on one page",
            {"folders": [self.options.out]},
            "index.html",
            needs=(f"exported/{self.name}", *(name for name in dict.fromkeys(trained) if name != "retrain")),
        )

    def _common(self, command: str) -> dict[str, Any]:
        """The search's options that a command has too."""
        shared = [field.name for field in dataclasses.fields(DataOptions)] + ["seed", "threads", "device"]
        known = [name for name in shared if self.pipeline.program.has_option(command, name)]
        values = {name: getattr(self.options, name) for name in known}
        return {name: value for name, value in values.items() if name != "threads" or value}


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
