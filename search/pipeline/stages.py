"""The stages of a whole search, as its options make them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from scarlet_models.search.evolution.objectives import wants_latency
from scarlet_models.search.evolution.options import Limits
from scarlet_models.space.space import Genotype
from scarlet_models.training.options import DataOptions, sizes

from .networks import PICKED
from .options import SearchOptions
from .pipeline import Pipeline
from .stage import Stage

ANCHOR_SHARE = 4  # epochs of the picked network for one of an anchor


class Stages:
    """Makes the stages.

    Args:
        options: Options of the search.
        pipeline: The pipeline that will run them.
        name: Name of the exported network.
    """

    def __init__(self, options: SearchOptions, pipeline: Pipeline, name: str) -> None:
        self.options, self.pipeline, self.name = options, pipeline, name
        self.anchors = pipeline.out / "anchors.csv"

    def searching(self, anchors: Sequence[Genotype] = ()) -> list[Stage]:
        """The stages up to the front; none for a given genotype.

        Where latency matters, blocks are timed first, so that a limit out of reach shows before any training.
        """
        if self.options.genotype:
            return []
        more: dict[str, Any] = {"anchors": str(self.anchors)} if anchors else {}
        wanted, timing = self.pipeline.options_of(self._evolving()), []
        if wants_latency(wanted) and not wanted.latency_table:
            timing = [self._timing(wanted)]
            more["latency_table"] = str(self.pipeline.out / "latency" / "table.json")
        anchoring = [self._anchoring(number, genotype) for number, genotype in enumerate(anchors, 1)]
        needs = [stage.name for stage in anchoring]
        return [*timing, *anchoring, self.training(), self._evolving(needs, **more)]

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

    def _anchoring(self, number: int, genotype: Genotype) -> Stage:
        """Training of a network to correct the scores: a quarter of the picked network's epochs, and cosine decay."""
        name = f"anchors/{number:02d}"
        network = {"role": "anchor", "stage": name, "genotype": str(genotype)}
        whole = self._retraining(network)
        wanted = self.pipeline.options_of(whole)
        epochs = max(wanted.epochs // ANCHOR_SHARE, 1)
        short = {
            "name": "anchor",
            "final": False,
            "epochs": epochs,
            "image_size": sizes(wanted.image_size, wanted.epochs)[-1],
            "warmup_epochs": min(wanted.warmup_epochs, epochs / ANCHOR_SHARE),
            "sched": "cosine",
            "sched_args": {},
            "ema_decay": 0.0,
        }
        return dataclasses.replace(
            whole,
            why=f"anchor {number} is trained for a short time: its accuracy corrects the supernet's scores",
            options=whole.options | short,
            product="exported/anchor/config.json",
            needs=(),
        )

    def _evolving(self, needs: Sequence[str] = (), **more: Any) -> Stage:
        options = self.options
        supernet = {"supernet": str(self.pipeline.out / "train")}
        limits = {field.name: getattr(options, field.name) for field in dataclasses.fields(Limits)}
        return Stage(
            "evolve",
            "evolve",
            "generations of networks are scored with the supernet's weights; the best trade-offs are the front",
            self._common("evolve") | supernet | options.evolve | _given(limits) | more,
            "search.json",
            needs=("latency", "train", *needs),
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
