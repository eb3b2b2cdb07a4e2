"""Spaces and genotypes, and the command that describes a space."""

import json
from typing import Any

import numpy as np
import pytest
from helpers.spaces import seeds, spaces
from hypothesis import given, settings

import scarlet_models
from scarlet_models import UserError
from scarlet_models.models import GENOTYPES
from scarlet_models.search import cli
from scarlet_models.space.sampling import enumerate_genotypes
from scarlet_models.space.space import Genotype, SearchSpace


def test_scarlet_space_is_the_published_one() -> None:
    space = SearchSpace.load("scarlet")
    assert space.size == 12**6 * 13**13
    assert [layer.index for layer in space.layers if not layer.keeps_shape] == [0, 2, 6, 10, 14, 18]
    assert [str(space.choices[i]) for i in (0, 4, 11, 12)] == ["e3 k3", "e6 k5", "e6 k7 se", "identity"]
    assert SearchSpace.load("scarlet_no_se").size == 6**6 * 7**13


@pytest.mark.parametrize("name", SearchSpace.names())
def test_a_space_survives_json(name: str) -> None:
    space = SearchSpace.load(name)
    assert space.name == name
    assert SearchSpace.load(json.loads(json.dumps(space.to_dict()))) == space


@pytest.mark.parametrize("name", ["mini", "nas_bench_macro"])
def test_size_and_distinct_count_what_iteration_finds(name: str) -> None:
    space = SearchSpace.load(name)
    genotypes = list(space)
    assert len(set(genotypes)) == space.size
    assert len({genotype.canonical() for genotype in genotypes}) == space.distinct
    assert [g.choices for g in genotypes] == [tuple(row) for row in enumerate_genotypes(space).tolist()]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(spaces(), seeds)
def test_canonical_keeps_the_network(space: SearchSpace, seed: int) -> None:
    genotype = space.sample(np.random.default_rng(seed))
    canonical = space.validate(genotype.canonical())
    assert canonical.canonical() == canonical
    assert canonical.block_strings() == genotype.block_strings()
    assert canonical.cost() == genotype.cost()


# Genotypes


@settings(max_examples=25, deadline=None, derandomize=True)
@given(spaces(), seeds)
def test_genotypes_round_trip(space: SearchSpace, seed: int) -> None:
    genotype = space.sample(np.random.default_rng(seed))
    assert Genotype.parse(str(genotype), space) == Genotype.parse(list(genotype), space) == genotype
    assert space.validate(np.array(list(genotype))) == genotype


@pytest.mark.parametrize(
    ("genotype", "message"),
    [
        ("1,2,3", "3 entries, space 'scarlet' has 19 layers"),
        (GENOTYPES["scarlet_a"].replace("11", "13"), "layer 18: choice 13 is not an index in 0..12"),
        (GENOTYPES["scarlet_a"].replace("2", "-1", 1), "layer 0: choice -1"),
        ("12" + GENOTYPES["scarlet_a"][1:], "layer 0: identity (choice 12) cannot stand where the shape changes"),
        ("a,b", "not a comma-separated list"),
        ("", "not a comma-separated list"),
        ([1.0] * 19, "layer 0: choice 1.0"),
        ([True] * 19, "layer 0: choice True"),
        (5, "genotype 5 is not a comma-separated list"),
        (None, "genotype None is not a comma-separated list"),
    ],
)
def test_bad_genotypes_are_refused(genotype: object, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("(", r"\(").replace(")", r"\)")) as error:
        Genotype.parse(genotype)  # type: ignore[arg-type]  # wrong types are the point
    assert "\n" not in str(error.value)


def test_a_space_takes_genotypes_as_text() -> None:
    space = SearchSpace.load("mini")
    assert space.cost("2,3,1,0,3") == space.cost([2, 3, 1, 0, 3]) and space.validate("2,3,1,0,3").space is space


def test_representations_are_one_short_line() -> None:
    genotype = Genotype.parse("2,3,1,0,3", "mini")
    assert repr(genotype) == "Genotype('2,3,1,0,3', space='mini')"
    assert repr(genotype.space) == "SearchSpace('mini': 5 layers, 4 choices, 576 genotypes, 32 px, 10 classes)"
    assert "13 choices, 9.044e+20 genotypes, 224 px" in repr(SearchSpace.load("scarlet"))


# The command


def space_facts(*arguments: str, capsys: pytest.CaptureFixture[str], status: int = 0) -> dict[str, Any]:
    assert cli.main(["space", *arguments, "--json"]) == status
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    return facts


def test_the_command_describes_the_scarlet_space(capsys: pytest.CaptureFixture[str]) -> None:
    facts = space_facts("--max-macs", "300M", "--draws", "5000", capsys=capsys)
    assert facts["size"]["as_powers"] == "12^6 * 13^13"
    assert facts["size"]["genotypes"] == 12**6 * 13**13
    assert [len(row["choices"]) for row in facts["layers"]].count(12) == 6
    assert [row["size"] for row in facts["layers"]][::6] == [56, 14, 14, 7]
    networks = {row["network"]: row for row in facts["networks"]}
    assert list(networks) == ["smallest", "median", "largest", "scarlet_a", "scarlet_b", "scarlet_c"]
    table = SearchSpace.load("scarlet").cost_table()
    assert networks["smallest"]["macs"] == table.smallest.macs
    assert networks["largest"]["macs"] == table.largest.macs
    assert networks["largest"]["macs_percentile"] == 100
    assert networks["median"]["macs_percentile"] == pytest.approx(50, abs=1)
    assert networks["scarlet_a"]["macs"] == 365_307_392
    order = [networks[name]["macs_percentile"] for name in ("scarlet_c", "scarlet_b", "scarlet_a")]
    assert order == sorted(order)
    limits = facts["limits"]
    assert limits["met"] and limits["example"]["macs"] <= 300_000_000
    assert 0 < limits["share_of_draws"] < 0.1
    for row in facts["networks"] + [limits["example"]]:
        assert Genotype.parse(row["genotype"]).cost().macs == row["macs"]


def test_the_command_counts_at_the_given_size(capsys: pytest.CaptureFixture[str]) -> None:
    facts = space_facts("mini", "--input-size", "64", "--num-classes", "7", "--draws", "50", capsys=capsys)
    largest = facts["networks"][2]
    cost = Genotype.parse(largest["genotype"], "mini").cost(64, 7)
    assert (largest["macs"], largest["params"]) == (cost.macs, cost.params)
    assert facts["limits"] is None


def test_the_command_says_what_cannot_be_met(capsys: pytest.CaptureFixture[str]) -> None:
    limits = space_facts("mini", "--max-macs", "1k", "--draws", "10", capsys=capsys, status=2)["limits"]
    assert not limits["met"]
    assert "its macs go from 415,232 to 1,331,072" in limits["why"]
    assert cli.main(["space", "mini", "--max-macs", "1k", "--draws", "10"]) == 2
    said = capsys.readouterr()
    assert "468 distinct networks" in said.out
    assert said.err == f"scarlet-search space: {limits['why']}\n"


def test_the_command_prints_the_same_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["space", "--min-params", "6M"]) == 0
    text = capsys.readouterr().out
    for part in (
        "12^6 * 13^13 = 9.044e+20 genotypes",
        "12 identity",
        "365,307,392",
        "min params 6,000,000: can be met",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no search space 'nowhere'"),
        (["--max-macs", "lots"], "--max-macs: 'lots' is not a count"),
        (["--draws", "0"], "--draws: 0 is below 1"),
        (["--input-size", "-1"], "--input-size: -1 is below 0"),
    ],
)
def test_the_command_refuses_mistakes(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["space", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_public_names() -> None:
    for name in ("SearchSpace", "Genotype", "Choice", "Cost", "UserError"):
        assert hasattr(scarlet_models, name)
