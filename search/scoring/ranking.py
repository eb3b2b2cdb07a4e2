"""How well predicted accuracies order networks whose accuracy is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

Statistic = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class Estimate:
    """A statistic and the percentile interval of its bootstrap; all None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.value is None:
            return "-"
        return f"{self.value:.3f}" + ("" if self.low is None else f" [{self.low:.3f}, {self.high:.3f}]")


@dataclass(frozen=True)
class TopK:
    """What taking the `k` networks of highest prediction is worth, in points of known accuracy.

    Args:
        k: Networks taken.
        best: Known accuracy of the best of them.
        mean: Mean known accuracy of them.
        regret: The best known accuracy of all networks, less `best`.
        mean_regret: Mean known accuracy of the k truly best networks, less `mean`.
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
    return float(np.corrcoef(stats.rankdata(predicted), stats.rankdata(known))[0, 1])


def bootstrap(
    statistic: Statistic,
    predicted: np.ndarray,
    known: np.ndarray,
    samples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Estimate:
    """The statistic with the percentile interval over resampled networks (Efron and Tibshirani 1993, chapter 13).

    Args:
        statistic: Of predictions and known accuracies.
        predicted: (N,).
        known: (N,).
        samples: How often to draw N networks with replacement; 0 gives no interval.
        seed: Of the draws.
        confidence: Share of the draws that the interval holds.
    """
    if len(known) < 2 or np.isnan(value := statistic(predicted, known)):
        return Estimate(None, None, None)
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(samples):
        rows = rng.integers(len(known), size=len(known))
        drawn.append(statistic(predicted[rows], known[rows]))
    if not samples or np.isnan(drawn).all():
        return Estimate(value, None, None)
    low, high = np.nanquantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(low), float(high))


def top_k(predicted: np.ndarray, known: np.ndarray, k: int) -> TopK:
    """The worth of the k networks of highest prediction, ties in the order given; all of them where there are fewer."""
    k = min(k, len(known))
    taken = known[np.argsort(-predicted, kind="stable")[:k]]
    ideal = np.sort(known)[::-1][:k]
    best, mean = float(taken.max()), float(taken.mean())
    return TopK(k, best, mean, float(ideal[0]) - best, float(ideal.mean()) - mean)
