"""The rivals of a search: random search, the same stratified by MACs, and networks chosen by depth alone."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .additive import AdditiveCost
from .archive import Archive
from .candidates import Candidates, canonicalise
from .objectives import UNLIMITED
from .options import EvolveOptions

LABELS = {  # by key in search.json
    "evolution": "the search",
    "random": "random search",
    "stratified": "random search, stratified by MACs",
    "training_free": "deepest, then largest (no training)",
}
RIVALS = tuple(LABELS)[1:]

POOL = 20_000  # networks to draw the strata from in a space that is not enumerated
BUDGETS = 20  # budgets of the networks chosen by depth


class Side(ABC):
    """A way to choose networks, and the networks it has chosen."""

    name: str  # of LABELS

    def __init__(self, archive: Archive, candidates: Candidates, seed: int) -> None:
        self.archive, self.candidates = archive, candidates
        self.rng = np.random.default_rng([seed, tuple(LABELS).index(self.name)])
        self.curve: list[tuple[int, float]] = []  # number of networks and hypervolume after each generation

    @abstractmethod
    def ask(self, count: int) -> np.ndarray:
        """Genotypes (N, layers) to score beside a generation of `count` networks."""

    def tell(self, genotypes: np.ndarray, accuracy: np.ndarray, generation: int, score: np.ndarray) -> None:
        """Take the scores of what was asked for, as `Archive.add` does."""
        self.archive.add(genotypes, accuracy, generation, score)

    @property
    def front(self) -> np.ndarray:
        """Indices of the archive's networks that the side proposes, the presumably most accurate first."""
        return self.archive.front

    def records(self) -> list[dict[str, Any]]:
        """The networks of the front as plain data."""
        return self.archive.records(self.front)


def make_rivals(
    new_archive: Callable[[], Archive], new_candidates: Callable[[], Candidates], options: EvolveOptions
) -> list[Side]:
    """The rivals of a search: without random ones if the options say so."""
    kinds: list[type[Side]] = [RandomSearch, StratifiedSearch, DepthRule] if options.random else [DepthRule]
    return [kind(new_archive(), new_candidates(), options.seed) for kind in kinds]


class RandomSearch(Side):
    """As many random networks within the limits as the search scores."""

    name = "random"

    def ask(self, count: int) -> np.ndarray:
        drawn = self.candidates.draw(self.rng, count)
        self.candidates.take(drawn)
        return drawn


class StratifiedSearch(Side):
    """As many random networks within the limits as the search scores, spread evenly over the range of MACs."""

    name = "stratified"
    left: np.ndarray | None = None

    def ask(self, count: int) -> np.ndarray:
        if self.left is None:
            pool = pool_of(self.candidates, self.rng)
            self.left = self._ordered(pool, count) if len(pool) else pool
        drawn, self.left = self.left[:count], self.left[count:]
        drawn = np.concatenate([drawn, self.candidates.draw(self.rng, count - len(drawn), drawn)])
        self.candidates.take(drawn)
        return drawn

    def _ordered(self, pool: np.ndarray, strata: int) -> np.ndarray:
        """The pool in random order; each run of `strata` networks has one of every stratum that is not used up."""
        pool = self.rng.permutation(pool)
        macs = self.candidates.costs.of(pool)["macs"]
        edges = np.linspace(macs.min(), macs.max(), strata + 1)[1:-1]
        stratum = np.searchsorted(edges, macs, side="right")
        order, turn = np.argsort(stratum, kind="stable"), np.empty(len(pool), int)
        turn[order] = np.arange(len(pool)) - np.searchsorted(stratum[order], stratum[order])
        return pool[np.argsort(turn, kind="stable")]


class DepthRule(Side):
    """Networks chosen without training: for each budget the one with most blocks and, among those, with most MACs.

    Budgets are of latency if that has an upper limit, otherwise of MACs.
    """

    name = "training_free"
    asked = False

    def ask(self, count: int) -> np.ndarray:
        if self.asked:
            return np.empty((0, len(self.candidates.space.layers)), int)
        self.asked = True
        candidates, costs, space = self.candidates, self.candidates.costs, self.candidates.space
        cost = "latency" if candidates.bounds.get("latency", UNLIMITED)[1] < np.inf else "macs"
        low, high = costs.range(cost, candidates.bounds)
        budgets = np.linspace(high, low, BUDGETS)
        blocks = np.arange(len(space.choices)) != space.identity
        shares = np.maximum(costs.table.macs, 0) / costs.table.macs.max(1).sum()
        values = blocks + 0.999 * shares  # of all layers together, MACs count less than one block
        pool = pool_of(candidates, np.random.default_rng(0))
        if candidates.networks is None:
            table, base = costs.additive[cost]
            best = canonicalise(space, AdditiveCost(space, table, up=True).best_within(values, budgets - base))
            pool = np.concatenate([best[candidates.excess(best) == 0], pool])  # the best may break another limit
        value, price = values[np.arange(pool.shape[1]), pool].sum(1), costs.of(pool)[cost]
        affordable = [np.flatnonzero(price <= budget) for budget in budgets]
        return pool[list(dict.fromkeys(rows[value[rows].argmax()] for rows in affordable if len(rows)))]

    @property
    def front(self) -> np.ndarray:
        return np.flatnonzero(self.archive.violations <= 0)


def pool_of(candidates: Candidates, rng: np.random.Generator) -> np.ndarray:
    """All networks within the limits, or many of them with MACs spread evenly."""
    if candidates.networks is not None:
        return candidates.networks
    table, base = candidates.costs.additive["macs"]
    low, high = candidates.costs.range("macs", candidates.bounds)
    drawn = AdditiveCost(candidates.space, table).sample_evenly(rng, POOL, low - base, high - base)
    drawn = canonicalise(candidates.space, drawn)
    return drawn[candidates.fresh(drawn)]


def compare_searches(report: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Columns (">" for numbers) and rows that set a search beside its rivals, from what search.json holds.

    Where accuracies are known, the last columns are those of `hypervolume.regret`.
    """
    columns = ["networks chosen by", ">scored", ">hypervolume"]
    known = {}
    if regrets := report.get("regret"):
        columns += [">true: best below best known", ">front below, mean", ">share of best hypervolume"]
        known = {"best": ".2f", "front": ".2f", "hypervolume": ".3f"}
    rows = []
    for name, label in LABELS.items():
        if side := report if name == "evolution" else report.get(name):
            volume, regret = side["hypervolume"][-1][1] if side["hypervolume"] else 0.0, (regrets or {}).get(name) or {}
            cells = [format(regret[key], form) if key in regret else "-" for key, form in known.items()]
            rows.append([label, f"{side['evaluations']:,}", f"{volume:.4f}", *cells])
    return columns, rows
