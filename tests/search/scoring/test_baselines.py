"""Label-free predictors, and what a supernet adds to them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from scarlet_models.search.scoring.baselines import SUPERNET, Comparison, label_free
from scarlet_models.search.scoring.ranking import ResampledTau, bootstrap, equal_bands, estimate, kendall
from scarlet_models.space.space import Genotype, SearchSpace

RANKINGS = Path(__file__).parents[3] / "docs/results/stabilizer/rankings.csv"


def random_values(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    known = rng.standard_normal(count).round(2)
    return (known + rng.standard_normal(count)).round(1), known


def test_all_resamples_at_once_are_those_of_the_plain_bootstrap() -> None:
    predicted, known = random_values(700)  # more than one block of rows, with ties on both sides
    assert ResampledTau(known, 0, 0)(predicted) == pytest.approx(kendall(predicted, known))
    predicted, known = predicted[:61], known[:61]
    expected, found = bootstrap(kendall, predicted, known, 40, 3), estimate(ResampledTau(known, 40, 3)(predicted))
    assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))
    assert estimate(ResampledTau(known[:9], 40, 3)(predicted[:9])).low is None
    assert estimate(ResampledTau(known, 40, 3)(np.ones(61))).value is None


def test_within_groups_only_their_pairs_count() -> None:
    predicted, known = random_values(60)
    groups = np.random.default_rng(1).integers(4, size=60)
    pairs = [(i, j) for i in range(60) for j in range(i) if groups[i] == groups[j]]
    signs = np.array([(np.sign(predicted[i] - predicted[j]), np.sign(known[i] - known[j])) for i, j in pairs])
    expected = signs.prod(1).sum() / np.sqrt((signs != 0).sum(0).prod())
    assert ResampledTau(known, 0, 0, groups)(predicted)[0] == pytest.approx(expected)


def test_bands_hold_as_many_networks_each_and_equal_values_together() -> None:
    assert np.bincount(equal_bands(np.arange(100.0), 25)).tolist() == [25, 25, 25, 25]
    assert len(np.unique(equal_bands(np.ones(100), 25))) == 1
    assert len(np.unique(equal_bands(np.arange(7.0), 25))) == 1


def test_label_free_predictors_are_counted_from_genotypes() -> None:
    space = SearchSpace.load("mini")
    genotypes = [space.sample(np.random.default_rng(seed)).canonical() for seed in range(40)]
    single, combined = label_free(genotypes)
    assert single["MACs"].tolist() == [genotype.cost().macs for genotype in genotypes]
    assert single["blocks"].tolist() == [sum(choice != 3 for choice in genotype) for genotype in genotypes]
    by_both = sorted(range(40), key=lambda i: (single["blocks"][i], single["MACs"][i]))
    assert (np.diff(combined["blocks, then MACs"][by_both]) >= 0).all()


def compare(predicted: np.ndarray, genotypes: list[Genotype], known: np.ndarray, samples: int = 200) -> Comparison:
    return Comparison(genotypes, known, {SUPERNET: predicted}, samples, 0)


def test_a_supernet_is_judged_by_the_best_label_free_predictor() -> None:
    space, rng = SearchSpace.load("mini"), np.random.default_rng(0)
    genotypes = sorted({space.sample(rng).canonical() for _ in range(150)}, key=lambda genotype: genotype.choices)
    known = rng.standard_normal(len(genotypes))
    better = compare(known + 0.1 * rng.standard_normal(len(known)), genotypes, known)
    assert all("ranks better than" in sentence for sentence in better.verdict())
    worse = compare(rng.standard_normal(len(known)), genotypes, label_free(genotypes)[0]["MACs"])
    assert worse.best == "MACs" and worse["MACs"].difference.value is None
    assert worse.verdict()[0].startswith("Over all pairs, the supernet adds nothing to MACs here: it ranks worse, Δ -")
    equal = compare(rng.standard_normal(len(known)), genotypes, known)
    assert "no difference between the supernet and " in equal.verdict()[0]
    few = compare(known[:5], genotypes[:5], known[:5])
    assert few.verdict() == ["Too few networks to say whether the supernet adds anything to label-free predictors."]


def test_nas_bench_macro_is_ranked_by_counting_blocks() -> None:
    """The figures that the pages give for the shipped supernet's 500 networks."""
    with RANKINGS.open(newline="") as file:
        wanted = ("identity", "1", "recalibrated")
        rows = [r for r in csv.DictReader(file) if (r["variant"], r["seed"], r["batch_norm"]) == wanted]
    genotypes = [Genotype.parse(row["genotype"], "nas_bench_macro") for row in rows]
    known, predicted = (np.array([float(row[key]) for row in rows]) for key in ("known", "predicted"))
    comparison = compare(predicted, genotypes, known, samples=0)
    assert len(rows) == 500
    taus = {predictor.name: predictor.tau.value for predictor in comparison.predictors}
    assert taus[SUPERNET] == pytest.approx(0.690, abs=5e-4)
    assert taus["blocks"] == pytest.approx(0.703, abs=5e-4)
    assert taus["blocks at reductions, then MACs"] == pytest.approx(0.722, abs=5e-4)
    assert comparison.best == "blocks at reductions, then MACs"
