"""Intervals and tests of the studies, against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from resampling import Interval, Pairs, bca, crossed, holm, once, student
from scipy import stats

NETWORKS = 60


def figures(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two figures of the same networks that agree roughly, with ties."""
    rng = np.random.default_rng(seed)
    known = rng.normal(size=NETWORKS).round(1)
    return (known + rng.normal(size=NETWORKS)).round(1), known


def test_tau_is_scipys_for_the_sample_and_for_a_draw_with_repeated_networks() -> None:
    predicted, known = figures()
    rows = np.random.default_rng(1).integers(NETWORKS, size=NETWORKS)
    weights = np.stack([np.ones(NETWORKS), np.bincount(rows, minlength=NETWORKS)])
    expected = [stats.kendalltau(predicted, known).statistic, stats.kendalltau(predicted[rows], known[rows]).statistic]
    np.testing.assert_allclose(Pairs(predicted, known).tau(weights), expected)


def test_tau_within_groups_is_weighted_by_their_size_and_leaves_small_ones_out() -> None:
    predicted, known = figures()
    groups = np.repeat([1, 2, 3], [30, 25, 5])
    taus = [stats.kendalltau(predicted[groups == n], known[groups == n]).statistic for n in (1, 2)]
    found = Pairs(predicted, known).tau_within(once(NETWORKS), groups, least=20)
    np.testing.assert_allclose(found, np.average(taus, weights=[30, 25]))


def test_concordance_counts_pairs_of_different_networks_and_ties_as_neither() -> None:
    pairs = Pairs(np.array([1.0, 2.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0, 0.0]))
    everyone = np.ones((4, 4), dtype=bool)
    assert pairs.concordance(once(4), everyone)[0] == pytest.approx((2 - 3) / 6)
    # The first network twice: its pairs count twice, it is no pair with itself.
    assert pairs.concordance(np.array([[2.0, 1.0, 1.0, 1.0]]), everyone)[0] == pytest.approx((4 - 4) / 9)


def test_students_interval_by_hand() -> None:
    interval = student([0.208, 0.151, 0.128])
    mean, error = np.mean([0.208, 0.151, 0.128]), np.std([0.208, 0.151, 0.128], ddof=1) / 3**0.5
    half = 4.302653 * error  # t of 2 degrees of freedom
    assert (interval.value, interval.low, interval.high) == pytest.approx((mean, mean - half, mean + half), rel=1e-5)
    assert interval.p == pytest.approx(2 * stats.t.sf(mean / error, 2))
    assert np.isnan(student([0.5]).low)


def test_bca_covers_a_known_tau_about_as_often_as_it_says() -> None:
    rng, covered = np.random.default_rng(0), 0
    tau = 2 / np.pi * np.arcsin(0.6)  # of a normal distribution with correlation 0.6
    for _ in range(100):
        known = rng.normal(size=NETWORKS)
        interval = bca(Pairs(0.6 * known + 0.8 * rng.normal(size=NETWORKS), known).tau, NETWORKS)
        covered += interval.low <= tau <= interval.high
    assert 88 <= covered <= 99


def test_the_crossed_bootstrap_draws_seeds_and_networks() -> None:
    predicted, known = figures()
    tau = Pairs(predicted, known).tau
    alike = crossed([tau] * 3, NETWORKS)
    assert alike.value == pytest.approx(tau(once(NETWORKS))[0])
    assert alike.low < alike.value < alike.high  # by the networks
    constants = [lambda weights, value=value: np.full(len(weights), value) for value in (0.0, 0.5, 1.0)]
    assert crossed(constants, NETWORKS) == Interval(0.5, 0.0, 1.0)  # by the seeds
    assert crossed([tau, *constants], NETWORKS) == crossed([tau, *constants], NETWORKS)


def test_holms_correction_by_hand() -> None:
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.9, 0.6]), [1, 1])


def test_an_interval_is_written_as_tables_show_it() -> None:
    assert f"{Interval(-0.0213, -0.1321, 0.0896):+.3f}" == "-0.021 [-0.132, +0.090]"
    assert f"{Interval(0.5):.2f}" == "0.50"
    assert f"{Interval(float('nan')):.2f}" == "-"
