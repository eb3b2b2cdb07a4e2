"""The rivals of a search: random search, the same stratified by MACs, and networks chosen by depth alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from .additive import AdditiveCost
from .archive import Archive
from .candidates import Candidates, canonicalise
from .options import EvolveOptions

POOL = 20_000  # networks to draw the strata from in a space that is not enumerated
BUDGETS = 20  # budgets of the networks chosen by depth


class Rival(ABC):
    """A way to choose networks, and the networks it has chosen."""

    name: str  # key in search.json and of `comparison.LABELS`
    stream = 0  # of the random numbers

    def __init__(self, archive: Archive, candidates: Candidates, seed: int) -> None:
        self.archive, self.candidates, self.rng = archive, candidates, np.random.default_rng([seed, self.stream])

    @abstractmethod
    def ask(self, count: int) -> np.ndarray:
        """Genotypes (N, layers) to score beside a generation of `count` networks."""

    @property
    def front(self) -> np.ndarray:
        """Indices of the archive's networks that the rival proposes, the presumably most accurate first."""
        return self.archive.front


def make_rivals(
    new_archive: Callable[[], Archive], new_candidates: Callable[[], Candidates], options: EvolveOptions
) -> list[Rival]:
    """The rivals of a search: without random ones if the options say so."""
    kinds: list[type[Rival]] = [RandomSearch, StratifiedSearch, DepthRule] if options.random else [DepthRule]
    return [kind(new_archive(), new_candidates(), options.seed) for kind in kinds]


class RandomSearch(Rival):
    """As many random networks within the limits as the search scores."""

    name, stream = "random", 1

    def ask(self, count: int) -> np.ndarray:
        drawn = self.candidates.draw(self.rng, count)
        self.candidates.take(drawn)
        return drawn


class StratifiedSearch(Rival):
    """As many random networks within the limits as the search scores, spread evenly over the range of MACs."""

    name, stream = "stratified", 2
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
        turn = np.empty(len(pool), int)
        for number in np.unique(stratum):
            rows = np.flatnonzero(stratum == number)
            turn[rows] = np.arange(len(rows))
        return pool[np.argsort(turn, kind="stable")]


class DepthRule(Rival):
    """Networks chosen without training: for each budget the one with most blocks and, among those, with most MACs.

    Budgets are of latency if that has an upper limit, otherwise of MACs.
    """

    name = "training_free"
    asked = False

    def ask(self, count: int) -> np.ndarray:
        if self.asked:
            return np.empty((0, len(self.candidates.space.layers)), int)
        self.asked = True
        limited = self.candidates.bounds.get("latency", (-np.inf, np.inf))[1] < np.inf
        return deepest_networks(self.candidates, "latency" if limited else "macs")

    @property
    def front(self) -> np.ndarray:
        return np.flatnonzero(self.archive.violations <= 0)


def deepest_networks(candidates: Candidates, cost: str) -> np.ndarray:
    """The networks within the limits with most blocks, then most MACs, for budgets of a cost, the largest first."""
    space, costs = candidates.space, candidates.costs
    blocks = np.array([choice != space.identity for choice in range(len(space.choices))])
    shares = np.maximum(costs.table.macs, 0) / costs.table.macs.max(1).sum()
    values = blocks + 0.999 * shares  # of all layers together, MACs count less than one block
    low, high = _range(candidates, cost)
    budgets = np.linspace(high, low, BUDGETS)
    pool = pool_of(candidates, np.random.default_rng(0))
    if candidates.networks is None:
        table, base = costs.additive(cost)
        best = canonicalise(space, AdditiveCost(space, table, up=True).best_within(values, budgets - base))
        pool = np.concatenate([best[candidates.excess(best) == 0], pool])  # the best may break another limit
    value, price = values[np.arange(pool.shape[1]), pool].sum(1), costs.of(pool)[cost]
    affordable = [np.flatnonzero(price <= budget) for budget in budgets]
    return pool[list(dict.fromkeys(rows[value[rows].argmax()] for rows in affordable if len(rows)))]


def pool_of(candidates: Candidates, rng: np.random.Generator) -> np.ndarray:
    """All networks within the limits, or many of them with MACs spread evenly."""
    if candidates.networks is not None:
        return candidates.networks
    table, base = candidates.costs.additive("macs")
    low, high = _range(candidates, "macs")
    drawn = AdditiveCost(candidates.space, table).sample_evenly(rng, POOL, low - base, high - base)
    drawn = canonicalise(candidates.space, drawn)
    return drawn[candidates.fresh(drawn)]


def _range(candidates: Candidates, cost: str) -> tuple[float, float]:
    """The range of a cost, cut by its limits."""
    (least, most), (low, high) = candidates.costs.range(cost), candidates.bounds.get(cost, (-np.inf, np.inf))
    return max(least, low), min(most, high)
