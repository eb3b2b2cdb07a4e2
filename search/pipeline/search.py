"""A whole search: trains a supernet, evolves networks, picks one, trains it, exports it and reports."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scarlet_models.errors import UserError
from scarlet_models.program import Program
from scarlet_models.search.evolution.candidates import Candidates
from scarlet_models.search.evolution.limits import read_bounds
from scarlet_models.search.evolution.objectives import Costs, read_objectives
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.training.data import LabelledImages, check_test_split, split_holdout
from scarlet_models.training.run_folder import exported_name

from .options import SearchOptions
from .pick import pick
from .pipeline import Pipeline
from .stage import Stage
from .stages import Stages

_logger = logging.getLogger(__name__)


class WholeSearch:
    """A search in a folder.

    Args:
        options: What to search for.
        program: scarlet-search, whose commands the stages are.

    Raises:
        UserError: A bad option, an unreadable space or data set, limits that no network meets.
    """

    def __init__(self, options: SearchOptions, program: Program) -> None:
        self.options = options
        self.space = SearchSpace.load(options.space)
        if options.genotype:
            Genotype.parse(options.genotype, self.space)
        self.pipeline = Pipeline(Path(options.out), program)
        self.stages = Stages(options, self.pipeline, exported_name(options.name, Path(options.out)))
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
        *others, evolving = self.stages.searching()
        wanted = self.pipeline.options_of(evolving)
        read_objectives(wanted.objectives)
        timed = all(self.pipeline.is_done(stage) for stage in others if stage.command == "latency")
        costs = Costs(self.space, wanted.input_size, wanted.num_classes, wanted.latency_table if timed else "")
        Candidates(costs, read_bounds(wanted))

    def run(self) -> dict[str, Any]:
        """Carry out all stages that are not done; return the result."""
        for stage in self.stages.searching():
            self.pipeline.run(stage)
            if stage.command == "latency":
                self._check_limits()
        found = self.picked()
        _logger.info("the network is %s", found["genotype"])
        retrained, exported, report = map(self.pipeline.run, self.stages.finishing(found["genotype"]))
        cost = Genotype.parse(found["genotype"], self.space).cost()
        return {
            "macs": cost.macs,
            "params": cost.params,
            **found,
            **_figures(retrained),
            "exported": str(exported),
            "report": str(report / "index.html"),
        }

    def all_stages(self) -> list[Stage]:
        """All stages; that of retraining has no genotype yet if the search is not done."""
        searching = self.stages.searching()
        found = str(self.picked()["genotype"]) if all(map(self.pipeline.is_done, searching)) else ""
        return [*searching, *self.stages.finishing(found)]

    def picked(self) -> Mapping[str, Any]:
        """The network to train, with what the search knows of it.

        Raises:
            UserError: No network is within the limits.
        """
        if self.options.genotype:
            return {"genotype": self.options.genotype}
        path = self.pipeline.out / "evolve" / "search.json"
        front = json.loads(path.read_text())["front"]
        if not front:
            raise UserError(f"{path} has no network within the limits: widen them")
        return pick(front, self.options.pick)


def _figures(retrained: Path) -> dict[str, Any]:
    """What retraining measured: the last row of metrics.csv, and the test figures if there are some."""
    with (retrained / "metrics.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    held_out = [float(value) for key, value in last.items() if key.endswith("holdout_top1") and value]
    figures: dict[str, Any] = {"holdout_top1": max(held_out)} if held_out else {}
    if (retrained / "final.json").exists():
        figures["test_top1"] = json.loads((retrained / "final.json").read_text())["top1"]
    return figures
