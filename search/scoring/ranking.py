"""How well predicted accuracies order networks whose accuracy is known: statistics with bootstrap intervals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats

FEWEST = 10  # networks below which an order says too little for an interval
_ROWS = 512  # of the matrix of pairs in memory


@dataclass(frozen=True)
class Estimate:
    """A statistic with its 95% interval; None where it is not defined. The format "+" shows signs."""

    value: float | None = None
    low: float | None = None
    high: float | None = None

    def __format__(self, sign: str) -> str:
        if self.value is None:
            return "" if sign else "-"
        ends = "" if self.low is None else f" [{self.low:{sign}.3f}, {self.high:{sign}.3f}]"
        return f"{self.value:{sign}.3f}{ends}"

    def __str__(self) -> str:
        return format(self)


class TopK(NamedTuple):
    """Known accuracy of the best of the `k` networks of highest score and their mean; regrets to the k truly best."""

    k: int
    best: float
    mean: float
    regret: float
    mean_regret: float


WORTH = {"best": ">best of them", "regret": ">regret", "mean": ">their mean", "mean_regret": ">regret of the mean"}


def kendall(predicted: np.ndarray, known: np.ndarray) -> float:
    """Kendall's tau-b, which accounts for ties; NaN where one side is constant."""
    return float(stats.kendalltau(predicted, known).statistic)


def spearman(predicted: np.ndarray, known: np.ndarray) -> float:
    """Spearman's rank correlation; NaN where one side is constant."""
    if np.ptp(predicted) == 0 or np.ptp(known) == 0:
        return float("nan")
    return float(stats.spearmanr(predicted, known).statistic)


def bootstrap(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    predicted: np.ndarray,
    known: np.ndarray,
    samples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """The statistic with its 95% percentile interval over resamples (Efron and Tibshirani 1993, chapter 13)."""
    if len(known) < 2:
        return Estimate()
    drawn = (np.arange(len(known)), *resamples(len(known), samples, seed))
    return estimate(np.array([statistic(predicted[rows], known[rows]) for rows in drawn]))


def resamples(count: int, samples: int, seed: int) -> np.ndarray:
    """Rows (samples, count) of networks drawn with replacement; no rows for fewer than `FEWEST` networks."""
    return np.random.default_rng(seed).integers(count, size=(samples if count >= FEWEST else 0, count))


def top_k(predicted: np.ndarray, known: np.ndarray, k: int) -> TopK:
    """The worth of the k networks of highest score, or of all if there are fewer. Ties keep their order."""
    k = min(k, len(known))
    taken = known[np.argsort(-predicted, kind="stable")[:k]]
    ideal = np.sort(known)[::-1][:k]
    best, mean = float(taken.max()), float(taken.mean())
    return TopK(k, best, mean, float(ideal[0]) - best, float(ideal.mean()) - mean)


class ResampledTau:
    """Kendall's tau-b over all networks (row 0) and over resamples of them, the same for each predictor.

    tau-b is the sum of sign(x_i - x_j) sign(y_i - y_j) over pairs, divided by the root of the numbers of pairs that
    are not tied in x and in y. A resample that holds network i c_i times has the sum c' S c, with the matrix S of that
    product: one matrix product gives all resamples. They are those of `bootstrap` with the same seed. Only pairs of
    networks in the same of the `groups` (N,) count; all pairs without groups.
    """

    def __init__(self, known: np.ndarray, samples: int, seed: int, groups: np.ndarray | None = None) -> None:
        self.known, count = known, len(known)
        drawn = resamples(count, samples, seed)
        counts = np.stack([np.ones(count), *(np.bincount(rows, minlength=count) for rows in drawn)])
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
