"""A whole search: trains a supernet, evolves networks, picks one, trains it, exports it and reports."""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from scarlet_models.documents import dump_yaml, read_json
from scarlet_models.errors import UserError
from scarlet_models.files import write_text
from scarlet_models.options import names_with
from scarlet_models.program import Program
from scarlet_models.search.evolution.candidates import Candidates
from scarlet_models.search.evolution.objectives import Costs, read_bounds, read_objectives
from scarlet_models.search.scoring.options import FEWEST_ANCHORS
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.training.data import LabelledImages, check_test_split
from scarlet_models.training.run_folder import exported_name
from scarlet_models.training.split import split_holdout

from .journal import Stage
from .networks import (
    PICKED,
    STAGES,
    largest_network,
    measured,
    pick,
    random_network,
    scored_networks,
    spread_networks,
    write_anchors,
    write_networks,
)
from .options import SearchOptions
from .pipeline import Pipeline
from .stages import Stages

_logger = logging.getLogger(__name__)


class WholeSearch:
    """A search in a folder; a UserError tells of bad options, unreadable images and limits that no network meets."""

    def __init__(self, options: SearchOptions, program: Program) -> None:
        self.options = options
        self.space = SearchSpace.load(options.space)
        if options.genotype:
            Genotype.parse(options.genotype, self.space)
        for name in ("compare", "anchors"):
            if options.genotype and getattr(options, name):
                raise UserError(f"--{name} is for networks within the limits of a search: leave --genotype out")
        if 0 < options.anchors < FEWEST_ANCHORS:
            raise UserError(f"--anchors {options.anchors}: a regression takes at least {FEWEST_ANCHORS}")
        self.pipeline = Pipeline(Path(options.out), program)
        self.config = self.pipeline.out / "config.yaml"
        self.stages = Stages(options, self.pipeline, exported_name(options.name, Path(options.out)))
        self.images = LabelledImages(options, options.train_split)
        self.split = split_holdout(self.images.ids, self.images.labels, options.holdout, options.split_seed)
        if options.final:
            check_test_split(options, self.images)
        if not options.genotype:
            if not self.split.holdout:
                raise UserError("--holdout 0 leaves no images to search by; 0.1 is usual")
            self._candidates()  # here a limit out of reach costs no training yet

    def _candidates(self) -> Candidates:
        """The networks within the limits; those on latency count once the blocks are timed."""
        *others, evolving = self.stages.searching()
        wanted = self.pipeline.options_of(evolving)
        read_objectives(wanted.objectives)
        timed = all(self.pipeline.is_done(stage) for stage in others if stage.command == "latency")
        costs = Costs(self.space, wanted.input_size, wanted.num_classes, wanted.latency_table if timed else "")
        return Candidates(costs, read_bounds(wanted))

    def _anchors(self) -> list[Genotype]:
        options = self.options
        return spread_networks(self._candidates(), options.anchors, options.seed) if options.anchors else []

    def run(self) -> dict[str, Any]:
        """Carry out all stages that are not done; return the result."""
        self._keep_options()
        for stage in self.stages.searching():
            if stage.command == "latency":
                self.pipeline.run(stage)
                self._candidates()  # now that of latency shows
        stages = [stage for stage in self.stages.searching(self._anchors()) if stage.command != "latency"]
        anchors = [stage for stage in stages if stage.command == "retrain"]
        if trained := {stage.options["genotype"]: self.pipeline.run(stage) for stage in anchors}:
            write_anchors(self.stages.anchors, trained)
        for stage in stages[len(anchors) :]:
            self.pipeline.run(stage)
        networks = self.networks()
        rule = "given" if self.options.genotype else self.options.pick
        write_networks(self.pipeline.out, rule, networks)
        _logger.info("the network is %s", networks[0]["genotype"])
        trained = {stage.name: self.pipeline.run(stage) for stage in self.stages.training_of(networks)}
        exported, report = (self.pipeline.run(stage) for stage in self.stages.finishing(networks))
        cost = Genotype.parse(networks[0]["genotype"], self.space).cost()
        known = {"macs": cost.macs, "params": cost.params}
        rows = [{**known, **network, **measured(trained[network["stage"]])} for network in networks]
        return {
            **{key: value for key, value in rows[0].items() if key not in ("role", "stage")},
            "scored": self._scored(),
            "compared": rows if self.options.compare else [],
            "exported": str(exported),
            "report": str(report / "index.html"),
        }

    def _keep_options(self) -> None:
        """Write config.yaml, which resumes the search, unless it says the same already."""
        once = names_with(self.options, "once")
        options = {name: value for name, value in asdict(self.options).items() if name not in once}
        text = dump_yaml(options)
        if not self.config.exists() or self.config.read_text(encoding="utf-8") != text:
            write_text(self.config, text)

    def all_stages(self) -> list[Stage]:
        """All stages; those of training have no genotype yet if the search is not done."""
        searching = self.stages.searching(self._anchors())
        if all(map(self.pipeline.is_done, searching)):
            networks = self.networks()
        else:
            roles = STAGES if self.options.compare else (PICKED,)
            networks = [{"role": role, "stage": STAGES[role], "genotype": ""} for role in roles]
        return [*searching, *self.stages.training_of(networks), *self.stages.finishing(networks)]

    def networks(self) -> list[dict[str, Any]]:
        """The networks to train, the picked one first, with their role, their stage and what is known of them."""
        scored = self._scored()
        if not scored and not self.options.genotype:
            raise UserError(f"{self.pipeline.out / 'evolve'} has no network within the limits: widen them")
        picked = pick(scored, self.options.pick) if scored else {"genotype": self.options.genotype}
        found = [{"role": PICKED, **picked}]
        if self.options.compare:
            candidates = self._candidates()
            chance = random_network(candidates, self.options.seed, Genotype.parse(picked["genotype"], self.space))
            for role, genotype in (("random", chance), ("largest", largest_network(candidates))):
                costs = candidates.costs.of(np.array([genotype.choices]))
                figures = {name: values[0].item() for name, values in costs.items()}
                found.append({"role": role, "genotype": str(genotype), **figures})
        stages: dict[str, str] = {}  # a network that has two roles is trained once
        return [{**one, "stage": stages.setdefault(one["genotype"], STAGES[one["role"]])} for one in found]

    def _scored(self) -> list[dict[str, Any]]:
        if self.options.genotype:
            return []
        return scored_networks(read_json(self.pipeline.out / "evolve" / "search.json", dict))
