"""One evolutionary search: NSGA-II on a supernet's scores, beside searches that it should beat.

The search is a pure function of its options and of what it measures. It resumes by running again over the score cache.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from scarlet_models.errors import UserError
from scarlet_models.models import GENOTYPES
from scarlet_models.search.scoring.figures import save
from scarlet_models.search.scoring.heldout import TrainedSupernet, open_supernet
from scarlet_models.search.scoring.known_accuracies import load_known_accuracies
from scarlet_models.search.scoring.ranking import kendall
from scarlet_models.search.scoring.scores import PathScores, Scores, TableScores
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.training import distributed
from scarlet_models.training.distributed import World
from scarlet_models.training.run_folder import describe_environment, resume_line

from .archive import Archive
from .candidates import Candidates
from .figures import Mark, draw_fronts, draw_hypervolume
from .folder import SearchFolder
from .hypervolume import hypervolume_of, reference_ranges, regret
from .nsga import Evolution
from .objectives import Costs, read_bounds, read_objectives, wants_latency
from .options import EvolveOptions
from .rivals import LABELS, RIVALS, Side, make_rivals

_logger = logging.getLogger(__name__)


def run_search(options: EvolveOptions, supernet: TrainedSupernet | None = None) -> EvolutionarySearch | None:
    """Search to the end and write the folder. Returns the search on rank 0, None on other ranks."""
    _check(options)
    with distributed.start(options.device, options.threads) as world:
        if not options.supernet:
            space = SearchSpace.load(options.space)
            table = TableScores(load_known_accuracies(options.known, space), space)
            return EvolutionarySearch(options, table, world).run() if world.is_main else None
        scores = PathScores(supernet or open_supernet(options.supernet), options, Path(options.out), world)
        if not world.is_main:
            scores.serve()
            return None
        try:
            if options.anchors:
                scores.correct(options.anchors)
            return EvolutionarySearch(options, scores, world).run()
        finally:
            scores.close()


def _check(options: EvolveOptions) -> None:
    if not options.supernet and not (options.known and options.space):
        raise UserError("SUPERNET is missing: give one, or --known with --space to search a table; see --help")
    if options.supernet and options.space:
        raise UserError("--space: the supernet has its own; leave one of the two out")
    if options.anchors and not options.supernet:
        raise UserError("--anchors corrects the scores of a supernet: give SUPERNET")
    if wants_latency(options) and not options.latency_table:
        raise UserError("latency needs --latency-table; scarlet-search latency writes one")


class _Evolving(Side):
    """The search itself. `tau` is Kendall's, of the surrogate's predictions for the last generation."""

    name = "evolution"

    def __init__(self, archive: Archive, candidates: Candidates, options: EvolveOptions) -> None:
        super().__init__(archive, candidates, options.seed)
        screen = None
        if options.surrogate:
            from .surrogate import Screening

            screen = partial(Screening, archive=archive, screened=options.surrogate)
        self.evolution = Evolution(
            candidates,
            [objective.weight for objective in archive.objectives],
            options.population,
            first=read_seeds(options.seeds, candidates),
            constrained=archive.constrained,
            seed=options.seed,
            screen=screen,
        )
        self.tau: float | None = None

    def ask(self, count: int) -> np.ndarray:
        return self.evolution.ask()

    def tell(self, genotypes: np.ndarray, accuracy: np.ndarray, generation: int, score: np.ndarray | None) -> None:
        self.evolution.tell(*self.archive.add(genotypes, accuracy, generation, score))
        predicted = getattr(self.evolution.algorithm.mating, "predicted", ())
        tau = kendall(predicted, accuracy) if len(predicted) > 1 else math.nan
        self.tau = None if math.isnan(tau) else tau


class EvolutionarySearch:
    """A search with its rivals and its folder, on rank 0.

    Attributes:
        sides: The search and its rivals, by their name in LABELS.
        report: What search.json holds, once the search has ended.
    """

    def __init__(self, options: EvolveOptions, scores: Scores, world: World) -> None:
        self.options, self.scores, self.space = options, scores, scores.space
        objectives, self.bounds = read_objectives(options.objectives), read_bounds(options)
        costs = Costs(self.space, options.input_size, options.num_classes, options.latency_table)
        self.known = load_known_accuracies(options.known, self.space) if options.known else None
        new_archive = partial(Archive, objectives, costs, self.bounds, self.known)
        new_candidates = partial(Candidates, costs, self.bounds, scores.networks)
        self.own = _Evolving(new_archive(), new_candidates(), options)
        self.archive = self.own.archive
        self.sides = {side.name: side for side in (self.own, *make_rivals(new_archive, new_candidates, options))}
        self.ranges = reference_ranges(objectives, costs, self.bounds, 100 / scores.classes)
        self.volume = hypervolume_of(objectives, self.ranges)
        environment = {"command": "scarlet-search evolve", **describe_environment(options.workers, world)}
        self.folder = SearchFolder(options, environment)
        self.report: dict[str, Any] = {}
        world.signals.line = resume_line("scarlet-search evolve", self.folder.path, world)

    def run(self) -> EvolutionarySearch:
        """Run all generations, and write search.json and the figures."""
        for generation in range(self.options.generations):
            genotypes = self.own.ask(self.options.population)
            if not len(genotypes):
                _logger.info("every network within the limits is scored: the search ends")
                break
            self._advance(generation, genotypes)
            self._record(generation)
        self.report = self._report()
        self.folder.finish(self.report)
        save(self.draw(), self.folder.path / "front.png")
        curves = {LABELS[name]: side.curve for name, side in self.sides.items()}
        save(draw_hypervolume(curves), self.folder.path / "hypervolume.png")
        return self

    def _advance(self, generation: int, genotypes: np.ndarray) -> None:
        asked = [genotypes, *(side.ask(len(genotypes)) for side in self.sides.values() if side is not self.own)]
        scores = self.scores(np.concatenate(asked))  # together, to share the pass over the images
        accuracies = np.split(scores, np.cumsum([len(rows) for rows in asked])[:-1])
        for side, rows, accuracy in zip(self.sides.values(), asked, accuracies, strict=True):
            if len(rows):
                side.tell(rows, accuracy, generation, self.scores.raw(rows))
                side.curve.append((len(side.archive), self.volume(side.archive.values[side.front])))

    def _record(self, generation: int) -> None:
        archive, front = self.archive, self.archive.front
        volumes = {name: side.curve[-1][1] for name, side in self.sides.items() if side.curve}
        content = {"generation": generation, "evaluations": len(archive), "hypervolume": volumes["evolution"]}
        row = {
            **content,
            **{f"{name}_hypervolume": volumes.get(name) for name in RIVALS},
            "front": len(front),
            "best_accuracy": float(archive.figures["accuracy"][front[0]]) if len(front) else None,
            "surrogate_kendall": self.own.tau,
        }
        networks = {
            "asked": archive.records(np.flatnonzero(archive.born == generation)),
            "population": archive.records(archive.find(self.own.evolution.population)),
            "front": archive.records(front),
        }
        self.folder.record(generation, content | networks, row)
        _logger.info("generation %d/%d  %s", generation + 1, self.options.generations, _summary(row))

    def _report(self) -> dict[str, Any]:
        sides = {
            name: {"evaluations": len(side.archive), "front": side.records(), "hypervolume": side.curve}
            for name, side in self.sides.items()
        }
        report: dict[str, Any] = {
            "space": self.space.name,
            "supernet": self.scores.source,
            "objectives": [asdict(objective) for objective in self.archive.objectives],
            "limits": {name: [None if math.isinf(end) else end for end in ends] for name, ends in self.bounds.items()},
            "reference": self.ranges,
            "anchors": self.scores.anchors.report() if self.scores.anchors else None,
            "released": {mark.name: mark.accuracy for mark in self._released()},
            **sides.pop("evolution"),
            **dict.fromkeys(RIVALS),
            **sides,
        }
        if self.known:
            compare = partial(regret, self.known, self.own.candidates)
            regrets = {name: compare(side.archive, side.front) for name, side in self.sides.items()}
            report["regret"] = dict.fromkeys(LABELS) | regrets
        return report

    def draw(self) -> Figure:
        """Accuracy against MACs of all scored networks, with the fronts."""
        born = self.archive.born
        generations = {n + 1: self.archive.records(np.flatnonzero(born == n)) for n in np.unique(born).tolist()}
        fronts = {LABELS[name]: side.records() for name, side in self.sides.items()}
        return draw_fronts(generations, fronts, self._released())

    def _released(self) -> list[Mark]:
        if self.space != SearchSpace.load("scarlet"):
            return []
        marks = []
        for name, text in GENOTYPES.items():
            choices = np.array([Genotype.parse(text, self.space).canonical().choices])
            found = [side.archive.networks(side.archive.find(choices)) for side in self.sides.values()]
            marks += [Mark(name, network.macs, network.accuracy) for networks in found for network in networks]
        return marks


def _summary(row: dict[str, Any]) -> str:
    chance = "" if row["random_hypervolume"] is None else f" (random {row['random_hypervolume']:.4f})"
    notes = [f"{row['evaluations']} networks", f"hypervolume {row['hypervolume']:.4f}{chance}", f"front {row['front']}"]
    notes += [] if row["best_accuracy"] is None else [f"best {row['best_accuracy']:.2f}%"]
    notes += [] if row["surrogate_kendall"] is None else [f"surrogate's Kendall's tau {row['surrogate_kendall']:.2f}"]
    return "  ".join(notes)


def read_seeds(texts: Sequence[str], candidates: Candidates) -> np.ndarray:
    """Canonical genotypes (N, layers) from texts: genotypes, or names of released networks."""
    named = {name: text for full, text in GENOTYPES.items() for name in (full, full[-1].upper())}
    rows = np.empty((0, len(candidates.space.layers)), int)
    for text in texts:
        try:
            genotype = Genotype.parse(named.get(text, text), candidates.space).canonical()
        except UserError as error:
            raise UserError(f"--seeds: {text}: {error}") from None
        row = np.array([genotype.choices])
        if not len(candidates.fresh(row)):
            raise UserError(f"--seeds: {text} does not meet the limits, or is not in the table: leave it out")
        rows = np.concatenate([rows, row])
    return rows
