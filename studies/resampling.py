"""Intervals and tests of the studies: Student's over seeds, BCa over networks, a crossed bootstrap over both, Holm.

A statistic here is a function of weights (draws, networks): how often each network is in each draw of a bootstrap.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

SAMPLES = 2000
Statistic = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Interval:
    """An estimate, its 95% interval, and the p-value of "it is 0" where a test gave one."""

    value: float
    low: float = float("nan")
    high: float = float("nan")
    p: float = float("nan")

    def __format__(self, spec: str) -> str:
        """`.3f` or `+.3f`: the value and, where there is one, its interval."""
        if np.isnan(self.value):
            return "-"
        ends = "" if np.isnan(self.low) else f" [{self.low:{spec}}, {self.high:{spec}}]"
        return f"{self.value:{spec}}{ends}"


class Pairs:
    """Two figures of the same networks, compared pair by pair.

    Args:
        predicted: (N,).
        known: (N,).
    """

    def __init__(self, predicted: np.ndarray, known: np.ndarray) -> None:
        first, second = (np.sign(np.subtract.outer(figure, figure)) for figure in (predicted, known))
        self.agree, self.first, self.second = first * second, abs(first), abs(second)
        self.networks = len(known)

    def tau(self, weights: np.ndarray) -> np.ndarray:
        """Kendall's tau-b of each draw; NaN where one side is constant."""
        agree, first, second = (_total(matrix, weights) for matrix in (self.agree, self.first, self.second))
        with np.errstate(invalid="ignore", divide="ignore"):
            return agree / np.sqrt(first * second)

    def concordance(self, weights: np.ndarray, which: np.ndarray) -> np.ndarray:
        """(Concordant - discordant) / all over the pairs of different networks in `which` (N, N)."""
        which = which & ~np.eye(self.networks, dtype=bool)
        return _total(self.agree * which, weights) / _total(which.astype(float), weights)

    def tau_within(self, weights: np.ndarray, groups: np.ndarray, least: int) -> np.ndarray:
        """Mean of tau within groups (N,), weighted by size; groups of fewer than `least` networks are left out."""
        masks = [groups == group for group in np.unique(groups)]
        sizes = np.array([weights[:, mask].sum(1) for mask in masks])
        sizes[sizes < least] = 0
        taus = np.array([np.nan_to_num(self.tau(weights * mask)) for mask in masks])
        with np.errstate(invalid="ignore"):
            return (taus * sizes).sum(0) / sizes.sum(0)


def _total(matrix: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return ((weights @ matrix) * weights).sum(1)


def once(networks: int) -> np.ndarray:
    """Weights of the sample itself: each network once."""
    return np.ones((1, networks))


def student(values: Sequence[float]) -> Interval:
    """Mean over seeds with Student's interval and test against 0; without them for a single seed."""
    if len(values) < 2:
        return Interval(float(np.mean(values)))
    test = stats.ttest_1samp(values, 0)
    low, high = test.confidence_interval(0.95)
    return Interval(float(np.mean(values)), float(low), float(high), float(test.pvalue))


def bca(statistic: Statistic, networks: int) -> Interval:
    """A statistic with the bias-corrected and accelerated bootstrap interval over networks (Efron 1987)."""
    value = float(statistic(once(networks))[0])
    if np.isnan(value):
        return Interval(value)

    def of_rows(rows: np.ndarray, axis: int) -> np.ndarray:
        return statistic(_counts(rows.reshape(-1, rows.shape[-1]), networks)).reshape(rows.shape[:-1])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # no interval then
        found = stats.bootstrap(
            (np.arange(networks),),
            of_rows,
            vectorized=True,
            n_resamples=SAMPLES,
            batch=SAMPLES,
            random_state=np.random.default_rng(0),
        )
    return Interval(value, *map(float, found.confidence_interval))


def crossed(statistics: Sequence[Statistic], networks: int) -> Interval:
    """Mean of a statistic of each seed; percentile interval of a bootstrap that draws seeds and networks."""
    rng = np.random.default_rng(0)
    weights = _counts(rng.integers(networks, size=(SAMPLES, networks)), networks)
    drawn = np.array([statistic(weights) for statistic in statistics])
    seeds = rng.integers(len(statistics), size=(len(statistics), SAMPLES))
    low, high = np.quantile(np.take_along_axis(drawn, seeds, 0).mean(0), [0.025, 0.975])
    value = np.mean([statistic(once(networks))[0] for statistic in statistics])
    return Interval(float(value), float(low), float(high))


def _counts(rows: np.ndarray, networks: int) -> np.ndarray:
    """(draws, networks) weights of drawn rows (draws, any)."""
    flat = rows + networks * np.arange(len(rows))[:, None]
    return np.bincount(flat.ravel(), minlength=len(rows) * networks).reshape(len(rows), networks).astype(float)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's adjusted p-values of a family of tests (Holm 1979)."""
    p = np.asarray(p_values, float)
    order = np.argsort(p)
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(steps, 1)
    return adjusted


def p_value(value: float) -> str:
    """As tables show it."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def markdown(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table under its caption."""
    lines = [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]
    return "\n".join([f"{caption}:", "", *lines, ""])
