"""Mutation and crossover stay inside the space; known accuracies are read with care."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scarlet_models import UserError
from scarlet_models.search.evolution.candidates import mutate, two_point_crossover
from scarlet_models.search.scoring.known_accuracies import load_known_accuracies
from scarlet_models.space.space import Genotype, SearchSpace

property_test = settings(max_examples=40, deadline=None, derandomize=True)
spaces = st.sampled_from(SearchSpace.names()).map(SearchSpace.load)
seeds = st.integers(0, 2**32 - 1)


def assert_inside(space: SearchSpace, genotypes: np.ndarray) -> None:
    for row in genotypes.tolist():
        space.validate(row)


@property_test
@given(spaces, seeds, st.floats(0, 1))
def test_mutation_stays_inside_and_leaves_its_input_alone(space: SearchSpace, seed: int, probability: float) -> None:
    rng = np.random.default_rng(seed)
    parents = space.sample_array(rng, 20)
    before = parents.copy()
    assert_inside(space, mutate(space, parents, rng, probability))
    assert (parents == before).all()


def test_mutation_changes_each_layer_as_often_as_asked_and_reaches_every_choice() -> None:
    space, rng = SearchSpace.load("scarlet"), np.random.default_rng(0)
    parents = space.sample_array(rng, 20_000)
    mutated = mutate(space, parents, rng, 0.1)
    assert (mutated != parents).mean(0) == pytest.approx(np.full(19, 0.1), abs=0.01)
    assert (mutate(space, parents, rng, 1.0) != parents).all()
    assert (mutate(space, parents, rng, 0.0) == parents).all()
    for layer in space.layers:
        rows = mutate(space, np.tile(parents[:1], (2000, 1)), rng, 1.0)[:, layer.index]
        assert set(rows.tolist()) == set(layer.choices) - {parents[0, layer.index]}


def test_mutation_keeps_the_only_choice_of_a_layer() -> None:
    space = SearchSpace.load(SearchSpace.load("mini").to_dict() | {"choices": [{"kernel": 3, "expand": 3}, "identity"]})
    assert len(space.layers[0].choices) == 1
    mutated = mutate(space, space.sample_array(np.random.default_rng(0), 50), np.random.default_rng(1), 1.0)
    assert_inside(space, mutated)


@property_test
@given(spaces, seeds)
def test_crossover_shares_out_the_parents_choices(space: SearchSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = space.sample_array(rng, 20), space.sample_array(rng, 20)
    left, right = two_point_crossover(first, second, rng)
    assert_inside(space, left)
    assert_inside(space, right)
    swapped = (left == second) & (right == first)
    kept = (left == first) & (right == second)
    assert (swapped | kept).all()


def test_two_point_crossover_swaps_a_run_of_some_but_not_all_layers() -> None:
    zeros, ones = np.zeros((50_000, 7), int), np.ones((50_000, 7), int)
    child, other = two_point_crossover(zeros, ones, np.random.default_rng(0))
    assert (child + other == 1).all()
    assert set(child.sum(1).tolist()) == set(range(1, 7))
    assert (np.abs(np.diff(child, axis=1, append=child[:, :1])).sum(1) == 2).all()  # one run on the ring
    assert child.mean(0) == pytest.approx(np.full(7, 0.5), abs=0.01)
    single = two_point_crossover(zeros[:, :1], ones[:, :1], np.random.default_rng(0))
    assert (single[0] == 0).all()


def test_variation_is_repeatable() -> None:
    space = SearchSpace.load("scarlet")

    def children(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        first, second = two_point_crossover(space.sample_array(rng, 9), space.sample_array(rng, 9), rng)
        return mutate(space, np.concatenate([first, second]), rng, 0.2)

    assert (children(3) == children(3)).all()
    assert (children(3) != children(4)).any()


# Known accuracies


def test_nas_bench_macro(shared: Path) -> None:
    known_accuracies = load_known_accuracies(
        shared / "data/nas/nasbench_macro_cifar10_6561.json.gz", SearchSpace.load("nas_bench_macro")
    )
    assert len(known_accuracies) == 3969
    assert known_accuracies[Genotype.parse("1,1,1,1,1,2,2,1", "nas_bench_macro")] == pytest.approx(92.30333, abs=1e-4)


def test_csv_and_json_say_the_same(tmp_path: Path) -> None:
    space = SearchSpace.load("mini")
    rows = {"0,1,2,3,0": 71.5, "2,2,1,0,1": 80.0}
    (tmp_path / "a.csv").write_text(
        "name,genotype,accuracy\n" + "".join(f'x,"{text}",{value}\n' for text, value in rows.items())
    )
    (tmp_path / "a.json").write_text(json.dumps({text.replace(",", ""): value for text, value in rows.items()}))
    with gzip.open(tmp_path / "a.json.gz", "wt") as file:
        json.dump({text: {"mean_acc": value} for text, value in rows.items()}, file)
    expected = {Genotype.parse(text, space).canonical(): value for text, value in rows.items()}
    for name in ("a.csv", "a.json", "a.json.gz"):
        assert load_known_accuracies(tmp_path / name, space) == expected


def test_orders_of_identity_are_one_network(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"03131": 60, "00031": 70, "00013": 80}))
    space = SearchSpace.load("mini")
    known_accuracies = load_known_accuracies(tmp_path / "a.json", space)
    assert known_accuracies == {Genotype.parse("0,3,1,1,3", space): 60, Genotype.parse("0,0,0,1,3", space): 75}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "genotype,top1\n", "line 1 lacks the columns genotype and accuracy"),
        ("a.csv", 'genotype,accuracy\n"0,0,0,0,0",70\n"0,0,0",70\n', "line 3: genotype has 3 entries"),
        ("a.csv", 'genotype,accuracy\n"0,0,0,0,0",high\n', "line 2: accuracy 'high' is not a number"),
        ("a.csv", 'genotype,accuracy\n"0,0,0,0,0",nan\n', "line 2: accuracy 'nan' is not a number"),
        ("a.csv", 'genotype,accuracy\n"0,0,0,0,0"\n', "line 2: accuracy None is not a number"),
        ("a.csv", "genotype,accuracy\n0,0,0,0,0,70\n", "line 2: put the genotype in quotes"),
        ("a.csv", "accuracy,genotype\n91\n", "line 2: genotype '' is not a comma-separated list"),
        ("a.csv", "genotype,accuracy\n", "has no accuracies"),
        ("a.json", "{", "cannot read known accuracies"),
        ("a.json", "[1]", "not an object that maps"),
        ("a.json", '{"30000": 5}', "entry '30000': layer 0: identity"),
        ("a.json", '{"00000": {"std": 5}}', "entry '00000': accuracy None"),
        ("a.json.gz", "{}", "cannot read known accuracies"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message) as error:
        load_known_accuracies(tmp_path / name, SearchSpace.load("mini"))
    assert str(tmp_path / name) in str(error.value)
    assert "\n" not in str(error.value)


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        load_known_accuracies(tmp_path / "none.csv", SearchSpace.load("mini"))
