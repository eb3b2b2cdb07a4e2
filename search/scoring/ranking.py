"""How well predicted accuracies order networks whose accuracy is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

Statistic = Callable[[np.ndarray, np.ndarray], float]

FEWEST = 10  # networks below which an order says too little for an interval


@dataclass(frozen=True)
class Estimate:
    """A statistic with its 95% interval; None where it is not defined."""

    value: float | None = None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.value is None:
            return "-"
        return f"{self.value:.3f}" + ("" if self.low is None else f" [{self.low:.3f}, {self.high:.3f}]")


@dataclass(frozen=True)
class TopK:
    """What the `k` networks of highest score are worth, in points of known accuracy.

    Args:
        k: Number of networks.
        best: Known accuracy of the best of them.
        mean: Their mean known accuracy.
        regret: Best known accuracy of all networks, minus `best`.
        mean_regret: Mean known accuracy of the k truly best networks, minus `mean`.
    """

    k: int
    best: float
    mean: float
    regret: float
    mean_regret: float


def kendall(predicted: np.ndarray, known: np.ndarray) -> float:
    """Kendall's tau-b, which accounts for ties; NaN where one side is constant."""
    return float(stats.kendalltau(predicted, known).statistic)


def spearman(predicted: np.ndarray, known: np.ndarray) -> float:
    """Spearman's rank correlation; NaN where one side is constant."""
    if np.ptp(predicted) == 0 or np.ptp(known) == 0:
        return float("nan")
    return float(stats.spearmanr(predicted, known).statistic)


def bootstrap(
    statistic: Statistic, predicted: np.ndarray, known: np.ndarray, samples: int = 1000, seed: int = 0
) -> Estimate:
    """The statistic with its 95% percentile interval over resampled networks.

    Networks are drawn in pairs of prediction and known accuracy, with replacement (Efron and Tibshirani 1993,
    chapter 13). Fewer than `FEWEST` networks get no interval.

    Args:
        statistic: Function of predictions and known accuracies.
        predicted: (N,).
        known: (N,).
        samples: Number of resamples; 0 for no interval.
        seed: Seed of the resamples.
    """
    if len(known) < 2 or np.isnan(value := statistic(predicted, known)):
        return Estimate()
    if not samples or len(known) < FEWEST:
        return Estimate(value)

    def of_rows(rows: np.ndarray) -> float:
        return statistic(predicted[rows], known[rows])

    rows, rng = np.arange(len(known)), np.random.default_rng(seed)
    how = {"vectorized": False, "method": "percentile", "n_resamples": samples, "random_state": rng}
    drawn = stats.bootstrap((rows,), of_rows, **how)
    low, high = np.nanquantile(drawn.bootstrap_distribution, [0.025, 0.975])
    return Estimate(value, float(low), float(high))


def top_k(predicted: np.ndarray, known: np.ndarray, k: int) -> TopK:
    """The worth of the k networks of highest score, or of all if there are fewer. Ties keep their order."""
    k = min(k, len(known))
    taken = known[np.argsort(-predicted, kind="stable")[:k]]
    ideal = np.sort(known)[::-1][:k]
    best, mean = float(taken.max()), float(taken.mean())
    return TopK(k, best, mean, float(ideal[0]) - best, float(ideal.mean()) - mean)
