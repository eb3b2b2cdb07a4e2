"""Exact costs: equal to the built model's and to NAS-Bench-Macro's table."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from helpers.spaces import seeds, spaces
from hypothesis import given, settings
from torch.utils.flop_counter import FlopCounterMode

from scarlet_models import UserError
from scarlet_models.inspection.counting import count, count_with_thop
from scarlet_models.models import GENOTYPES
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.sampling import enumerate_genotypes
from scarlet_models.space.space import Genotype, SearchSpace


def counted_macs(model: torch.nn.Module, size: int) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, 3, size, size))
    return counter.get_total_flops() // 2


def assert_costs_equal_the_model(genotype: Genotype, size: int) -> None:
    model = timm.create_model("scarlet_net", genotype=str(genotype), space=genotype.space)
    cost = genotype.cost(size)
    assert cost.params == sum(p.numel() for p in model.parameters())
    assert cost.macs == counted_macs(model, size)


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


@pytest.mark.parametrize("name", SearchSpace.names())
def test_the_cost_of_every_choice_is_what_torch_measures(name: str) -> None:
    """On meta tensors, block by block: the table's formulas are faster, and equal."""
    space = SearchSpace.load(name)
    with torch.device("meta"):
        net = Supernet(space).eval()
    table, sizes = space.cost_table(), space.map_sizes(space.input_size)
    for layer, size in zip(space.layers, sizes, strict=False):
        features = torch.empty(1, layer.in_channels, size, size, device="meta")
        for choice in layer.choices:
            if not space.has_block(layer, choice):
                assert table.macs[layer.index, choice] == table.params[layer.index, choice] == 0
                continue
            block = net.choice(layer.index, choice)
            with FlopCounterMode(display=False) as counter:
                block(features)
            assert counter.get_total_flops() // 2 == table.macs[layer.index, choice]
            assert sum(p.numel() for p in block.parameters()) == table.params[layer.index, choice]


@pytest.mark.slow
@pytest.mark.parametrize("name", SearchSpace.names())
def test_costs_of_two_hundred_networks_equal_torch_s_and_thop_s_counts(name: str) -> None:
    space, rng = SearchSpace.load(name), np.random.default_rng(0)
    for _ in range(200):
        genotype = space.sample(rng)
        with torch.device("meta"):
            model = timm.create_model("scarlet_net", genotype=genotype)
        assert count(model, 64) == count_with_thop(model, 64) == genotype.cost(64)


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
    with pytest.raises(UserError, match="the most are 4096 and 1000000"):
        genotype.cost(10**9)


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
