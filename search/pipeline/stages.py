"""The stages of a whole search, as its options make them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from scarlet_models.search.evolution.objectives import wants_latency
from scarlet_models.search.evolution.options import Limits
from scarlet_models.space.space import Genotype
from scarlet_models.training.options import DataOptions, sizes

from .journal import Stage
from .networks import PICKED
from .options import SearchOptions
from .pipeline import Pipeline

ANCHOR_SHARE = 4  # epochs of the picked network for one of an anchor
_SHARED = [field.name for field in dataclasses.fields(DataOptions)] + ["seed", "threads", "device"]


class Stages:
    """Makes the stages of a search; `name` is that of the exported network."""

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
            at = _given({"image_size": wanted.input_size or None, "num_classes": wanted.num_classes or None})
            why, own = "each block of the space is timed on this device", {"space": self.options.space} | at
            timing = [dataclasses.replace(self._stage("latency", why, "table.json", own), processes=1)]
            more["latency_table"] = str(self.pipeline.out / "latency" / "table.json")
        anchoring = [self._anchoring(number, genotype) for number, genotype in enumerate(anchors, 1)]
        needs = [stage.name for stage in anchoring]
        return [*timing, *anchoring, self.training(), self._evolving(needs, **more)]

    def training_of(self, networks: Sequence[Mapping[str, Any]]) -> list[Stage]:
        """Training of networks on their own, each stage once; their genotypes are empty until they are known."""
        stages = {network["stage"]: network for network in reversed(networks)}
        return [self._retraining(network) for network in reversed(stages.values())]

    def finishing(self, networks: Sequence[Mapping[str, Any]]) -> list[Stage]:
        """The stages after all training: timm's folder, and the page."""
        what = "the network becomes a folder that timm and people read"
        tables = [stage.options["latency_table"] for stage in self.searching() if "latency_table" in stage.options]
        given = {"network": str(self.pipeline.out / "retrain" / "exported" / self.name)}
        given |= {"latency_table": tables[0]} if tables else {}
        needs = ("latency", "retrain")
        export = Stage(f"exported/{self.name}", "export", what, given, "config.json", needs=needs)
        what, folders = "curves, fronts and networks are drawn on one page", {"folders": [self.options.out]}
        others = dict.fromkeys(network["stage"] for network in networks if network["stage"] != "retrain")
        return [export, Stage("report", "report", what, folders, "index.html", needs=(export.name, *others))]

    def training(self) -> Stage:
        """Training of the supernet."""
        why = "a supernet that holds every network of the space learns on the images"
        return self._stage("train", why, "supernet.safetensors", {"space": self.options.space}, keep=True)

    def _anchoring(self, number: int, genotype: Genotype) -> Stage:
        """Training of a network to correct the scores: a quarter of the picked network's epochs, and cosine decay."""
        whole = self._retraining({"role": "anchor", "stage": f"anchors/{number:02d}", "genotype": str(genotype)})
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
        why = "generations of networks are scored with the supernet's weights; the best trade-offs are the front"
        stage = self._stage("evolve", why, "search.json", {"supernet": str(self.pipeline.out / "train")})
        limits = _given({field.name: getattr(self.options, field.name) for field in dataclasses.fields(Limits)})
        return dataclasses.replace(stage, options=stage.options | limits | more, needs=("latency", "train", *needs))

    def _retraining(self, network: Mapping[str, Any]) -> Stage:
        options, role = self.options, network["role"]
        name = self.name if role == PICKED else f"{self.name}_{role}"
        own = {"genotype": network["genotype"], "space": options.space, "name": name, "final": options.final}
        start = options.retrain.get("inherit") or "random weights"
        why = f"the {role} network is trained on its own, from {start}"
        product = "final.json" if options.final else f"exported/{name}/config.json"
        return dataclasses.replace(self._stage("retrain", why, product, own), name=network["stage"], needs=("evolve",))

    def _stage(self, command: str, why: str, product: str, own: dict[str, Any], keep: bool = False) -> Stage:
        """A stage with the search's options that the command has too, its own, and those that were given for it."""
        known = [name for name in _SHARED if name in self.pipeline.program.fields(command)]
        shared = {name: getattr(self.options, name) for name in known if name != "threads" or self.options.threads}
        options = shared | own | getattr(self.options, command)
        return Stage(command, command, why, options, product, keep=keep, processes=self.options.processes)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
