"""Random genotypes: uniform, repeatable, and within limits on their cost."""

import numpy as np
import pytest
from helpers.spaces import seeds, spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from scarlet_models import UserError
from scarlet_models.space.sampling import Limits, enumerate_genotypes
from scarlet_models.space.space import SearchSpace


def test_sampling_is_uniform_and_repeatable() -> None:
    space = SearchSpace.load("mini")
    draws = space.sample_array(np.random.default_rng(0), 40_000)
    for layer in space.layers:
        values, counts = np.unique(draws[:, layer.index], return_counts=True)
        assert values.tolist() == list(layer.choices)
        assert counts == pytest.approx(40_000 / len(values), rel=0.05)


def test_a_seed_gives_one_genotype_and_a_generator_many() -> None:
    space, rng = SearchSpace.load("scarlet"), np.random.default_rng(5)
    assert space.sample(5) == space.sample(5) == space.sample(rng) != space.sample(rng)
    assert space.sample(5) != space.sample(6)
    assert (space.sample_array(5, 3) == space.sample_array(np.random.default_rng(5), 3)).all()
    assert space.sample(5, max_macs=300_000_000) == space.sample(np.random.default_rng(5), max_macs=300_000_000)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(spaces(), st.data(), seeds)
def test_limits_are_met_exactly_where_a_network_meets_them(space: SearchSpace, data: st.DataObject, seed: int) -> None:
    table = space.cost_table()
    bounds = {
        f"{side}_{kind}": data.draw(
            st.none() | st.integers(getattr(table.smallest, kind), getattr(table.largest, kind))
        )
        for side in ("min", "max")
        for kind in ("macs", "params")
    }
    costs = np.stack(space.costs(enumerate_genotypes(space)), axis=1)
    possible = bool((Limits(**bounds).excess(costs) == 0).any())
    rng = np.random.default_rng(seed)
    if not possible:
        with pytest.raises(UserError):
            space.sample(rng, **bounds)
        return
    cost = space.sample(rng, **bounds).cost()
    assert Limits(**bounds).excess(np.array([cost.macs, cost.params])) == 0


@pytest.mark.parametrize(
    "limits",
    [
        Limits(max_macs=300_000_000),
        Limits(max_macs=130_000_000),  # none of 2,048 random draws is so small
        Limits(min_macs=530_000_000),
        Limits(min_params=8_500_000),
        Limits(min_macs=500_000_000, max_macs=500_010_000),
        Limits(max_macs=200_000_000, min_params=6_500_000),  # near the edge of what can be had together
        Limits(min_macs=290_000_000, max_macs=300_000_000, min_params=7_000_000, max_params=7_100_000),
    ],
    ids=str,
)
def test_limits_in_the_scarlet_space(limits: Limits) -> None:
    space, rng = SearchSpace.load("scarlet"), np.random.default_rng(0)
    genotypes = [space.sample(rng, **vars(limits)) for _ in range(3)]
    assert len(set(genotypes)) == 3
    for genotype in genotypes:
        cost = space.validate(genotype).cost()
        assert limits.excess(np.array([cost.macs, cost.params])) == 0


def test_the_extremes_of_the_scarlet_space_can_be_had() -> None:
    space, rng = SearchSpace.load("scarlet"), np.random.default_rng(0)
    table = space.cost_table()
    assert space.sample(rng, max_macs=table.smallest.macs).cost().macs == table.smallest.macs
    assert space.sample(rng, min_params=table.largest.params).cost().params == table.largest.params


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_macs": 100_000_000}, "its macs go from 108,869,888 to 561,340,928"),
        ({"min_params": 10_000_000}, "its params go from 2,158,000 to 9,038,096"),
        ({"min_macs": 300_000_000, "max_macs": 200_000_000}, "min macs 300,000,000 is above max macs 200,000,000"),
        ({"max_macs": 170_000_000, "min_params": 6_500_000}, "each can be met, not both together"),
        ({"min_macs": 365_307_393, "max_macs": 365_307_393}, "found no network .* nearest is 365,"),  # MACs are even
    ],
)
def test_limits_that_cannot_be_met_are_reported(limits: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        SearchSpace.load("scarlet").sample(np.random.default_rng(0), **limits)
    assert "\n" not in str(error.value)


def test_limits_hold_at_the_given_input_size() -> None:
    space = SearchSpace.load("scarlet")
    genotype = space.sample(np.random.default_rng(0), max_macs=25_000_000, input_size=64, num_classes=10)
    assert genotype.cost(64, 10).macs <= 25_000_000 < genotype.cost().macs
