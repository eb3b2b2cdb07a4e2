"""Latency: the table, times of blocks inside networks, the comparison with whole networks, and the command."""

import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tables import invented_table
from torch import Tensor, nn

from scarlet_models import UserError
from scarlet_models.inspection.timing import interleaved
from scarlet_models.search import cli
from scarlet_models.search.commands import latency
from scarlet_models.search.latency.bench import compare, measure, stratified
from scarlet_models.search.latency.block_times import Samples, as_program, parts, samples_of, time_blocks
from scarlet_models.search.latency.options import LatencyOptions
from scarlet_models.search.latency.table import LatencyTable, distinct_units, head_input, layer_units
from scarlet_models.search.pipeline.estimate import seconds_of_latency
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.space import Genotype, SearchSpace

MINI = SearchSpace.load("mini")


# The table


@pytest.mark.parametrize("name", SearchSpace.names())
def test_units_have_the_shapes_of_the_networks(name: str) -> None:
    space, size = SearchSpace.load(name), 64
    net = Supernet(space, 3, stabilizer="skip").eval()
    genotype = space.sample(np.random.default_rng(0))
    features = net.stem(torch.zeros(1, 3, size, size))
    for layer, choice in enumerate(genotype):
        unit = layer_units(space, size)[layer].get(choice)
        if unit is not None:
            assert tuple(features.shape) == (1, unit.in_channels, unit.size, unit.size)
        else:
            assert choice == space.identity
        features = net.choice(layer, choice)(features)
        if unit is not None:
            assert features.shape[1:] == (unit.out_channels, *[-(-unit.size // unit.stride)] * 2)
    assert tuple(features.shape[1:]) == head_input(space, size)


def test_layers_of_one_shape_share_their_units() -> None:
    space = SearchSpace.load("scarlet")
    units, layers = distinct_units(space, 224), layer_units(space, 224)
    assert len(units) == 11 * 12  # 6 stages of two shapes each, but the last of one, and 12 blocks
    assert all(layers[layer][unit.choice] == unit for unit, layer in units.items())


def test_a_sum_is_the_base_and_an_entry_a_layer() -> None:
    table = invented_table()
    genotypes = MINI.sample_array(np.random.default_rng(1), 50)
    expected = [0.5 + sum(table.blocks[layer, choice] for layer, choice in enumerate(row)) for row in genotypes]
    assert table.sum(genotypes) == pytest.approx(expected)
    assert table.sum(genotypes).shape == (50,)
    assert np.isnan(table.blocks[0, 3])  # no identity where the shape changes
    assert (table.blocks[[1, 3, 4], 3] == 0).all()


def test_the_ends_are_the_fastest_and_the_slowest_network() -> None:
    table = invented_table()
    sums = table.sum(np.array([genotype.choices for genotype in MINI]))
    ends = table.sum(np.array([genotype.choices for genotype in table.ends]))
    assert ends == pytest.approx([sums.min(), sums.max()])
    assert table.range == pytest.approx(ends)


def test_orders_of_identity_take_as_long() -> None:
    table = invented_table()
    genotype = Genotype.parse("0,1,2,3,0", "mini")
    both = np.array([genotype.choices, genotype.canonical().choices])
    assert both[0].tolist() != both[1].tolist()
    assert np.ptp(table.sum(both)) < 1e-12


def test_a_table_comes_back_from_its_file(tmp_path: Path) -> None:
    table = invented_table()
    table.save(tmp_path / "table.json")
    for path in (tmp_path, tmp_path / "table.json"):
        loaded = LatencyTable.load(path, MINI)
        assert loaded.facts == {"image_size": 32}
        assert loaded.blocks == pytest.approx(table.blocks, abs=1e-6, nan_ok=True)
        assert loaded.base == table.base


def test_tables_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    invented_table().save(tmp_path / "table.json")
    with pytest.raises(UserError, match="times the blocks of space 'mini', not those of this 'scarlet'"):
        LatencyTable.load(tmp_path, SearchSpace.load("scarlet"))
    with pytest.raises(UserError, match=r"none.json: No such file"):
        LatencyTable.load(tmp_path / "none.json", MINI)
    for text in ("{", "[]", "{}"):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(UserError, match=r"bad.json(:1: not valid JSON|: .*not a| is no table of latencies)"):
            LatencyTable.load(tmp_path / "bad.json", MINI)


# Measuring


class Slow(nn.Module):
    """Takes at least so long."""

    def __init__(self, module: nn.Module, milliseconds: float) -> None:
        super().__init__()
        self.module, self.milliseconds = module, milliseconds

    def forward(self, features: Tensor) -> Tensor:
        end = time.perf_counter() + self.milliseconds / 1e3
        features = self.module(features)
        while time.perf_counter() < end:
            pass
        return features


def test_time_goes_to_the_block_that_takes_it() -> None:
    net = Supernet(MINI, 3, stabilizer="skip").eval()
    net.layers[2]["1"] = Slow(net.choice(2, 1), 12)
    net.head = Slow(net.head, 7)
    samples = time_blocks(net, torch.zeros(1, 3, 32, 32), 2, 0, lambda: None)
    assert set(samples.units) == set(distinct_units(MINI, 32))
    slow = layer_units(MINI, 32)[2][1]
    assert min(samples.units.pop(slow)) >= 12
    assert min(samples.base) >= 7
    assert np.median([np.median(times) for times in samples.units.values()]) < 6


def test_every_choice_is_timed_equally_often() -> None:
    net = Supernet(MINI, 3, stabilizer="skip").eval()
    samples = time_blocks(net, torch.zeros(1, 3, 32, 32), 3, 0, lambda: None)
    assert len(samples.base) == 3 * 4
    reducing = [len(times) for unit, times in samples.units.items() if unit.stride == 2]
    assert max(reducing) - min(reducing) <= 2  # three choices in fair steps of four paths
    assert {len(times) for unit, times in samples.units.items() if unit[:2] == (32, 32)} == {6}  # two layers share


def test_spread() -> None:
    assert Samples([1.0, 1.0], {}).spread() == 0
    assert Samples([4.0, 6.0], {}).spread() == pytest.approx(0.2)


def test_measures_take_turns() -> None:
    calls: list[str] = []
    results = interleaved({name: lambda name=name: calls.append(name) or len(calls) for name in "abc"}, 4)
    rounds = [set(calls[i : i + 3]) for i in range(0, 15, 3)]
    assert rounds == [set("abc")] * 5
    assert {len(times) for times in results.values()} == {4}
    assert len({tuple(calls[i : i + 3]) for i in range(0, 15, 3)}) > 1


@pytest.mark.parametrize(("dtype", "tolerance"), [("fp32", 1e-10), ("int8", 0.1)])
def test_onnxruntime_runs_a_block_at_its_shape(dtype: Any, tolerance: float) -> None:
    block = Supernet(MINI, 3, stabilizer="skip").eval().choice(2, 0)
    features = torch.randn(1, 16, 8, 8)
    output = as_program(block, features, LatencyOptions(space="mini", runtime="onnxruntime", dtype=dtype)).run(features)
    with torch.inference_mode():
        expected = block(features)
        assert (output - expected).square().mean() < tolerance * expected.square().mean()


def test_what_a_call_costs_is_taken_off_blocks() -> None:
    units, size = distinct_units(MINI, 32), 32
    times = {"stem": [5.0, 7.0], "head": [3.0, 3.2]}
    times |= {
        name: [9.0, 11.0]
        for name, *_ in parts(Supernet(MINI, 3, stabilizer="skip"), torch.zeros(1, 3, size, size))
        if name.startswith("block")
    }
    times |= {
        name: [1.0]
        for name, *_ in parts(Supernet(MINI, 3, stabilizer="skip"), torch.zeros(1, 3, size, size))
        if name.startswith("map")
    }
    samples = samples_of(MINI, size, times)
    assert set(samples.units) == set(units)
    assert all(
        found == [8.0, 10.0] for found in samples.units.values()
    )  # half of a call for the input, and for the output
    assert samples.base == pytest.approx([6 - 0.5 + 3 - 0.5, 6 - 0.5 + 3.2 - 0.5])


# The comparison with whole networks


def test_networks_are_spread_over_the_range_of_macs() -> None:
    space = SearchSpace.load("scarlet")
    networks = stratified(space, 20, 0)
    macs = np.array([network.cost().macs for network in networks])
    table = space.cost_table()
    edges = np.linspace(table.smallest.macs, table.largest.macs, 21)
    assert len(networks) >= 18
    assert len(set(np.searchsorted(edges, macs))) == len(networks)
    assert networks == stratified(space, 20, 0) != stratified(space, 20, 1)


def test_the_comparison_says_what_is_wrong() -> None:
    table = invented_table()
    networks = stratified(MINI, 30, 0)
    sums = table.sum(np.array([network.choices for network in networks]))
    right = compare(table, networks, sums, 3)
    assert right["spearman"]["value"] == pytest.approx(1)
    assert (right["mape"], right["scale"]) == (pytest.approx(0), pytest.approx(1))
    assert 0.2 < right["spearman_of_macs"]["value"] < 0.99
    slower = compare(table, networks, 2 * sums, 3)
    assert (slower["mape"], slower["scale"], slower["mape_scaled"]) == (
        pytest.approx(50),
        pytest.approx(2),
        pytest.approx(0),
    )
    assert compare(table, networks, -sums + 100, 3)["spearman"]["value"] == pytest.approx(-1)


# The command


def test_latency_writes_a_table_that_predicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--rounds", "2", "--validate", "5", "--validation-rounds", "1", "--out", str(tmp_path), "--threads", "1"]
    assert cli.main(["latency", "mini", *few, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    table = LatencyTable.load(said["table"], MINI)
    for fact, value in {"image_size": 32, "threads": 1, "batch_size": 1, "runtime": "torch", "rounds": 2}.items():
        assert table.facts[fact] == value
    assert table.validation == said["validation"]
    rows = said["validation"]["measured"]
    assert 3 <= len(rows) == said["validation"]["networks"] <= 5
    for row in rows:
        genotype = Genotype.parse(row["genotype"], "mini")
        assert row["macs"] == genotype.cost().macs
        assert row["predicted"] == pytest.approx(table.sum(np.array([genotype.choices]))[0], abs=1e-3)
    assert (table.blocks[~np.isnan(table.blocks)] >= 0).all()
    assert table.base > 0
    assert cli.main(["latency", "mini", *few, "--validate", "0", "--image-size", "16", "--batch-size", "2"]) == 0
    text = capsys.readouterr().out
    assert "stem and head" in text
    fastest, slowest = LatencyTable.load(tmp_path, MINI).ends
    assert re.search(rf"fastest network by the table: \d+\.\d\d ms  {fastest}\n", text)
    assert re.search(rf"slowest network by the table: \d+\.\d\d ms  {slowest}\n", text)
    assert f"next: scarlet-search evolve SUPERNET --data-dir IMAGES --latency-table {tmp_path} --max" in text
    assert LatencyTable.load(tmp_path, MINI).validation is None


def test_a_plan_knows_how_long_it_takes(tmp_path: Path) -> None:
    options = latency.Options(space="mini", rounds=20, validate=8, out=str(tmp_path), json=True)
    estimate = seconds_of_latency(MINI, options)
    computing, waiting = time.process_time(), time.perf_counter()
    latency.main(options)
    computing, waiting = time.process_time() - computing, time.perf_counter() - waiting
    assert computing / 3 < estimate < 3 * waiting  # on a busy machine the two differ, and the estimate saw some of it


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["fp32", "int8"])
def test_the_sums_of_onnxruntime_predict_its_networks(dtype: Any, tmp_path: Path) -> None:
    options = latency.Options(space="mini", runtime="onnxruntime", dtype=dtype, validate=6, rounds=5, out=str(tmp_path))
    said = measure(options).validation
    assert said is not None
    assert said["spearman"]["value"] > 0.7
    assert said["mape"] < 60


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds", "0"], "--rounds: 0 is below 1"),
        (["--validate", "2"], "have no rank correlation"),
        (["--device", "cuda:9"], "--device cuda:9 cannot be used here"),
        (["--runtime", "onnxruntime", "--device", "cuda"], "--runtime onnxruntime measures on the CPU only"),
        (["--runtime", "tensorrt"], "--runtime: 'tensorrt' is not one of torch, onnxruntime, executorch"),
        (["--dtype", "int8"], "--dtype int8 needs --runtime onnxruntime or executorch"),
        (["--emit", "x"], "--emit needs --runtime onnxruntime or executorch"),
        (["--runtime", "executorch", "--emit", "x", "--from", "y"], "give one of the two"),
        (["--from", "none.csv"], "none.csv: No such file or directory; give the CSV in the folder"),
        (["none.yaml"], "no search space 'none.yaml'"),
    ],
)
def test_mistakes_get_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["latency", *(["mini"] if arguments[0].startswith("--") else []), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
