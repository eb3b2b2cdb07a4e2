"""Evolves networks with a trained supernet's scores: NSGA-II, and random search with as many networks beside it.

Each generation is scored in one pass over images that were held out in training, and no path is ever scored twice:
evaluations.jsonl serves other limits and objectives too, and a search that was killed goes on with --resume to the same
result. Another search in the same folder keeps that file and replaces the rest: generations/ (populations and fronts),
metrics.csv, search.json with the front, front.png and hypervolume.png. With --known and no supernet the scores come
from a table. One process, or several under torchrun, which share out the networks.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from scarlet_models.errors import UserError
from scarlet_models.models import GENOTYPES
from scarlet_models.options import option
from scarlet_models.search.scoring.heldout import ScoreOptions
from scarlet_models.search.scoring.known_accuracies import load_known_accuracies
from scarlet_models.search.scoring.ranking import kendall
from scarlet_models.search.scoring.scores import PathScores, Scores, TableScores
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.training import distributed
from scarlet_models.training.distributed import World
from scarlet_models.training.environment import describe_environment
from scarlet_models.training.progress import log_to_stderr

from .archive import Archive
from .candidates import Candidates
from .figures import draw_front, draw_hypervolume, save
from .folder import SearchFolder
from .hypervolume import hypervolume_of, reference_ranges
from .nsga import Evolution
from .objectives import Costs, read_bounds, read_objectives, wants_latency
from .regret import Regret

EXAMPLE = """  scarlet-search evolve runs/supernet --data-dir images --max-macs 300M
  scarlet-search evolve --config runs/evolve/config.yaml --resume
  scarlet-search evolve runs/supernet --data-dir images --objectives "[accuracy max 0.5, latency min 0.5]" \\
    --latency-table runs/latency --max-latency 15ms --out runs/evolve_latency
  scarlet-search evolve runs/supernet --data-dir images --population 20 --generations 5 --surrogate 240
  scarlet-search evolve --known nas-bench-macro_cifar10.json --space nas_bench_macro --population 20
  torchrun --nproc-per-node 8 -m scarlet_models.search evolve runs/supernet --data-dir imagenet"""

_logger = logging.getLogger(__name__)

_SHOWN = 20  # networks of the front that are printed


@dataclass(kw_only=True)
class Options(ScoreOptions):
    """Options of evolve.

    Args:
        supernet: The folder of a run of train, its supernet.safetensors, or the name of one that ships.
        out: The folder for the search; it may hold an earlier one, whose scores then serve this one.
        resume: Go on where a search was stopped, and refuse other options than those it had; more generations are fine.
        allow_drift: Resume although options or the environment changed.
        seed: Of everything random.
        population: Networks of a generation.
        generations: How many, the random first one included.
        objectives: Each a name (accuracy, macs, params, latency), min or max, and its weight in the crowding distance.
        max_macs: Most MACs of a network, such as 300M.
        min_macs: Fewest MACs.
        max_params: Most parameters.
        min_params: Fewest parameters.
        max_latency: Longest time by the latency table, such as 15ms.
        min_latency: Shortest time by the latency table.
        min_accuracy: Lowest accuracy in percent; networks below it breed only until there are better ones.
        latency_table: What scarlet-search latency has written: table.json or its folder.
        input_size: Side in pixels of the images that MACs are of; 0 for the space's own.
        num_classes: Outputs of the classifier that costs include; 0 for the space's own.
        crossover: How two parents mix: a run of neighbouring layers changes place, or each layer by a coin's toss.
        mutation: Probability that a layer mutates; 0 for one layer of a network on average.
        seeds: Genotypes to begin with besides random ones; A, B and C are the released networks.
        surrogate: Networks that a regressor on the scores so far screens for each generation; 0 for no regressor.
        random: Also score as many random networks inside the same limits.
        known: Known accuracies, to compare the front with; without a supernet, to search.
        space: Search space, where there is no supernet.
        json: Print the result as one JSON object.
    """

    supernet: str = option("", positional=True)
    out: str = option("runs/evolve", free=True)
    resume: bool = option(False, once=True)
    allow_drift: bool = option(False, once=True)
    seed: int = option(0, least=0, most=2**63 - 1)
    population: int = option(70, least=2)
    generations: int = option(20, least=1, free=True)
    objectives: list[str] = field(default_factory=lambda: ["accuracy max 0.4", "macs min 0.4", "params max 0.2"])
    max_macs: int | str | None = None
    min_macs: int | str | None = None
    max_params: int | str | None = None
    min_params: int | str | None = None
    max_latency: float | str | None = None
    min_latency: float | str | None = None
    min_accuracy: float | None = None
    latency_table: str = ""
    input_size: int = option(0, least=0)
    num_classes: int = option(0, least=0)
    crossover: Literal["two-point", "uniform"] = "two-point"
    mutation: float = option(0.0, least=0, most=1)
    seeds: list[str] = field(default_factory=list)
    surrogate: int = option(0, least=0)
    random: bool = True
    known: str = ""
    space: str = ""
    json: bool = option(False, once=True)


def main(options: Options) -> None:
    """Searches to the end and writes the front.

    Raises:
        UserError: a bad option, limits that nothing meets, or unreadable data.
    """
    log_to_stderr()
    _check(options)
    with distributed.start(options.device, options.threads) as world:
        if not options.supernet:
            if world.is_main:
                _search(options, _table_scores(options), world)
            return
        scores = PathScores(options.supernet, options, Path(options.out), world)
        if world.is_main:
            try:
                _search(options, scores, world)
            finally:
                scores.close()
        else:
            scores.serve()


def _check(options: Options) -> None:
    if not options.supernet and not (options.known and options.space):
        raise UserError("SUPERNET is missing: give one, or --known with --space to search a table; see --help")
    if options.supernet and options.space:
        raise UserError("--space: the supernet has its own; leave one of the two away")
    if wants_latency(options) and not options.latency_table:
        raise UserError("latency needs --latency-table; scarlet-search latency writes one")


def _table_scores(options: Options) -> TableScores:
    space = SearchSpace.load(options.space)
    return TableScores(load_known_accuracies(options.known, space), space)


def _search(options: Options, scores: Scores, world: World) -> None:
    search = Search(options, scores, world)
    report = search.run()
    if options.json:
        print(json.dumps(report))
    else:
        search.show(report)


class Search:
    """One search: what it measured, its random baseline, and its folder. Only rank 0 has one.

    Args:
        options: Of the command.
        scores: Where accuracies come from.
        world: For env.json.

    Raises:
        UserError: objectives, limits or seeds are bad, or nothing meets the limits.
    """

    def __init__(self, options: Options, scores: Scores, world: World) -> None:
        self.options, self.scores, self.space = options, scores, scores.space
        objectives, self.bounds = read_objectives(options.objectives), read_bounds(options)
        costs = Costs(self.space, options.input_size, options.num_classes, options.latency_table)
        self.known_accuracies = load_known_accuracies(options.known, self.space) if options.known else {}
        candidates, others = (Candidates(costs, self.bounds, scores.networks) for _ in range(2))
        self.archive, self.baseline = (Archive(objectives, costs, self.bounds) for _ in range(2))
        self.random_candidates, self.rng = others, np.random.default_rng([options.seed, 1])
        self.regret = Regret(self.known_accuracies, candidates, self.archive) if self.known_accuracies else None
        self.evolution = Evolution(
            candidates,
            [objective.weight for objective in objectives],
            options.population,
            crossover=options.crossover,
            mutation=options.mutation,
            first=read_seeds(options.seeds, candidates),
            constrained=self.archive.constrained,
            seed=options.seed,
            screen=self._screen() if options.surrogate else None,
        )
        self.ranges = reference_ranges(objectives, costs, self.bounds, 100 / scores.classes)
        self.volume = hypervolume_of(objectives, self.ranges)
        self.curves: dict[str, list[tuple[int, float]]] = {"evolution": [], "random": []}
        environment = describe_environment(options.workers, world)
        self.folder = SearchFolder(Path(options.out), options, environment, options.resume, options.allow_drift)

    def _screen(self) -> Any:
        from .surrogate import Screening

        return partial(Screening, archive=self.archive, screened=self.options.surrogate)

    def run(self) -> dict[str, Any]:
        """All generations. Returns what search.json holds."""
        for generation in range(self.options.generations):
            genotypes = self.evolution.ask()
            if not len(genotypes):
                _logger.info("every network that may be asked for is measured: the search ends")
                break
            self._advance(generation, genotypes)
        report = self._report()
        self.folder.write_json("search.json", report)
        self.folder.close()
        save(draw_front(self.archive, self.baseline, self._released()), self.folder.path / "front.png")
        save(draw_hypervolume(self.curves), self.folder.path / "hypervolume.png")
        return report

    def _advance(self, generation: int, genotypes: np.ndarray) -> None:
        drawn = np.empty((0, genotypes.shape[1]), int)
        if self.options.random:
            drawn = self.random_candidates.draw(self.rng, len(genotypes))
            self.random_candidates.take(drawn)
        accuracy = self.scores(np.concatenate([genotypes, drawn]))  # together, as they share the pass over the images
        self.evolution.tell(*self.archive.add(genotypes, accuracy[: len(genotypes)], generation))
        self.baseline.add(drawn, accuracy[len(genotypes) :], generation)
        for name, archive in (("evolution", self.archive), ("random", self.baseline)):
            if len(archive):
                self.curves[name].append((len(archive), self.volume(archive.values[archive.front()])))
        self._record(generation, self._kendall(accuracy[: len(genotypes)]))

    def _kendall(self, accuracy: np.ndarray) -> float | None:
        """How well the surrogate ordered what was just measured."""
        predicted = getattr(self.evolution.algorithm.mating, "predicted", np.empty(0))
        if len(predicted) < 2:
            return None
        tau = kendall(predicted, accuracy)
        return None if math.isnan(tau) else tau

    def _record(self, generation: int, tau: float | None) -> None:
        front, measured = self._records(self.archive, self.archive.front()), len(self.archive)
        volume = self.curves["evolution"][-1][1]
        by_chance = self.curves["random"][-1][1] if self.options.random else None
        best = max((record["accuracy"] for record in front), default=None)
        row = {
            "generation": generation,
            "evaluations": measured,
            "hypervolume": volume,
            "random_hypervolume": by_chance,
            "front": len(front),
            "best_accuracy": best,
            "surrogate_kendall": tau,
        }
        population = self._records(self.archive, self.archive.find(self.evolution.population))
        asked = self._records(self.archive, np.flatnonzero(self.archive.born == generation))
        content = {key: row[key] for key in ("generation", "evaluations", "hypervolume")}
        self.folder.record(generation, {**content, "asked": asked, "population": population, "front": front}, row)
        notes = [f"hypervolume {volume:.4f}" + ("" if by_chance is None else f" (random {by_chance:.4f})")]
        notes += [f"front {len(front)}"] + ([] if best is None else [f"best {best:.2f}%"])
        notes += [] if tau is None else [f"surrogate's Kendall tau {tau:.2f}"]
        text = f"generation {generation + 1}/{self.options.generations}  {measured} networks  {'  '.join(notes)}"
        _logger.info("%s", text)

    def _records(self, archive: Archive, indices: Sequence[int] | np.ndarray) -> list[dict[str, Any]]:
        records = [archive.record(int(index)) for index in indices]
        for record in records:
            true = self.known_accuracies.get(Genotype.parse(record["genotype"], self.space))
            record |= {} if true is None else {"true_accuracy": true}
        return records

    def _report(self) -> dict[str, Any]:
        report: dict[str, Any] = {
            "space": self.space.name,
            "supernet": self.scores.source,
            "objectives": [asdict(objective) for objective in self.archive.objectives],
            "limits": {name: [None if math.isinf(end) else end for end in ends] for name, ends in self.bounds.items()},
            "reference": self.ranges,
            "evaluations": len(self.archive),
            "hypervolume": self.curves["evolution"],
            "front": self._records(self.archive, self.archive.front()),
            "random": None,
        }
        if self.options.random:
            report["random"] = {
                "evaluations": len(self.baseline),
                "front": self._records(self.baseline, self.baseline.front()),
                "hypervolume": self.curves["random"],
            }
        if self.regret:
            sides = {"evolution": report, "random": report["random"]}
            report["regret"] = {name: side and self.regret.compare(side["front"]) for name, side in sides.items()}
        return report

    def _released(self) -> dict[str, tuple[int, float]]:
        """MACs and accuracy of the released networks, those that were measured."""
        if self.space != SearchSpace.load("scarlet"):
            return {}
        found = {}
        for name, text in GENOTYPES.items():
            choices = np.array([Genotype.parse(text, self.space).canonical().choices])
            for archive in (self.archive, self.baseline):
                for index in archive.find(choices):
                    record = archive.record(index)
                    found[name] = record["macs"], record["accuracy"]
        return found

    def show(self, report: dict[str, Any]) -> None:
        """Prints the front, and what it is worth."""
        from scarlet_models.terminal import console, short, table

        front = report["front"]
        latency, true = "latency" in self.archive.figures, bool(self.known_accuracies)
        columns = [">accuracy", ">MACs", ">params", *[">latency"] * latency, *[">true accuracy"] * true, "genotype"]
        shown = table(*columns)
        for index in np.unique(np.linspace(0, len(front) - 1, min(len(front), _SHOWN)).round().astype(int)):
            record = front[index]
            cells = [f"{record['accuracy']:.2f}", short(record["macs"]), short(record["params"])]
            cells += [f"{record['latency']:.2f} ms"] if latency else []
            cells += [f"{record['true_accuracy']:.2f}" if "true_accuracy" in record else "-"] if true else []
            shown.add_row(*cells, record["genotype"])
        out = console()
        out.print(shown)
        if len(front) > _SHOWN:
            out.print(f"{_SHOWN} of the front's {len(front)} networks; all are in search.json")
        if not front:
            out.print("no measured network meets the limits")
        volumes = {name: curve[-1][1] for name, curve in self.curves.items() if curve}
        out.print("\nhypervolume: " + ", ".join(f"{name} {volume:.4f}" for name, volume in volumes.items()))
        for name, regret in (report.get("regret") or {}).items():
            if regret:
                out.print(
                    f"{name}: by known accuracies the most accurate network is {regret['best']:.2f} points below "
                    f"the best, its front {regret['front']:.2f} on average; "
                    f"hypervolume {regret['hypervolume']:.3f} of the best"
                )
        out.print(f"written to {self.folder.path}/search.json, front.png and hypervolume.png")


def read_seeds(texts: Sequence[str], candidates: Candidates) -> np.ndarray:
    """Canonical genotypes (N, layers) from texts: genotypes, or names of released networks.

    Raises:
        UserError: one is none of the space, or may not be asked for.
    """
    named = {name: text for full, text in GENOTYPES.items() for name in (full, full[-1].upper())}
    rows = np.empty((0, len(candidates.space.layers)), int)
    for text in texts:
        try:
            genotype = Genotype.parse(named.get(text, text), candidates.space).canonical()
        except UserError as error:
            raise UserError(f"--seeds: {text}: {error}") from None
        row = np.array([genotype.choices])
        if not len(candidates.fresh(row)):
            raise UserError(f"--seeds: {text} does not meet the limits, or is not in the table: leave it away")
        rows = np.concatenate([rows, row])
    return rows
