"""What a search is compared with: sampling by cost, strata of MACs, and the deepest networks of budgets."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np
import pytest

from scarlet_models.search.evolution.additive import UNITS, AdditiveCost
from scarlet_models.search.evolution.archive import Archive
from scarlet_models.search.evolution.candidates import Candidates, canonicalise
from scarlet_models.search.evolution.objectives import Costs, read_objectives
from scarlet_models.search.evolution.options import EvolveOptions
from scarlet_models.search.evolution.rivals import LABELS, Side, compare_searches, make_rivals
from scarlet_models.space.space import SearchSpace

SCARLET, MINI = SearchSpace.load("scarlet"), SearchSpace.load("mini")


def rivals(space: SearchSpace, bounds: Mapping[str, tuple[float, float]], random: bool = True) -> dict[str, Side]:
    costs, objectives = Costs(space), read_objectives(["accuracy", "macs"])
    options = EvolveOptions(random=random)
    made = make_rivals(lambda: Archive(objectives, costs, bounds), lambda: Candidates(costs, bounds), options)
    return {rival.name: rival for rival in made}


def test_networks_of_a_wanted_cost_are_sampled_evenly() -> None:
    table = SCARLET.cost_table()
    cost = AdditiveCost(SCARLET, table.macs)
    low, high = 2e8 - table.base.macs, 4e8 - table.base.macs
    drawn = cost.sample_evenly(np.random.default_rng(0), 5000, low, high)
    for row in drawn[:50].tolist():
        SCARLET.validate(row)
    macs, _ = table.sum(drawn)
    rounding = len(SCARLET.layers) * cost.unit / 2
    assert 2e8 - rounding <= macs.min() and macs.max() <= 4e8 + cost.unit + rounding
    assert np.histogram(macs, 10, (2e8, 4e8))[0] == pytest.approx(np.full(10, 500), rel=0.25)


def test_networks_of_one_cost_are_equally_likely() -> None:
    costs = np.array([[0, 1, 2, 0]] * 5, float)  # of mini's layers: 3 choices in those that change the shape, else 4
    cost = AdditiveCost(MINI, costs)
    drawn = cost.sample_evenly(np.random.default_rng(0), 40_000, 1, 1)
    networks, counts = np.unique(drawn[costs[0][drawn].sum(1) == 1], axis=0, return_counts=True)
    expected = [g.choices for g in MINI if costs[0][list(g.choices)].sum() == 1]
    assert sorted(map(tuple, networks.tolist())) == sorted(expected)
    assert counts / counts.sum() == pytest.approx(np.full(len(counts), 1 / len(counts)), abs=0.005)


def test_the_best_network_within_a_budget_is_that_of_all() -> None:
    rng = np.random.default_rng(0)
    costs = rng.integers(0, UNITS, (5, 4)).astype(float)
    costs[:, 0], costs[:, 1] = 0, UNITS  # so that a unit is 1
    values = rng.uniform(0, 1, (5, 4))
    every = np.array(list(itertools.product(*(layer.choices for layer in MINI.layers))))
    price, value = costs[range(5), every].sum(1), values[range(5), every].sum(1)
    budgets = np.array([0, 300, 900, 1600, 5000])
    found = AdditiveCost(MINI, costs / 5, up=True).best_within(values, budgets / 5)
    assert (costs[range(5), found].sum(1) <= budgets).all()
    best = [value[price <= budget].max() for budget in budgets]
    assert values[range(5), found].sum(1) == pytest.approx(best)


@pytest.mark.parametrize("bounds", [{}, {"macs": (-math.inf, 3e8), "params": (-math.inf, 5e6)}])
def test_strata_cover_the_range_of_macs_and_repeat_nothing(bounds: dict[str, tuple[float, float]]) -> None:
    rival = rivals(SCARLET, bounds)["stratified"]
    asked = [rival.ask(20) for _ in range(5)]
    for rows in asked:
        macs = np.sort(rival.candidates.costs.of(rows)["macs"])
        assert (np.diff(macs) < 2.1 * (macs[-1] - macs[0]) / 19).all()  # one a stratum
    rows = np.concatenate(asked)
    assert len(np.unique(rows, axis=0)) == 100
    assert (rival.candidates.excess(rows) == 0).all()
    assert (canonicalise(SCARLET, rows) == rows).all()


def test_strata_of_a_small_space_are_used_up() -> None:
    rival = rivals(MINI, {})["stratified"]
    drawn = np.concatenate([rival.ask(100) for _ in range(9)])
    assert len(np.unique(drawn, axis=0)) == len(drawn) == MINI.distinct


@pytest.mark.parametrize("space", [SCARLET, MINI])
def test_the_rule_takes_the_deepest_network_of_each_budget(space: SearchSpace) -> None:
    rival = rivals(space, {}, random=False)["training_free"]
    rows = rival.ask(10)
    assert 5 < len(rows) <= 20 and not len(rival.ask(10))
    macs, blocks = rival.candidates.costs.of(rows)["macs"], (rows != space.identity).sum(1)
    assert (np.diff(macs) < 0).all() and (np.diff(blocks) <= 0).all()
    assert blocks[0] == len(space.layers)
    assert macs[0] == pytest.approx(rival.candidates.costs.range("macs")[1], rel=0.02)
    drawn = space.sample_array(np.random.default_rng(0), 2000)
    depth, cost = (drawn != space.identity).sum(1), rival.candidates.costs.of(drawn)["macs"]
    rounding = 0 if space.size < 20_000 else 0.03 * np.ptp(rival.candidates.costs.range("macs"))
    for budget, own in zip(macs, blocks, strict=True):
        assert depth[cost < budget - rounding].max(initial=0) <= own


def test_only_what_is_there_is_compared() -> None:
    side = {"evaluations": 20, "hypervolume": [[10, 0.4], [20, 0.5]]}
    columns, rows = compare_searches({**side, "random": None, "training_free": {"evaluations": 3, "hypervolume": []}})
    assert columns == ["networks chosen by", ">scored", ">hypervolume"]
    assert rows == [["the search", "20", "0.5000"], [LABELS["training_free"], "3", "0.0000"]]
    regret = {"evolution": {"best": 0.1, "front": 0.25, "hypervolume": 0.9}, "random": None}
    columns, rows = compare_searches({**side, "random": side, "regret": regret})
    assert len(columns) == 6
    assert [row[3:] for row in rows] == [["0.10", "0.25", "0.900"], ["-", "-", "-"]]
