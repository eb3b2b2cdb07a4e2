"""The whole search on your own pictures: train a supernet, evolve networks, pick one, retrain, export and report it.

Each stage is one of the other commands, whose options are written to a file in the run's folder. What is done is not
done again: start the same line once more after a kill, or with other limits, under which scores on file are not
measured twice. Under --processes N, training and search run as N processes of torchrun; to spread them over several
machines, run the commands that are printed by hand.

The network that is picked is the most accurate one of the front (--pick accuracy; fewer MACs win a tie), or the one at
its knee (--pick knee): farthest above the line from the cheapest to the most accurate, both axes scaled to that range.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from scarlet_models.errors import UserError
from scarlet_models.space import Genotype, SearchSpace

from . import distributed, estimate
from .data import DataOptions, Pictures, split_holdout
from .pipeline import Pipeline, Stage
from .progress import log_to_stderr

EXAMPLE = """  scarlet-search run --config imagenette --data-dir imagenette --max-macs 300M --plan
  scarlet-search run --config imagenette --data-dir imagenette --max-macs 300M --out runs/small
  scarlet-search run --config digits --data-dir pictures --max-latency 15ms --out runs/quick
  scarlet-search run --config paper_imagenet --data-dir imagenet --processes 8 --out runs/paper"""

_logger = logging.getLogger(__name__)


@dataclass
class Options(DataOptions):
    """Options of run.

    Args:
        out: The run's folder; each stage has one in it.
        space: Search space: a name or a YAML file.
        min_macs: Fewest MACs of the network, such as 200M.
        max_macs: Most MACs of the network.
        min_params: Fewest parameters of the network.
        max_params: Most parameters of the network.
        max_latency: Longest time for a picture on this device, such as 15ms; its blocks are measured first.
        pick: Which network of the front to retrain.
        genotype: Retrain this one and search nothing.
        train: Options of train, with a recipe's name under "config".
        latency: Options of latency.
        evolve: Options of evolve.
        retrain: Options of retrain, with a recipe's name under "config".
        name: Name of the exported network; empty for the name of --out.
        final: Score the retrained network on the test split at the end.
        processes: How many to start under torchrun for training and search.
        seed: Of everything random but the held-out split.
        threads: CPU threads for torch; 0 leaves its own choice.
        device: auto, cpu, cuda or cuda:N.
        plan: Print the stages and how long they may take, and do nothing.
        json: Print the result as one JSON object.
    """

    out: str = "runs/search"
    space: str = "scarlet"
    min_macs: int | str | None = None
    max_macs: int | str | None = None
    min_params: int | str | None = None
    max_params: int | str | None = None
    max_latency: float | str | None = None
    pick: Literal["accuracy", "knee"] = "accuracy"
    genotype: str = ""
    train: dict[str, Any] = field(default_factory=dict)
    latency: dict[str, Any] = field(default_factory=dict)
    evolve: dict[str, Any] = field(default_factory=dict)
    retrain: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    final: bool = False
    processes: int = 1
    seed: int = 0
    threads: int = 0
    device: str = "auto"
    plan: bool = False
    json: bool = False


def main(options: Options) -> None:
    """Print the plan, and unless that is all, carry it out.

    Raises:
        UserError: a bad option, unreadable data, limits that no network meets, or a stage that failed.
    """
    log_to_stderr()
    if options.threads:
        torch.set_num_threads(options.threads)
    search = Search(options)
    search.show_plan()
    if options.plan:
        return
    result = search.run()
    if options.json:
        print(json.dumps(result))
    else:
        show(result)


class Search:
    """The stages of a search in a folder.

    Args:
        options: Of run.

    Raises:
        UserError: a bad option, an unreadable space or data set.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.space = SearchSpace.load(options.space)
        if options.processes < 1:
            raise UserError(f"--processes: {options.processes} is not a positive number")
        if options.genotype:
            Genotype.parse(options.genotype, self.space)
        self.pipeline = Pipeline(Path(options.out))
        self.pictures = Pictures(options, options.train_split)
        self.split = split_holdout(self.pictures.ids, self.pictures.labels, options.holdout, options.split_seed)
        if not self.split.holdout and not options.genotype:
            raise UserError("--holdout 0 leaves no pictures to search by; 0.1 is usual")

    def run(self) -> dict[str, Any]:
        """Carries out all stages that are not done; returns what came of them."""
        found: dict[str, Any] = {"genotype": self.options.genotype}
        if not found["genotype"]:
            for stage in self.searching():
                folder = self.pipeline.run(stage)
            found = pick(_front(folder), self.options.pick)
            _logger.info("picked the network %s", ", ".join(f"{key} {value}" for key, value in found.items()))
        retrained = self.pipeline.run(self.retraining(found["genotype"]))
        exported = self.pipeline.run(self.exporting(retrained))
        report = self.pipeline.run(self.reporting())
        cost = Genotype.parse(found["genotype"], self.space).cost()
        return {
            **found,
            "macs": cost.macs,
            "params": cost.params,
            **_figures(retrained),
            "exported": str(exported),
            "report": str(report / "index.html"),
        }

    def searching(self) -> list[Stage]:
        """The stages up to the front."""
        options = self.options
        supernet = Path(options.out) / "train"
        stages = [
            Stage(
                "train",
                "train",
                "a supernet that holds every network of the space learns on the pictures",
                self._common("train") | {"space": options.space} | options.train,
                "supernet.safetensors",
                keep=True,
                processes=options.processes,
            )
        ]
        limits = {name: getattr(options, name) for name in ("min_macs", "max_macs", "min_params", "max_params")}
        if self.times_blocks():
            stages.append(self._timing())
            limits |= {"latency_table": str(Path(options.out) / "latency" / "table.json")}
            limits |= {"max_latency": options.max_latency}
        stages.append(
            Stage(
                "evolve",
                "evolve",
                "generations of networks are scored with the supernet's weights; the best trade-offs are the front",
                self._common("evolve") | {"supernet": str(supernet)} | options.evolve | _given(limits),
                "search.json",
                processes=options.processes,
            )
        )
        return stages

    def times_blocks(self) -> bool:
        """Whether latency matters in this search."""
        return self.options.max_latency is not None or "latency" in str(self.options.evolve.get("objectives", ""))

    def _timing(self) -> Stage:
        return Stage(
            "latency",
            "latency",
            "each block of the space is timed on this device",
            self._common("latency") | {"space": self.options.space} | self.options.latency,
            "table.json",
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
            processes=options.processes,
        )

    def exporting(self, retrained: Path) -> Stage:
        """The network as timm, ONNX and people read it."""
        source = str(retrained / "exported" / self.name)
        what = "files that timm, ONNX and people read"
        return Stage(f"exported/{self.name}", "export", what, {"network": source}, "config.json")

    def reporting(self) -> Stage:
        """The page that shows it all."""
        return Stage(
            "report",
            "report",
            "one page with curves, fronts and networks",
            {"folders": [self.options.out]},
            "index.html",
        )

    @property
    def name(self) -> str:
        """Of the exported network."""
        return self.options.name or Path(self.options.out).resolve().name

    def _common(self, command: str) -> dict[str, Any]:
        """Those of our options that a command has too."""
        from .cli import PROGRAM

        shared = [f.name for f in dataclasses.fields(DataOptions)] + ["seed", "threads", "device"]
        known = {f.name for f in dataclasses.fields(PROGRAM.load(command).Options)}
        values = {name: getattr(self.options, name) for name in shared if name in known}
        return {name: value for name, value in values.items() if name != "threads" or value}

    def show_plan(self) -> None:
        """Prints the stages, what is done, and an estimate of the time for the rest."""
        from scarlet_models.terminal import console, table

        stages = [] if self.options.genotype else self.searching()
        stages.append(self.retraining(self.options.genotype or "the picked one"))
        shown = table("stage", "command", ">estimate", "what for")
        total = 0.0
        for stage in stages:
            done = self.pipeline.is_done(stage)
            seconds = 0.0 if done else self.seconds(stage)
            total += seconds
            shown.add_row(stage.name, stage.command, "done" if done else _duration(seconds), stage.why)
        shown.add_row("exported", "export", "seconds", "files that timm, ONNX and people read")
        shown.add_row("report", "report", "seconds", "one page with curves, fronts and networks")
        out = console()
        out.print(
            f"\n[bold]plan[/]  space {self.space.name}, {len(self.split.train):,} pictures to learn from, "
            f"{len(self.split.holdout):,} held out to choose by, in {self.options.out}\n"
        )
        out.print(shown)
        out.print(f"\nabout {_duration(total)} of arithmetic, by a few timed steps; reading pictures comes on top\n")

    def seconds(self, stage: Stage) -> float:
        """Estimate for a stage of train, evolve or retrain; 0 for others."""
        device, world = distributed.pick_device(self.options.device), self.options.processes
        classes, wanted = len(self.pictures.classes), self.pipeline.options_of(stage)
        if stage.command == "train":
            size = wanted.image_size or self.space.input_size
            steps = wanted.steps or wanted.epochs * (len(self.split.train) // wanted.batch_size)
            share = max(wanted.batch_size // world, 1)
            return steps * estimate.seconds_per_square(self.space, classes, size, share, device)
        if stage.command == "evolve":
            train = self.pipeline.options_of(self.searching()[0])
            size = train.image_size or self.space.input_size
            pictures = (wanted.pictures or len(self.split.holdout)) + wanted.calibration_pictures
            paths = wanted.population * wanted.generations * (2 if wanted.random else 1) / world
            return paths * estimate.seconds_per_path(self.space, classes, size, pictures, device)
        if stage.command == "retrain":
            share = max(wanted.batch_size // world, 1)
            steps = len(self.split.train) // wanted.batch_size
            phases = wanted.phases or [(wanted.epochs, wanted.image_size)]
            return sum(
                count
                * steps
                * estimate.seconds_per_step(self.space, classes, size or self.space.input_size, share, device)
                for count, size in phases
            )
        return 0.0


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


def _front(folder: Path) -> list[dict[str, Any]]:
    front: list[dict[str, Any]] = json.loads((folder / "search.json").read_text())["front"]
    if not front:
        raise UserError(f"{folder} found no network within the limits: widen them")
    return front


def _figures(retrained: Path) -> dict[str, Any]:
    """What retraining measured: the last row of metrics.csv, and the test figures where there are."""
    import csv

    with (retrained / "metrics.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    figures: dict[str, Any] = {"holdout_top1": max(float(last[key]) for key in last if key.endswith("holdout_top1"))}
    if (retrained / "final.json").exists():
        figures["test_top1"] = json.loads((retrained / "final.json").read_text())["top1"]
    return figures


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds))) if seconds >= 1 else "a second"


def show(result: dict[str, Any]) -> None:
    """Prints what came of a search."""
    from scarlet_models.terminal import console, short

    out = console()
    out.print(f"\nnetwork   {result['genotype']}")
    out.print(f"          {short(result['macs'])} MACs, {short(result['params'])} params")
    if "accuracy" in result:
        out.print(f"supernet  {result['accuracy']:.2f}% of the held-out pictures with inherited weights")
    out.print(f"retrained {result['holdout_top1']:.2f}% of the held-out pictures")
    if "test_top1" in result:
        out.print(f"test      {result['test_top1']:.2f}%")
    out.print(f"model     timm.create_model('local-dir:{result['exported']}', pretrained=True)")
    out.print(f"report    {result['report']}")
