"""The search's parts: candidates, weighted crowding, NSGA-II by ask and tell, hypervolume, surrogate."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymoo.operators.survival.rank_and_crowding.metrics import get_crowding_function

from scarlet_models import UserError
from scarlet_models.search.evolution.archive import Archive
from scarlet_models.search.evolution.candidates import Candidates, canonicalise
from scarlet_models.search.evolution.hypervolume import Hypervolume, hypervolume_of, reference_ranges
from scarlet_models.search.evolution.nsga import Evolution, nondominated, weighted_crowding
from scarlet_models.search.evolution.objectives import Costs, parse_milliseconds, read_objectives
from scarlet_models.search.evolution.surrogate import Screening, Surrogate
from scarlet_models.search.latency.table import LatencyTable
from scarlet_models.space.space import Genotype, SearchSpace

property_test = settings(max_examples=25, deadline=None, derandomize=True)
spaces = st.sampled_from(SearchSpace.names()).map(SearchSpace.load)
seeds = st.integers(0, 2**32 - 1)


def made_up_accuracy(space: SearchSpace, genotypes: np.ndarray, seed: int = 0) -> np.ndarray:
    worth = np.random.default_rng(seed).uniform(0, 3, (len(space.layers), len(space.choices)))
    return 30 + worth[np.arange(len(space.layers)), genotypes].sum(1)


# Objectives


def test_objectives_have_usual_directions_and_weights() -> None:
    objectives = read_objectives(["accuracy max 0.4", "macs 0.4", "params min", "latency"])
    own = [("accuracy", "max", 0.4), ("macs", "min", 0.4), ("params", "min", 1), ("latency", "min", 1)]
    assert objectives == own
    assert read_objectives(["params", "accuracy"])[0] == ("params", "max", 1)
    with pytest.raises(UserError, match="each objective once"):
        read_objectives(["accuracy", "macs", "macs max"])


@pytest.mark.parametrize(("text", "value"), [("15ms", 15), ("1.5 s", 1500), ("800us", 0.8), (15, 15), ("2.", 2)])
def test_milliseconds(text: str | float, value: float) -> None:
    assert parse_milliseconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["fast", "-1ms", "0ms", "15 min", ""])
def test_bad_milliseconds(text: str) -> None:
    with pytest.raises(UserError, match="--max-latency"):
        parse_milliseconds(text)


# Candidates


@property_test
@given(spaces, seeds)
def test_canonical_form_is_that_of_genotypes(space: SearchSpace, seed: int) -> None:
    genotypes = space.sample_array(np.random.default_rng(seed), 30)
    expected = [Genotype(tuple(row), space).canonical().choices for row in genotypes.tolist()]
    assert canonicalise(space, genotypes).tolist() == [list(choices) for choices in expected]


@property_test
@given(spaces, seeds, st.floats(0.05, 0.6), st.floats(0.05, 0.6))
def test_draws_are_inside_the_limits_and_never_repeated(
    space: SearchSpace, seed: int, macs: float, params: float
) -> None:
    costs = Costs(space)
    bounds = {
        name: (-math.inf, costs.range(name)[0] + share * np.ptp(costs.range(name)))
        for name, share in (("macs", macs), ("params", params))
    }
    candidates, rng = Candidates(costs, bounds), np.random.default_rng(seed)
    drawn = []
    for _ in range(3):
        new = candidates.draw(rng, 7)
        candidates.take(new)
        drawn += new.tolist()
    assert len({tuple(row) for row in drawn}) == len(drawn)
    rows = np.array(drawn)
    assert (canonicalise(space, rows) == rows).all()
    for row in drawn:
        space.validate(row)
    for name, (_, most) in bounds.items():
        assert (costs.of(rows)[name] <= most).all()


def test_a_small_space_is_drawn_to_the_last_network() -> None:
    space, rng = SearchSpace.load("mini"), np.random.default_rng(0)
    candidates = Candidates(Costs(space), {})
    drawn = candidates.draw(rng, 5000)
    assert {tuple(row) for row in drawn.tolist()} == {g.canonical().choices for g in space}
    candidates.take(drawn)
    assert len(candidates.draw(rng, 3)) == 0


def test_limits_that_random_draws_never_meet(tmp_path: Path) -> None:
    space = SearchSpace.load("scarlet")
    blocks = np.full((19, 13), np.nan)
    for layer in space.layers:
        blocks[layer.index, list(layer.choices)] = [float(choice + 1) for choice in layer.choices]
    table = tmp_path / "table.json"
    LatencyTable(space, 0.0, blocks).save(table)
    costs = Costs(space, latency_table=str(table))
    assert costs.range("latency") == (19, 19 * 12 + 13)
    bounds = {"latency": (-math.inf, 40.0), "macs": (3e8, math.inf)}
    drawn = Candidates(costs, bounds).draw(np.random.default_rng(0), 10)
    assert len({tuple(row) for row in drawn.tolist()}) == 10
    assert (costs.of(drawn)["latency"] <= 40).all()
    assert (costs.of(drawn)["macs"] >= 3e8).all()
    with pytest.raises(UserError, match="takes at most 18 ms: by the table they take from 19 to"):
        Candidates(costs, {"latency": (-math.inf, 18.0)})


def test_limits_between_two_networks() -> None:
    space = SearchSpace.load("mini")
    networks = np.array([g.choices for g in space])
    costs = Costs(space)
    macs = costs.of(networks)["macs"]
    least, next_least = np.unique(macs)[:2].tolist()
    with pytest.raises(UserError, match="no known network of space 'mini' meets the limits"):
        Candidates(costs, {"macs": (least + 1, next_least - 1)})


# Weighted crowding


@property_test
@given(seeds, st.integers(3, 40), st.integers(1, 4))
def test_equal_weights_are_pymoos_own_crowding(seed: int, count: int, objectives: int) -> None:
    values = np.random.default_rng(seed).integers(0, 12, (count, objectives)).astype(float)  # with ties
    own = weighted_crowding([0.7] * objectives).do(values)
    theirs = get_crowding_function("cd").do(values)
    assert own == pytest.approx(theirs, rel=1e-12)
    apart = np.unique(theirs.round(9), return_index=True)[1]
    assert (np.argsort(own[apart]) == np.argsort(theirs[apart])).all()


def test_a_heavier_objective_spreads_the_front_along_itself() -> None:
    x = np.array([0.0, 0.1, 0.4, 0.9, 1.0])
    values = np.stack([x, 1 - x**3], axis=1)
    first, second = (weighted_crowding(weights).do(values) for weights in ((1, 1e-9), (1e-9, 1)))
    assert first[1:4] == pytest.approx(x[2:] - x[:-2], abs=1e-6)
    assert second[1:4] == pytest.approx(x[2:] ** 3 - x[:-2] ** 3, abs=1e-6)
    assert np.isinf(first[[0, 4]]).all()


# NSGA-II


@property_test
@given(spaces, seeds, st.booleans(), st.booleans())
def test_what_is_asked_for_is_new_canonical_and_inside(
    space: SearchSpace, seed: int, surrogate: bool, constrained: bool
) -> None:
    costs = Costs(space)
    bounds = {"macs": (-math.inf, costs.range("macs")[0] + 0.4 * np.ptp(costs.range("macs")))}
    bounds |= {"accuracy": (30 + 1.5 * len(space.layers), math.inf)} if constrained else {}
    archive = Archive(read_objectives(["accuracy", "macs"]), costs, bounds)
    evolution = Evolution(
        Candidates(costs, bounds),
        [1, 1],
        6,
        seed=seed,
        constrained=constrained,
        screen=(lambda mating: Screening(mating, archive, 12)) if surrogate else None,
    )
    for generation in range(3):
        asked = evolution.ask()
        assert len(asked) == 6
        evolution.tell(*archive.add(asked, made_up_accuracy(space, asked), generation))
        assert len(evolution.population) == 6
    rows = archive.genotypes
    assert len({tuple(row) for row in rows.tolist()}) == 18
    assert (canonicalise(space, rows) == rows).all()
    assert (costs.of(rows)["macs"] <= bounds["macs"][1]).all()
    for row in rows.tolist():
        space.validate(row)
    assert (archive.violations[archive.front] <= 0).all()


def test_a_search_repeats_itself_and_beats_chance() -> None:
    space = SearchSpace.load("scarlet")
    costs, objectives = Costs(space), read_objectives(["accuracy", "macs"])
    volume = hypervolume_of(objectives, reference_ranges(objectives, costs, {}, 10))

    def search(seed: int) -> Archive:
        archive = Archive(objectives, costs, {})
        evolution = Evolution(Candidates(costs, {}), [1, 1], 20, seed=seed)
        for generation in range(15):
            asked = evolution.ask()
            evolution.tell(*archive.add(asked, made_up_accuracy(space, asked), generation))
        return archive

    first, again, other = search(0), search(0), search(1)
    assert (first.genotypes == again.genotypes).all()
    assert (first.genotypes != other.genotypes).any()
    chance = Archive(objectives, costs, {})
    drawn = space.sample_array(np.random.default_rng(0), 300)
    chance.add(drawn, made_up_accuracy(space, drawn), 0)
    assert volume(first.values) > volume(chance.values) * 1.05


def test_the_end_of_a_space() -> None:
    space = SearchSpace.load("mini")
    costs, objectives = Costs(space), read_objectives(["accuracy", "params min"])
    archive = Archive(objectives, costs, {})
    evolution = Evolution(Candidates(costs, {}), [1, 1], 50)
    while len(asked := evolution.ask()):
        evolution.tell(*archive.add(asked, made_up_accuracy(space, asked), 0))
    assert len(archive) == space.distinct
    networks = canonicalise(space, np.array([g.choices for g in space]))
    values, _ = archive.judge(networks, made_up_accuracy(space, networks))
    best = {tuple(row) for row in networks[nondominated(values)].tolist()}
    assert {tuple(row) for row in archive.genotypes[archive.front].tolist()} == best


# Hypervolume


def test_hypervolume_of_known_fronts() -> None:
    volume = Hypervolume(np.array([0.0, 10.0]), np.array([4.0, 20.0]))
    assert volume(np.array([[0.0, 10.0]])) == pytest.approx(1)
    assert volume(np.array([[2.0, 15.0]])) == pytest.approx(0.25)
    assert volume(np.array([[2.0, 15.0], [3.0, 15.0], [1.0, 17.5]])) == pytest.approx(0.25 + 0.25 * 0.25)
    assert volume(np.array([[-3.0, 5.0]])) == pytest.approx(1)
    assert volume(np.array([[5.0, 11.0]])) == volume(np.empty((0, 2))) == 0


def test_the_reference_is_of_space_and_limits_alone() -> None:
    objectives = read_objectives(["accuracy", "macs", "params"])
    costs = Costs(SearchSpace.load("scarlet"))
    ranges = reference_ranges(objectives, costs, {"macs": (-math.inf, 5e8), "accuracy": (50, math.inf)}, 0.1)
    assert ranges["accuracy"] == {"worst": 50, "best": 100}
    assert ranges["macs"] == {"worst": 5e8, "best": costs.table.smallest.macs}
    assert ranges["params"] == {"worst": costs.table.smallest.params, "best": costs.table.largest.params}


# Surrogate


def test_the_surrogate_learns_sums_over_layers() -> None:
    space = SearchSpace.load("mini")
    networks = space.sample_array(np.random.default_rng(0), 90)
    accuracy = made_up_accuracy(space, networks)
    surrogate = Surrogate(len(space.choices))
    surrogate.fit(networks[:60], accuracy[:60])
    assert np.corrcoef(surrogate.predict(networks[60:]), accuracy[60:])[0, 1] > 0.95


def test_the_surrogate_stays_bounded() -> None:
    """Its kernel is fitted when the archive has doubled, and the newest 2,000 networks predict."""
    space = SearchSpace.load("mini")
    networks = space.sample_array(np.random.default_rng(0), 2100)
    accuracy = made_up_accuracy(space, networks)
    surrogate = Surrogate(len(space.choices))
    surrogate.fit(networks, accuracy)
    assert len(surrogate.known) == 2000
    assert np.abs(surrogate.predict(networks[:100]) - accuracy[:100]).max() < 0.5 * accuracy.std()


def test_gains_are_taken_greedily() -> None:
    """Lazy evaluation picks what recomputing every gain after each choice picks."""
    space = SearchSpace.load("scarlet")
    costs, objectives = Costs(space), read_objectives(["accuracy", "macs", "params"])
    archive, rng = Archive(objectives, costs, {}), np.random.default_rng(0)
    drawn = space.sample_array(rng, 60)
    archive.add(drawn[:20], made_up_accuracy(space, drawn[:20]), 0)
    values, violations = archive.judge(drawn[20:], made_up_accuracy(space, drawn[20:]))
    front = archive.values[archive.front]
    everything = np.concatenate([front, values])
    ideal, nadir = everything.min(0), everything.max(0)
    volume = Hypervolume(ideal, nadir + 0.1 * (nadir - ideal))
    expected: list[int] = []
    for _ in range(8):
        gains = [
            -1.0 if row in expected else volume(np.concatenate([front, values[[row]]])) for row in range(len(values))
        ]
        expected.append(int(np.argmax(gains)))
        front = np.concatenate([front, values[[expected[-1]]]])
    assert Screening(None, archive, 0)._most_gain(values, violations, 8) == expected  # type: ignore[arg-type]  # no mating
