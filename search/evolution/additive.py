"""Networks of a wanted cost in spaces too large to enumerate, by dynamic programming over the layers.

Costs add up over layers. Counted in small units, all ways to spend a budget on a layer and those behind it follow from
the ways to spend one on those behind it.
"""

import numpy as np

from scarlet_models.space.space import SearchSpace

UNITS = 500  # of a cost over the range of a space


class AdditiveCost:
    """Costs (layers, choices) that sum over layers, in units: the nearest, or `up` so that no budget is exceeded."""

    def __init__(self, space: SearchSpace, costs: np.ndarray, up: bool = False) -> None:
        self.allowed = space.cost_table().macs >= 0
        least = np.where(self.allowed, costs, np.inf).min(1)
        above = np.where(self.allowed, costs - least[:, None], 0)
        self.least, self.unit = float(least.sum()), float(above.max(1).sum()) / UNITS or 1.0
        self.units = (np.ceil(above / self.unit - 1e-9) if up else np.rint(above / self.unit)).astype(int)
        self.most = int(self.units.max(1).sum())

    def sample_evenly(self, rng: np.random.Generator, count: int, low: float, high: float) -> np.ndarray:
        """Genotypes (count, layers) with costs spread evenly over a range, none if no network has such a cost."""
        ways = self._fold(np.zeros(self.allowed.shape), np.logaddexp)
        ends = np.clip((np.array([low, high]) - self.least) / self.unit, 0, self.most)
        wanted = np.arange(int(ends[0]), int(np.ceil(ends[1])) + 1)
        wanted = wanted[np.isfinite(ways[0][wanted])]
        if not len(wanted):
            return np.empty((0, len(self.units)), int)
        left, columns = rng.choice(wanted, size=count), []
        for layer, ways_behind in enumerate(ways[1:]):
            weights = self._behind(layer, ways_behind, left)
            cumulated = np.exp(weights - weights.max(1, keepdims=True)).cumsum(1)
            columns.append((cumulated <= rng.random((count, 1)) * cumulated[:, -1:]).sum(1))
            left = left - self.units[layer, columns[-1]]
        return np.stack(columns, axis=1)

    def best_within(self, values: np.ndarray, budgets: np.ndarray) -> np.ndarray:
        """Genotypes (N, layers) with the highest sums of values (layers, choices), each within its budget (N,)."""
        best = [np.maximum.accumulate(sums) for sums in self._fold(values, np.maximum)]  # a budget need not be spent
        left, columns = np.clip(((budgets - self.least) / self.unit).astype(int), 0, self.most), []
        for layer, best_behind in enumerate(best[1:]):
            columns.append((values[layer] + self._behind(layer, best_behind, left)).argmax(1))
            left = left - self.units[layer, columns[-1]]
        return np.stack(columns, axis=1)

    def _fold(self, values: np.ndarray, join: np.ufunc) -> list[np.ndarray]:
        """For each layer, the joined sums of values of all ways to spend a number of units on it and those behind it.

        Joined by the maximum, that is the best sum; by logaddexp and with values 0, the logarithm of their number.
        """
        tables = [np.where(np.arange(self.most + 1) == 0, 0.0, -np.inf)]
        for layer in reversed(range(len(self.units))):
            joined = np.full(self.most + 1, -np.inf)
            for choice in np.flatnonzero(self.allowed[layer]):
                units = self.units[layer, choice]
                joined[units:] = join(joined[units:], tables[0][: self.most + 1 - units] + values[layer, choice])
            tables.insert(0, joined)
        return tables

    def _behind(self, layer: int, table: np.ndarray, left: np.ndarray) -> np.ndarray:
        """The entries (N, choices) of the layers behind, for the units that each choice leaves; -inf if it may not."""
        after = left[:, None] - self.units[layer]
        return np.where(self.allowed[layer] & (after >= 0), table[np.maximum(after, 0)], -np.inf)
