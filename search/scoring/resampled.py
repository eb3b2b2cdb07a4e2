"""Kendall's tau of several predictors over the same resampled networks, so that their differences are paired."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .ranking import FEWEST, Estimate

_ROWS = 512  # of the matrix of pairs in memory


class ResampledTau:
    """Kendall's tau-b over all networks (row 0) and over resamples of them.

    tau-b is the sum of sign(x_i - x_j) sign(y_i - y_j) over pairs, divided by the root of the numbers of pairs that
    are not tied in x and in y. A resample that holds network i c_i times has the sum c' S c, with the matrix S of that
    product: one matrix product gives all resamples. The resamples are those of `ranking.bootstrap` with the same seed.

    Args:
        known: Known accuracies (N,).
        samples: Number of resamples; 0 for none.
        seed: Seed of the resamples.
        groups: Group of each network (N,): only pairs within a group count. None counts all pairs.
    """

    def __init__(self, known: np.ndarray, samples: int, seed: int, groups: np.ndarray | None = None) -> None:
        count = len(known)
        drawn = np.random.default_rng(seed).integers(count, size=(samples if count >= FEWEST else 0, count))
        counts = np.stack([np.ones(count), *(np.bincount(rows, minlength=count) for rows in drawn)])
        self.known = known
        labels = np.zeros(count) if groups is None else groups
        self.groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        self.counts = [counts[:, group].astype(np.float32) for group in self.groups]
        self.pairs = [group.sum(1, dtype=float) ** 2 for group in self.counts]
        self.untied = self._untied(known)

    def __call__(self, predicted: np.ndarray) -> np.ndarray:
        """tau-b of predictions (N,): float64 of shape (1 + samples,); NaN where one side is constant."""
        total = np.zeros(len(self.pairs[0]))
        for group, counts in zip(self.groups, self.counts, strict=True):
            x, y = predicted[group], self.known[group]
            for start in range(0, len(group), _ROWS):
                rows = slice(start, start + _ROWS)
                signs = (np.sign(x[rows, None] - x[start:]) * np.sign(y[rows, None] - y[start:])).astype(np.float32)
                signs[:, len(signs) :] *= 2  # pairs with later rows stand for both orders
                total += np.einsum("rn,rn->r", counts[:, start:] @ signs.T, counts[:, rows], dtype=float)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(total / np.sqrt(self._untied(predicted) * self.untied))

    def _untied(self, values: np.ndarray) -> np.ndarray:
        """Ordered pairs within groups that are not tied, in each resample."""
        total = np.zeros(len(self.pairs[0]))
        for group, counts, pairs in zip(self.groups, self.counts, self.pairs, strict=True):
            order = np.argsort(values[group], kind="stable")
            starts = np.flatnonzero(np.diff(values[group][order], prepend=np.nan) != 0)
            total += pairs - (np.add.reduceat(counts[:, order], starts, axis=1, dtype=float) ** 2).sum(1)
        return total


def estimate(draws: np.ndarray) -> Estimate:
    """The value in row 0 with the 95% percentile interval of the others; undefined if the value is."""
    if np.isnan(draws[0]):
        return Estimate()
    if len(draws) == 1 or np.isnan(draws[1:]).all():
        return Estimate(float(draws[0]))
    low, high = np.nanquantile(draws[1:], [0.025, 0.975])
    return Estimate(float(draws[0]), float(low), float(high))


def equal_bands(values: Sequence[float] | np.ndarray, size: int) -> np.ndarray:
    """The band (N,) of each value, from low to high, in bands of about `size` values each, equal values together."""
    values = np.asarray(values)
    count = max(len(values) // size, 1)
    return np.searchsorted(np.quantile(values, np.arange(1, count) / count), values, side="right")
