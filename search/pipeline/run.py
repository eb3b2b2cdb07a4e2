"""The whole search on your own images: train a supernet, evolve networks, pick one, retrain, export and report it.

Each stage is one of the other commands, whose options are written to a file in the run's folder. What is done is not
done again: start the same line once more after a kill, or with other limits, under which scores on file are not
measured twice. Options of a stage follow its name: --train.epochs 20, --evolve.population 40. Under --processes N,
training and search run as N processes of torchrun; to spread them over several machines, run the commands that are
printed by hand.

The network that is picked is the most accurate one of the front (--pick accuracy; fewer MACs win a tie), or the one at
its knee (--pick knee): farthest above the line from the cheapest to the most accurate, both axes scaled to that range.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from scarlet_models.errors import UserError
from scarlet_models.options import option
from scarlet_models.search.evolution.candidates import Candidates
from scarlet_models.search.evolution.objectives import Costs, read_bounds, read_objectives, wants_latency
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.training.data import LabelledImages, check_test_split
from scarlet_models.training.options import DataOptions
from scarlet_models.training.progress import log_to_stderr
from scarlet_models.training.run_folder import exported_name
from scarlet_models.training.split import split_holdout

from .pipeline import Pipeline, Stage
from .plan import as_data, make_plan, show_plan

EXAMPLE = """  scarlet-search run --config imagenette --data-dir imagenette --max-macs 300M --plan
  scarlet-search run --config imagenette --data-dir imagenette --max-macs 300M --out runs/small
  scarlet-search run --config digits --data-dir images --max-latency 15ms --train.epochs 40 --out runs/quick
  scarlet-search run --config paper_imagenet --data-dir imagenet --processes 8 --out runs/paper"""

LIMITS = ("min_macs", "max_macs", "min_params", "max_params", "min_latency", "max_latency", "min_accuracy")

_logger = logging.getLogger(__name__)


@dataclass
class Options(DataOptions):
    """Options of run.

    Args:
        out: The run's folder; each stage has one in it.
        space: Search space: a name or a YAML file.
        min_macs: Fewest MACs of the network, such as 200M; costs are those at the space's own image size and number
            of classes, or at --evolve.input_size and --evolve.num_classes.
        max_macs: Most MACs of the network.
        min_params: Fewest parameters of the network.
        max_params: Most parameters of the network.
        min_latency: Shortest time for an image on this device.
        max_latency: Longest time, such as 15ms. All blocks are timed before training, at the size and classes that MACs
            are of, or --latency.image_size and --latency.num_classes; none with --evolve.latency_table.
        min_accuracy: Lowest accuracy in percent with the supernet's weights.
        pick: Which network of the front to retrain.
        genotype: Retrain this one and search nothing.
        train: Options of train, as in --train.epochs 20; a recipe's name under "config".
        latency: Options of latency.
        evolve: Options of evolve.
        retrain: Options of retrain; a recipe's name under "config".
        name: Name of the exported network; empty for the name of --out.
        final: Score the retrained network on the test split at the end.
        processes: How many to start under torchrun for training and search.
        seed: Of everything random but the held-out split.
        threads: CPU threads for torch; 0 leaves its own choice.
        device: auto, cpu, cuda or cuda:N.
        plan: Print the stages and how long they may take, and start none.
        json: Print the result, or the plan, as one JSON object.
    """

    out: str = option("runs/search", free=True)
    space: str = "scarlet"
    min_macs: int | str | None = None
    max_macs: int | str | None = None
    min_params: int | str | None = None
    max_params: int | str | None = None
    min_latency: float | str | None = None
    max_latency: float | str | None = None
    min_accuracy: float | None = None
    pick: Literal["accuracy", "knee"] = "accuracy"
    genotype: str = ""
    train: dict[str, Any] = field(default_factory=dict)
    latency: dict[str, Any] = field(default_factory=dict)
    evolve: dict[str, Any] = field(default_factory=dict)
    retrain: dict[str, Any] = field(default_factory=dict)
    name: str = option("", free=True)
    final: bool = option(False, free=True)
    processes: int = 1
    seed: int = option(0, least=0, most=2**63 - 1)
    threads: int = option(0, least=0, free=True)
    device: str = option("auto", free=True)
    plan: bool = False
    json: bool = option(False, once=True)


def main(options: Options) -> None:
    """Print the plan, and unless that is all, carry it out.

    Raises:
        UserError: a bad option, unreadable data, limits that no network meets, or a stage that failed.
    """
    log_to_stderr()
    result = carry_out(options)
    if result and options.json:
        print(json.dumps(result))
    elif result:
        show(result)


def carry_out(options: Options) -> dict[str, Any]:
    """Prints the plan, then runs what is not done of it. Returns what came of it: nothing if only the plan was wanted.

    Raises:
        UserError: as for `main`.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    search = Search(options)
    steps = make_plan(search)
    if not options.json:
        show_plan(search, steps)
    elif options.plan:
        print(json.dumps(as_data(search, steps)))
    return {} if options.plan else search.run()


class Search:
    """The stages of a search in a folder.

    Args:
        options: Of run.

    Raises:
        UserError: a bad option, an unreadable space or data set, limits that no network meets.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.name = exported_name(options.name, Path(options.out))
        self.space = SearchSpace.load(options.space)
        if options.processes < 1:
            raise UserError(f"--processes: {options.processes} is not a positive number")
        if options.genotype:
            Genotype.parse(options.genotype, self.space)
        self.pipeline = Pipeline(Path(options.out))
        self.images = LabelledImages(options, options.train_split)
        self.split = split_holdout(self.images.ids, self.images.labels, options.holdout, options.split_seed)
        if options.final:
            check_test_split(options, self.images)
        if not options.genotype:
            self._check_limits()

    def _check_limits(self) -> None:
        """Here a mistake costs no training yet; that of a latency shows once the blocks are timed."""
        if not self.split.holdout:
            raise UserError("--holdout 0 leaves no images to search by; 0.1 is usual")
        *others, evolving = self.searching()
        wanted = self.pipeline.options_of(evolving)
        read_objectives(wanted.objectives)
        timed = all(self.pipeline.is_done(stage) for stage in others if stage.command == "latency")
        costs = Costs(self.space, wanted.input_size, wanted.num_classes, wanted.latency_table if timed else "")
        Candidates(costs, read_bounds(wanted))

    def run(self) -> dict[str, Any]:
        """Carries out all stages that are not done; returns what came of them."""
        for stage in self.searching():
            self.pipeline.run(stage)
            if stage.command == "latency":
                self._check_limits()
        found = self.picked()
        _logger.info("the network is %s", found["genotype"])
        retrained = self.pipeline.run(self.retraining(found["genotype"]))
        exported, report = (self.pipeline.run(stage) for stage in (self.exporting(), self.reporting()))
        cost = Genotype.parse(found["genotype"], self.space).cost()
        return {
            "macs": cost.macs,
            "params": cost.params,
            **found,
            **_figures(retrained),
            "exported": str(exported),
            "report": str(report / "index.html"),
        }

    def stages(self) -> list[Stage]:
        """All stages; that of retraining has no genotype yet where the search is not done."""
        searching = self.searching()
        found = self.picked()["genotype"] if all(map(self.pipeline.is_done, searching)) else ""
        return [*searching, self.retraining(found), self.exporting(), self.reporting()]

    def picked(self) -> dict[str, Any]:
        """The network to retrain, with what the search knows of it.

        Raises:
            UserError: no network is within the limits.
        """
        if self.options.genotype:
            return {"genotype": self.options.genotype}
        path = self.pipeline.out / "evolve" / "search.json"
        front = json.loads(path.read_text())["front"]
        if not front:
            raise UserError(f"{path} has no network within the limits: widen them")
        return pick(front, self.options.pick)

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

    def _timing(self, wanted: Any) -> Stage:
        """Of the blocks, at the size and classes that the search counts MACs at."""
        at = _given({"image_size": wanted.input_size or None, "num_classes": wanted.num_classes or None})
        return Stage(
            "latency",
            "latency",
            "each block of the space is timed on this device",
            self._common("latency") | {"space": self.options.space} | at | self.options.latency,
            "table.json",
        )

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
        """Those of our options that a command has too."""
        from scarlet_models.search.cli import PROGRAM

        shared = [f.name for f in dataclasses.fields(DataOptions)] + ["seed", "threads", "device"]
        known = {f.name for f in dataclasses.fields(PROGRAM.load(command).Options)}
        values = {name: getattr(self.options, name) for name in shared if name in known}
        return {name: value for name, value in values.items() if name != "threads" or value}


def pick(front: list[dict[str, Any]], rule: str) -> dict[str, Any]:
    """The network of a front that is retrained.

    Args:
        front: Records with genotype, accuracy and macs.
        rule: "accuracy" is the most accurate, with fewest MACs among equals; "knee" the farthest above the line from
            the cheapest to the most accurate, after both axes are scaled to their range.
    """
    best = max(front, key=lambda record: (record["accuracy"], -record["macs"]))
    if rule == "accuracy":
        return best
    cheapest = min(front, key=lambda record: (record["macs"], -record["accuracy"]))
    macs, accuracy = (np.array([record[key] for record in front], float) for key in ("macs", "accuracy"))
    width, height = (float(best[key] - cheapest[key]) or 1.0 for key in ("macs", "accuracy"))
    above = (accuracy - cheapest["accuracy"]) / height - (macs - cheapest["macs"]) / width
    return front[int(above.argmax())]


def _figures(retrained: Path) -> dict[str, Any]:
    """What retraining measured: the last row of metrics.csv, and the test figures where there are."""
    with (retrained / "metrics.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    held_out = [float(value) for key, value in last.items() if key.endswith("holdout_top1") and value]
    figures: dict[str, Any] = {"holdout_top1": max(held_out)} if held_out else {}
    if (retrained / "final.json").exists():
        figures["test_top1"] = json.loads((retrained / "final.json").read_text())["top1"]
    return figures


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def show(result: dict[str, Any]) -> None:
    """Prints what came of a search."""
    from scarlet_models.terminal import console, short

    out = console()
    latency = f", {result['latency']:.2f} ms" if "latency" in result else ""
    out.print(f"\nnetwork    {result['genotype']}")
    out.print(f"           {short(result['macs'])} MACs, {short(result['params'])} params{latency}")
    shares = {"accuracy": "with the supernet's weights", "holdout_top1": "after retraining"}
    for key, when in shares.items():
        if key in result:
            out.print(f"held out   {result[key]:.2f}% right {when}")
    if "test_top1" in result:
        out.print(f"test       {result['test_top1']:.2f}% right")
    out.print(f"report     {result['report']}")
    out.print(f"model      timm.create_model('local-dir:{result['exported']}', pretrained=True)")
    out.print(f"classify   scarlet-models classify PICTURES --model local-dir:{result['exported']}")
