"""Spaces, genotypes and their exact costs."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

import scarlet_models
from scarlet_models import Genotype, SearchSpace, UserError
from scarlet_models.models import GENOTYPES
from scarlet_models.search import cli
from scarlet_models.space.sampling import Limits, enumerate_genotypes
from scarlet_models.space.space import KERNELS
from scarlet_models.units import parse_count

seeds = st.integers(0, 2**32 - 1)
multiples_of_8 = st.integers(1, 6).map(lambda n: 8 * n)
blocks = st.fixed_dictionaries(
    {"kernel": st.sampled_from(KERNELS), "expand": st.integers(2, 6), "se": st.sampled_from([0, 0.1, 0.25, 1 / 3, 1])}
)


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    """Small spaces of all kinds that a user may write."""
    act = draw(st.sampled_from(["relu", "relu6", "hard_swish", "silu"]))
    stages = st.fixed_dictionaries(
        {"channels": multiples_of_8, "depth": st.integers(1, 3), "stride": st.sampled_from([1, 2])}
    )
    last_stages = stages.map(lambda stage: {**stage, "stride": 2})  # so that some layer changes the shape
    choices: list[object] = draw(
        st.lists(blocks, min_size=1, max_size=3, unique_by=lambda block: tuple(sorted(block.items())))
    )
    if draw(st.booleans()):
        choices.insert(draw(st.integers(0, len(choices))), "identity")
    return SearchSpace.load(
        {
            "name": "drawn",
            "stem": {
                "channels": draw(multiples_of_8),
                "stride": draw(st.sampled_from([1, 2])),
                "act": act,
                "separable": draw(st.none() | multiples_of_8),
            },
            "stages": [*draw(st.lists(stages, max_size=2)), draw(last_stages)],
            "choices": choices,
            "act": draw(st.sampled_from(["relu", "hard_swish"])),
            "head": {"channels": draw(multiples_of_8), "act": act},
            "identity_at_reduction": draw(st.sampled_from(["absent", "project"])),
            "input_size": draw(st.integers(17, 40)),
            "num_classes": draw(st.integers(1, 9)),
        }
    )


def counted_macs(model: torch.nn.Module, size: int) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, 3, size, size))
    return counter.get_total_flops() // 2


def assert_costs_equal_the_model(genotype: Genotype, size: int) -> None:
    model = timm.create_model("scarlet_net", genotype=str(genotype), space=genotype.space)
    cost = genotype.cost(size)
    assert cost.params == sum(p.numel() for p in model.parameters())
    assert cost.macs == counted_macs(model, size)


# Shape and size


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


# Costs


@pytest.mark.parametrize(
    ("name", "macs", "params"),
    [("scarlet_a", 365_307_392, 6_707_720), ("scarlet_b", 326.9e6, 6_531_556), ("scarlet_c", 280.1e6, 6_073_684)],
)
def test_costs_of_the_released_networks(name: str, macs: float, params: int) -> None:
    cost = Genotype.parse(GENOTYPES[name]).cost()
    assert cost.params == params
    assert cost.macs == pytest.approx(macs, abs=0 if isinstance(macs, int) else 0.05e6)


@pytest.mark.parametrize("name", SearchSpace.names())
def test_costs_equal_the_built_model(name: str) -> None:
    rng = np.random.default_rng(0)
    space = SearchSpace.load(name)
    for size in (32, 65):
        assert_costs_equal_the_model(space.sample(rng), size)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(spaces(), seeds)
def test_costs_equal_the_built_model_of_any_space(space: SearchSpace, seed: int) -> None:
    assert_costs_equal_the_model(space.sample(np.random.default_rng(seed)), space.input_size)


def test_classifier_and_input_size_count() -> None:
    genotype = Genotype.parse(GENOTYPES["scarlet_a"])
    thousand, ten = genotype.cost(), genotype.cost(num_classes=10)
    assert thousand.params - ten.params == 990 * 1281
    assert thousand.macs - ten.macs == 990 * 1280
    assert genotype.cost(num_classes=0).params == thousand.params - 1000 * 1281
    assert genotype.cost(64).macs < thousand.macs
    assert genotype.cost(0) == thousand
    for negative in ((-5, None), (224, -1)):
        with pytest.raises(UserError, match="neither can be negative"):
            genotype.cost(*negative)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(spaces(), seeds)
def test_costs_of_many_are_those_of_each(space: SearchSpace, seed: int) -> None:
    genotypes = space.sample_array(np.random.default_rng(seed), 9)
    macs, params = space.costs(genotypes)
    assert macs.dtype == params.dtype == np.int64
    for row, *pair in zip(genotypes, macs.tolist(), params.tolist(), strict=True):
        cost = space.cost(row.tolist())
        assert [cost.macs, cost.params] == pair
    table = space.cost_table()
    assert table.smallest.macs <= macs.min() <= macs.max() <= table.largest.macs
    assert table.smallest.params <= params.min() <= params.max() <= table.largest.params


def test_costs_in_chunks_keep_the_order() -> None:
    space = SearchSpace.load("mini")
    genotypes = np.tile(enumerate_genotypes(space), (40, 1))
    macs, params = space.costs(genotypes)
    once_macs, once_params = space.costs(enumerate_genotypes(space))
    assert (macs == np.tile(once_macs, 40)).all()
    assert (params == np.tile(once_params, 40)).all()
    assert [len(column) for column in space.costs(genotypes[:0])] == [0, 0]


def test_costs_equal_nas_bench_macros_table(shared: Path) -> None:
    with gzip.open(shared / "data/nas/nasbench_macro_cifar10_6561.json.gz") as file:
        rows = json.load(file)
    space = SearchSpace.load("nas_bench_macro")
    genotypes = np.array([[int(choice) for choice in name] for name in rows])
    macs, params = space.costs(genotypes)
    assert len(rows) == space.size == 6561
    assert macs.tolist() == [row["flops"] for row in rows.values()]
    assert params.tolist() == [row["params"] for row in rows.values()]
    canonical = {space.validate(row.tolist()).canonical() for row in genotypes}
    assert len(canonical) == space.distinct == 3969
    for row, name in zip(genotypes, rows, strict=True):  # the table itself gives both orders the same accuracy
        twin = "".join(map(str, space.validate(row.tolist()).canonical()))
        assert rows[name]["mean_acc"] == rows[twin]["mean_acc"]


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


# Files of the user's own

GOOD = {
    "name": "own",
    "stem": {"channels": 16, "stride": 2, "act": "relu6"},
    "stages": [{"channels": 16, "depth": 2, "stride": 1}, {"channels": 24, "depth": 1, "stride": 2}],
    "choices": [{"kernel": 3, "expand": 3}, "identity"],
    "act": "relu",
    "head": {"channels": 64, "act": "relu6"},
}


def test_a_file_of_the_users_own(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    space = SearchSpace.load(path)
    assert space == SearchSpace.load(GOOD)
    assert [layer.choices for layer in space.layers] == [(0, 1), (0, 1), (0,)]
    assert (space.input_size, space.num_classes) == (224, 1000)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("kernel: 5", "kernel: 4", 7, "choices.1.kernel: 4 is not one of 3, 5, 7"),
        ("kernel: 5", "kernel: 3.0", 7, "choices.1.kernel: 3.0 is not one of"),
        ("kernel: 5", "kernels: 5", 7, "choices.1.kernels: unknown key; known are kernel, expand, se"),
        ("kernel: 5, ", "", 7, "choices.1: key 'kernel' is missing"),
        ("expand: 6", "expand: 1", 7, "choices.1.expand: must be 2 or more"),
        ("expand: 6", "expand: 3, se: 2", 7, "choices.1.se: 2 is not a ratio"),
        ("expand: 6", "expand: 3, se: 0.001", 7, "choices.1.se: 0.001 of layer 0's 48 channels rounds to none"),
        ("kernel: 5, expand: 6", "kernel: 3, expand: 3", 7, "choices.1: the same choice stands at 0"),
        ("channels: 24", "channels: 20", 4, "stages.1.channels: 20 is not a multiple of 8"),
        ("depth: 1", "depth: -1", 4, "stages.1.depth: -1 is not a positive whole number"),
        ("depth: 1", "depth: true", 4, "stages.1.depth: True is not"),
        ("stride: 1}", "stride: 3}", 3, "stages.0.stride: 3 is not one of 1, 2"),
        ("\nact: relu\n", "\nact: gelu\n", 9, "act: 'gelu' is not one of relu"),
        ("\nact: relu\n", "\nact: [relu]\n", 9, "act: ['relu'] is not one of"),
        ("\nact: relu\n", "\nact: relu\nact: relu\n", 10, "act: stands at line 9 already"),
        ("\nact: relu\n", "\n", 1, "key 'act' is missing"),
        ("64, act: relu6", "64, act: relu", 10, "head.act: must be the stem's (relu6)"),
        ("name: own", "name: 7", 1, "name: 7 is not a name"),
        ("name: own", "name: own\nidentity_at_reduction: gone", 2, "identity_at_reduction: 'gone' is neither"),
        ("name: own", "name: own\ninput_size: 0", 2, "input_size: 0 is not a positive"),
        ("name: own", "name: [own", 2, "not valid YAML"),
    ],
)
def test_a_mistake_in_a_file_is_named_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, message: str
) -> None:
    text = (
        "name: own\n"
        "stages:\n"
        "  - {channels: 16, depth: 2, stride: 1}\n"
        "  - {channels: 24, depth: 1, stride: 2}\n"
        "choices:\n"
        "  - {kernel: 3, expand: 3}\n"
        "  - {kernel: 5, expand: 6}\n"
        "  - identity\n"
        "act: relu\n"
        "head: {channels: 64, act: relu6}\n"
        "stem: {channels: 16, stride: 2, act: relu6}\n"
    )
    path = tmp_path / "own.yaml"
    path.write_text(text)
    SearchSpace.load(path)
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(UserError) as error:
        SearchSpace.load(path)
    assert str(error.value).startswith(f"{path}:{line}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": []}, "space: stages: must be a list"),
        ({"choices": ["identity"]}, "no choice but identity"),
        ({"stages": [{"channels": 16, "depth": 2, "stride": 1}]}, "then no block is left"),
        ({"stem": "big"}, "stem: 'big' is not a mapping"),
    ],
)
def test_a_mistake_in_a_mapping(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SearchSpace.load(GOOD | change)


def test_files_that_are_no_spaces(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no search space 'nowhere'.*mini, nas_bench_macro, scarlet, scarlet_no_se"):
        SearchSpace.load("nowhere")
    for other in (tmp_path, 5, None):
        with pytest.raises(UserError, match="no search space"):
            SearchSpace.load(other)  # type: ignore[arg-type]  # wrong types are the point
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(UserError, match=r"list.yaml:1: a search space is a mapping"):
        SearchSpace.load(tmp_path / "list.yaml")
    (tmp_path / "empty.yaml").write_text("")
    with pytest.raises(UserError, match=r"empty.yaml:1: a search space is a mapping"):
        SearchSpace.load(tmp_path / "empty.yaml")
    (tmp_path / "image.yaml").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(UserError, match="not UTF-8"):
        SearchSpace.load(tmp_path / "image.yaml")


# Sampling


def test_sampling_is_uniform_and_repeatable() -> None:
    space = SearchSpace.load("mini")
    draws = space.sample_array(np.random.default_rng(0), 40_000)
    for layer in space.layers:
        values, counts = np.unique(draws[:, layer.index], return_counts=True)
        assert values.tolist() == list(layer.choices)
        assert counts == pytest.approx(40_000 / len(values), rel=0.05)
    assert space.sample(np.random.default_rng(5)) == space.sample(np.random.default_rng(5))


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


# The command


def space_facts(*arguments: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert cli.main(["space", *arguments, "--json"]) == 0
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
    limits = space_facts("mini", "--max-macs", "1k", "--draws", "10", capsys=capsys)["limits"]
    assert not limits["met"]
    assert "its macs go from 415,232 to 1,331,072" in limits["why"]


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


# Numbers for people


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("300M", 300_000_000),
        ("1.5g", 1_500_000_000),
        ("6,707,720", 6_707_720),
        ("2e6", 2_000_000),
        (7, 7),
        (".5k", 500),
    ],
)
def test_counts_are_read(text: str | int, value: int) -> None:
    assert parse_count(text) == value


@pytest.mark.parametrize("text", ["", "many", "-3", "0.5", "3MM", "1.2.3M", "nan"])
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is not a count"):
        parse_count(text)


def test_public_names() -> None:
    for name in ("SearchSpace", "Genotype", "Choice", "Cost", "UserError"):
        assert hasattr(scarlet_models, name)
