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

from scarlet_models.documents import dump_yaml
from scarlet_models.errors import UserError, as_user_error
from scarlet_models.files import lock, remove, write_json, write_text
from scarlet_models.inspection.plotting import save
from scarlet_models.models import GENOTYPES
from scarlet_models.options import names_with
from scarlet_models.search.scoring.heldout import TrainedSupernet, open_supernet
from scarlet_models.search.scoring.known_accuracies import load_anchors, load_known_accuracies
from scarlet_models.search.scoring.ranking import kendall
from scarlet_models.search.scoring.scores import PathScores, Scores, TableScores
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.training import distributed
from scarlet_models.training.distributed import World
from scarlet_models.training.environment import FREE_ENVIRONMENT, describe_environment
from scarlet_models.training.options import from_keywords
from scarlet_models.training.run_folder import Events, MetricsTable, plain, refuse_changes, resume_line

from .archive import Archive, ScoredNetwork
from .candidates import Candidates
from .figures import Mark, draw_fronts, draw_hypervolume
from .hypervolume import hypervolume_of, reference_ranges, regret
from .nsga import Evolution
from .objectives import Costs, read_bounds, read_objectives, wants_latency
from .options import EvolveOptions
from .rivals import LABELS, RIVALS, Side, make_rivals

_logger = logging.getLogger(__name__)

SHOWN = 10  # networks in a front's repr


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
            anchors = load_anchors(options.anchors, scores.space) if options.anchors else {}
            search = EvolutionarySearch(options, scores, world)  # checks and keeps the options before paths are scored
            if anchors:
                scores.correct(anchors)
            return search.run()
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

    def tell(self, genotypes: np.ndarray, accuracy: np.ndarray, generation: int, score: np.ndarray) -> None:
        self.evolution.tell(*self.archive.add(genotypes, accuracy, generation, score))
        predicted = getattr(self.evolution.algorithm.mating, "predicted", np.empty(0))
        tau = kendall(predicted, accuracy) if len(predicted) > 1 else math.nan
        self.tau = None if math.isnan(tau) else tau


def open_folder(options: EvolveOptions, world: World) -> tuple[MetricsTable, Events]:
    """Write env.json and config.yaml, which resumes the search, and open metrics.csv and the TensorBoard events.

    A search is a pure function of its options and of what it measures, so it resumes by running again over
    evaluations.jsonl. All other files of an earlier search are therefore removed. Resuming differs in one thing: other
    options or another environment than in the folder is a UserError, but for more generations.
    """
    path, config = Path(options.out), plain(asdict(options) | dict.fromkeys(names_with(options, "once"), False))
    environment = {"command": "scarlet-search evolve", **describe_environment(options.workers, world)}
    lock(path)
    if options.resume and ((path / "config.yaml").exists() or (path / "evaluations.jsonl").exists()):
        refuse_changes(path / "config.yaml", config, names_with(options, "free"), options.allow_drift)
        refuse_changes(path / "env.json", environment, FREE_ENVIRONMENT, options.allow_drift)
    old = [path / name for name in ("search.json", "metrics.csv", "front.png", "hypervolume.png")]
    for file in [*old, *(path / "generations").glob("*.json"), *(path / "events").glob("events.*")]:
        remove(file)
    write_json(path / "env.json", environment, indent=1)
    write_text(path / "config.yaml", dump_yaml(config))
    world.signals.line = resume_line("scarlet-search evolve", path, world)
    return MetricsTable(path / "metrics.csv", 0), Events(path / "events")


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
        self.folder, self.report = Path(options.out), dict[str, Any]()
        self.metrics, self.events = open_folder(options, world)

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
        write_json(self.folder / "search.json", self.report, indent=1)
        self.events.close()
        save(self.draw(), self.folder / "front.png")
        curves = {LABELS[name]: side.curve for name, side in self.sides.items()}
        save(draw_hypervolume(curves), self.folder / "hypervolume.png")
        return self

    def _advance(self, generation: int, genotypes: np.ndarray) -> None:
        asked = [genotypes, *(side.ask(len(genotypes)) for side in self.sides.values() if side is not self.own)]
        scores = self.scores(np.concatenate(asked))  # together, to share the pass over the images
        parts = np.split(scores, np.cumsum([len(rows) for rows in asked])[:-1], axis=1)
        for side, rows, (accuracy, score) in zip(self.sides.values(), asked, parts, strict=True):
            if len(rows):
                side.tell(rows, accuracy, generation, score)
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
        write_json(self.folder / f"generations/{generation:04d}.json", content | networks, indent=1)
        self.metrics.append({key: "" if value is None else value for key, value in row.items()})
        for key, value in row.items():
            if value is not None and key != "generation":
                self.events.add_scalar(key, value, generation)
        chance = f" (random {volumes['random']:.4f})" if "random" in volumes else ""
        notes = [f"{len(archive)} networks", f"hypervolume {volumes['evolution']:.4f}{chance}", f"front {len(front)}"]
        notes += [] if row["best_accuracy"] is None else [f"best {row['best_accuracy']:.2f}%"]
        notes += [] if self.own.tau is None else [f"surrogate's Kendall's tau {self.own.tau:.2f}"]
        _logger.info("generation %d/%d  %s", generation + 1, self.options.generations, "  ".join(notes))

    def _report(self) -> dict[str, Any]:
        sides = {
            name: {"evaluations": len(side.archive), "front": side.records(), "hypervolume": side.curve}
            for name, side in self.sides.items()
        }
        report: dict[str, Any] = {
            "space": self.space.name,
            "supernet": self.scores.source,
            "images": self.scores.images(),
            "objectives": [objective._asdict() for objective in self.archive.objectives],
            "limits": {name: [None if math.isinf(end) else end for end in ends] for name, ends in self.bounds.items()},
            "reference": self.ranges,
            "anchors": self.scores.anchors.report() if self.scores.anchors else None,
            "released": {mark.name: mark.accuracy for mark in self._released()},
            **sides.pop("evolution"),
            **dict.fromkeys(RIVALS),
            **sides,
        }
        if known := self.known:
            own = self.own.candidates
            regrets = {name: regret(known, own, side.archive, side.front) for name, side in self.sides.items()}
            report["regret"] = dict.fromkeys(LABELS) | regrets
        return report

    def draw(self) -> Figure:
        """Accuracy against MACs of all scored networks, with the fronts."""
        born = self.archive.born
        generations = {n + 1: self.archive.records(np.flatnonzero(born == n)) for n in np.unique(born).tolist()}
        fronts = {LABELS[name]: side.records() for name, side in self.sides.items()}
        return draw_fronts(generations, fronts, self._released(), images=self.scores.images())

    def _released(self) -> list[Mark]:
        if self.space != SearchSpace.load("scarlet"):
            return []
        marks = []
        for name, text in GENOTYPES.items():
            choices = np.array([Genotype.parse(text, self.space).canonical().choices])
            found = [side.archive.networks(side.archive.find(choices)) for side in self.sides.values()]
            marks += [Mark(name, network.macs, network.accuracy) for networks in found for network in networks]
        return marks


def read_seeds(texts: Sequence[str], candidates: Candidates) -> np.ndarray:
    """Canonical genotypes (N, layers) from texts: genotypes, or names of released networks."""
    named = {name: text for full, text in GENOTYPES.items() for name in (full, full[-1].upper())}
    rows = []
    for text in texts:
        with as_user_error(f"--seeds: {text}", UserError):
            rows.append(Genotype.parse(named.get(text, text), candidates.space).canonical().choices)
        if not len(candidates.fresh(np.array(rows[-1:]))):
            raise UserError(f"--seeds: {text} does not meet the limits, or is not in the table: leave it out")
    return np.array(rows, int).reshape(-1, len(candidates.space.layers))


class Front(list[ScoredNetwork]):
    """The networks that no scored network beats in all objectives, the most accurate first.

    `report` is what search.json holds. Under torchrun the front is empty on ranks other than 0, which have no search.
    """

    def __init__(self, search: EvolutionarySearch | None) -> None:
        super().__init__(search.archive.networks(search.archive.front) if search else [])
        self.search, self.report = search, search.report if search else {}
        self.folder = search.folder if search else None

    def __repr__(self) -> str:
        lines = [f"Front({len(self)} of {self.report.get('evaluations', 0)} scored networks)"]
        lines += [f"  {network!r}" for network in self[:SHOWN]]
        return "\n".join([*lines, *(["  ..."] if len(self) > SHOWN else [])])

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw accuracy against MACs of all scored networks, and the front; write it as PNG if there is a path."""
        assert self.search is not None
        figure = self.search.draw()
        if path is not None:
            save(figure, Path(path))
        return figure


def evolve(net: Supernet | str | Path, data_dir: str | Path = "", **options: Any) -> Front:
    """Search for networks with a supernet's scores: `scarlet-search evolve` in Python.

    Args:
        net: The supernet: a folder, a file, the name of one that ships, or a Supernet that was trained or loaded.
        data_dir: The images: folder of class folders, tar file, or the place of a named data set.
        **options: Options of the command by name, such as objectives=["accuracy", "macs"] or max_macs="300M".

    Raises:
        UserError: A bad option, limits that no network meets, or a supernet or images that cannot be read.
    """
    supernet = open_supernet(net)
    wanted = from_keywords(EvolveOptions, supernet=supernet.name, data_dir=data_dir, **options)
    return Front(run_search(wanted, supernet))
