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
from scarlet_models.inspection.plotting import save
from scarlet_models.models import GENOTYPES
from scarlet_models.search.scoring.known_accuracies import load_known_accuracies
from scarlet_models.search.scoring.ranking import kendall
from scarlet_models.search.scoring.scores import PathScores, Scores, TableScores
from scarlet_models.search.scoring.trained import TrainedSupernet, open_supernet
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.training import distributed
from scarlet_models.training.distributed import World
from scarlet_models.training.run_folder import describe_environment, resume_line

from .archive import Archive
from .candidates import Candidates
from .comparison import LABELS, RIVALS
from .figures import Mark, draw_fronts, draw_hypervolume
from .folder import SearchFolder
from .hypervolume import hypervolume_of, reference_ranges
from .limits import read_bounds
from .nsga import Evolution
from .objectives import Costs, read_objectives, wants_latency
from .options import EvolveOptions
from .regret import Regret
from .rivals import make_rivals

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
            return EvolutionarySearch(options, _anchored(options, scores), world).run()
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


def _anchored(options: EvolveOptions, scores: PathScores) -> Scores:
    if not options.anchors:
        return scores
    from scarlet_models.search.scoring.anchors import AnchoredScores, load_anchors

    anchored = AnchoredScores(scores, load_anchors(options.anchors, scores.space))
    _logger.info("%s", anchored.anchors.summary())
    return anchored


class EvolutionarySearch:
    """A search with its rivals and its folder, on rank 0.

    Attributes:
        curves: Number of networks and hypervolume after each generation, by name; "evolution" is the search.
    """

    def __init__(self, options: EvolveOptions, scores: Scores, world: World) -> None:
        self.options, self.scores, self.space = options, scores, scores.space
        self.anchors = getattr(scores, "anchors", None)
        objectives, self.bounds = read_objectives(options.objectives), read_bounds(options)
        costs = Costs(self.space, options.input_size, options.num_classes, options.latency_table)
        known = load_known_accuracies(options.known, self.space) if options.known else None
        new_archive = partial(Archive, objectives, costs, self.bounds, known)
        new_candidates = partial(Candidates, costs, self.bounds, scores.networks)
        self.archive, candidates, screen = new_archive(), new_candidates(), None
        self.rivals = make_rivals(new_archive, new_candidates, options)
        self.regret = Regret(known, candidates, self.archive) if known else None
        if options.surrogate:
            from .surrogate import Screening

            screen = partial(Screening, archive=self.archive, screened=options.surrogate)
        self.evolution = Evolution(
            candidates,
            [objective.weight for objective in objectives],
            options.population,
            first=read_seeds(options.seeds, candidates),
            constrained=self.archive.constrained,
            seed=options.seed,
            screen=screen,
        )
        self.ranges = reference_ranges(objectives, costs, self.bounds, 100 / scores.classes)
        self.volume = hypervolume_of(objectives, self.ranges)
        self.curves: dict[str, list[tuple[int, float]]] = {name: [] for name in self._sides()}
        environment = {"command": "scarlet-search evolve", **describe_environment(options.workers, world)}
        self.folder = SearchFolder(Path(options.out), options, environment, options.resume, options.allow_drift)
        world.signals.line = resume_line("scarlet-search evolve", self.folder.path, world)

    def _sides(self) -> dict[str, tuple[Archive, np.ndarray]]:
        """What the search and its rivals have measured, and the indices of their fronts."""
        rivals = {rival.name: (rival.archive, rival.front) for rival in self.rivals}
        return {"evolution": (self.archive, self.archive.front), **rivals}

    def run(self) -> EvolutionarySearch:
        """Run all generations, and write search.json and the figures."""
        for generation in range(self.options.generations):
            genotypes = self.evolution.ask()
            if not len(genotypes):
                _logger.info("every network within the limits is scored: the search ends")
                break
            self._advance(generation, genotypes)
        self.folder.write_json("search.json", self.report())
        self.folder.close()
        save(self.draw(), self.folder.path / "front.png")
        curves = {LABELS[name]: curve for name, curve in self.curves.items()}
        save(draw_hypervolume(curves), self.folder.path / "hypervolume.png")
        return self

    def _advance(self, generation: int, genotypes: np.ndarray) -> None:
        asked = [genotypes, *(rival.ask(len(genotypes)) for rival in self.rivals)]
        scores = self.scores(np.concatenate(asked))  # together, to share the pass over the images
        accuracies = np.split(scores, np.cumsum([len(rows) for rows in asked])[:-1])
        archives = [self.archive, *(rival.archive for rival in self.rivals)]
        told = [
            archive.add(rows, accuracy, generation, self.scores.raw(rows)) if len(rows) else None
            for archive, rows, accuracy in zip(archives, asked, accuracies, strict=True)
        ]
        assert told[0]
        self.evolution.tell(*told[0])
        for (name, (archive, front)), new in zip(self._sides().items(), told, strict=True):
            if new:
                self.curves[name].append((len(archive), self.volume(archive.values[front])))
        predicted = getattr(self.evolution.algorithm.mating, "predicted", np.empty(0))  # by the surrogate
        tau = kendall(predicted, accuracies[0]) if len(predicted) > 1 else math.nan
        self._record(generation, None if math.isnan(tau) else tau)

    def _record(self, generation: int, tau: float | None) -> None:
        archive, front = self.archive, self.archive.front
        rivals = {name: self.curves.get(name) for name in RIVALS}
        row = {
            "generation": generation,
            "evaluations": len(archive),
            "hypervolume": self.curves["evolution"][-1][1],
            **{f"{name}_hypervolume": curve[-1][1] if curve else None for name, curve in rivals.items()},
            "front": len(front),
            "best_accuracy": float(archive.figures["accuracy"][front[0]]) if len(front) else None,
            "surrogate_kendall": tau,
        }
        content = {
            **{key: row[key] for key in ("generation", "evaluations", "hypervolume")},
            "asked": _records(archive, np.flatnonzero(archive.born == generation)),
            "population": _records(archive, archive.find(self.evolution.population)),
            "front": _records(archive, front),
        }
        self.folder.record(generation, content, row)
        _logger.info("generation %d/%d  %s", generation + 1, self.options.generations, _summary(row))

    def report(self) -> dict[str, Any]:
        """The result as plain data: what search.json holds."""
        sides = {
            name: {"evaluations": len(archive), "front": _records(archive, front), "hypervolume": self.curves[name]}
            for name, (archive, front) in self._sides().items()
        }
        report: dict[str, Any] = {
            "space": self.space.name,
            "supernet": self.scores.source,
            "objectives": [asdict(objective) for objective in self.archive.objectives],
            "limits": {name: [None if math.isinf(end) else end for end in ends] for name, ends in self.bounds.items()},
            "reference": self.ranges,
            "anchors": self.anchors.report() if self.anchors else None,
            "released": {mark.name: mark.accuracy for mark in self._released()},
            **sides.pop("evolution"),
            **dict.fromkeys(RIVALS),
            **sides,
        }
        if self.regret:
            regrets = {name: self.regret.compare(*side) for name, side in self._sides().items()}
            report["regret"] = dict.fromkeys(LABELS) | regrets
        return report

    def draw(self) -> Figure:
        """Accuracy against MACs of all scored networks, with the fronts."""
        born = self.archive.born
        generations = {n + 1: _records(self.archive, np.flatnonzero(born == n)) for n in np.unique(born).tolist()}
        fronts = {LABELS[name]: _records(*side) for name, side in self._sides().items()}
        cache = getattr(self.scores, "score_cache", None)  # of a supernet whose scores no anchors correct
        images = next(iter(cache.known.values())).images if cache and cache.known else 0
        return draw_fronts(generations, fronts, self._released(), images=images)

    def _released(self) -> list[Mark]:
        if self.space != SearchSpace.load("scarlet"):
            return []
        marks = []
        for name, text in GENOTYPES.items():
            choices = np.array([Genotype.parse(text, self.space).canonical().choices])
            for archive, _ in self._sides().values():
                marks += [Mark(name, found.macs, found.accuracy) for found in archive.networks(archive.find(choices))]
        return marks


def _records(archive: Archive, indices: Sequence[int] | np.ndarray) -> list[dict[str, Any]]:
    return [network.record() for network in archive.networks(indices)]


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
