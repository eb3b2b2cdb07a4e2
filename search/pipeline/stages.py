"""The stages of a whole search, as its options make them."""

from __future__ import annotations

import dataclasses
from typing import Any

from scarlet_models.search.evolution.objectives import wants_latency
from scarlet_models.training.data import DataOptions

from .options import LIMITS, SearchOptions
from .pipeline import Pipeline
from .stage import Stage
from .subcommands import has_option


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

    def finishing(self, genotype: str) -> list[Stage]:
        """The stages after the search; `genotype` is empty as long as it is not known."""
        return [self.retraining(genotype), self.exporting(), self.reporting()]

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

    def retraining(self, genotype: str) -> Stage:
        """Training of the network on its own."""
        options = self.options
        network = {"genotype": genotype, "space": options.space, "name": self.name, "final": options.final}
        product = "final.json" if options.final else f"exported/{self.name}/config.json"
        return Stage(
            "retrain",
            "retrain",
            "the picked network is trained on its own, from new weights",
            self._common("retrain") | network | options.retrain,
            product,
            needs=("evolve",),
            processes=options.processes,
        )

    def exporting(self) -> Stage:
        """The network as timm, ONNX and people read it."""
        source = str(self.pipeline.out / "retrain" / "exported" / self.name)
        what = "the network becomes files that timm, ONNX and people read"
        return Stage(f"exported/{self.name}", "export", what, {"network": source}, "config.json", needs=("retrain",))

    def reporting(self) -> Stage:
        """The page that shows it all."""
        return Stage(
            "report",
            "report",
            "curves, fronts and networks are drawn on one page",
            {"folders": [self.options.out]},
            "index.html",
            needs=(f"exported/{self.name}",),
        )

    def _common(self, command: str) -> dict[str, Any]:
        """The search's options that a command has too."""
        shared = [field.name for field in dataclasses.fields(DataOptions)] + ["seed", "threads", "device"]
        known = [name for name in shared if has_option(self.pipeline.program, command, name)]
        values = {name: getattr(self.options, name) for name in known}
        return {name: value for name, value in values.items() if name != "threads" or value}


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
