"""The networks beside the picked one: within the limits, random or largest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.tables import invented_table

from scarlet_models.search.evolution.candidates import Candidates
from scarlet_models.search.evolution.objectives import Costs
from scarlet_models.search.pipeline.networks import largest_network, random_network, spread_networks
from scarlet_models.space.space import Genotype, SearchSpace

MINI = SearchSpace.load("mini")


def test_the_largest_network_of_a_small_space_is_exact() -> None:
    limits = {"macs": (0.0, 900_000.0), "params": (0.0, 30_000.0)}
    inside = [cost.macs for genotype in MINI if (cost := genotype.cost()).macs <= 900_000 and cost.params <= 30_000]
    assert largest_network(Candidates(Costs(MINI), limits)).cost().macs == max(inside)


@pytest.mark.parametrize("limit", [250_000_000, 300_000_000, 500_000_000])
def test_the_largest_network_of_a_large_space_is_close_to_the_limit(limit: int) -> None:
    candidates = Candidates(Costs(SearchSpace.load("scarlet")), {"macs": (0.0, limit)})
    found = largest_network(candidates)
    assert 0.9995 * limit < found.cost().macs <= limit
    assert found == largest_network(candidates) == found.canonical()


def test_without_limits_it_is_the_largest_of_all() -> None:
    space = SearchSpace.load("scarlet")
    assert largest_network(Candidates(Costs(space), {})).cost().macs == space.cost_table().largest.macs


def test_a_limit_on_latency_counts(tmp_path: Path) -> None:
    table = invented_table()
    table.save(path := tmp_path / "table.json")
    limit = sum(table.range) / 2
    candidates = Candidates(Costs(MINI, latency_table=str(path)), {"latency": (0.0, limit)})
    for network in (largest_network(candidates), random_network(candidates, 0, Genotype.parse("0,0,0,0,0", MINI))):
        assert candidates.costs.of(np.array([network.choices]))["latency"][0] <= limit


def test_the_random_network_is_another_one_and_the_seeds() -> None:
    candidates = Candidates(Costs(MINI), {"macs": (0.0, 900_000.0)})
    picked = random_network(candidates, 0, Genotype.parse("0,0,0,0,0", MINI))
    assert picked.cost().macs <= 900_000
    assert random_network(candidates, 0, Genotype.parse("0,0,0,0,0", MINI)) == picked
    assert random_network(candidates, 0, picked) != picked


@pytest.mark.parametrize("space", ["mini", "scarlet"])
def test_anchors_are_spread_over_depth_and_macs_within_the_limits(space: str) -> None:
    costs = Costs(SearchSpace.load(space))
    low, high = costs.range("macs")
    limit = (low + high) / 2
    candidates = Candidates(costs, {"macs": (0.0, limit)})
    networks = spread_networks(candidates, 10, 0)
    assert networks == spread_networks(candidates, 10, 0) != spread_networks(candidates, 10, 1)
    assert len(set(networks)) == 10
    macs = np.array([network.cost().macs for network in networks])
    depth = [sum(choice != costs.space.identity for choice in network) for network in networks]
    assert macs.max() <= limit and np.ptp(macs) > 0.6 * (limit - low)
    assert len(set(depth)) >= 4


def test_fewer_networks_than_anchors_are_all_taken() -> None:
    candidates = Candidates(Costs(MINI), {"macs": (0.0, 1.22 * MINI.cost_table().smallest.macs)})
    assert 5 <= len(spread_networks(candidates, 10, 0)) == len(candidates.networks) < 10


def test_anchors_are_found_within_a_narrow_band_of_a_large_space() -> None:
    space = SearchSpace.load("scarlet")
    candidates = Candidates(Costs(space), {"params": (5_000_000.0, 5_000_100.0)})
    networks = spread_networks(candidates, 10, 0)
    assert len(set(networks)) == 10 and networks == spread_networks(candidates, 10, 0)
    assert all(5_000_000 <= network.cost().params <= 5_000_100 for network in networks)
