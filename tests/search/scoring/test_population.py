"""The one-pass evaluator against one path at a time, and what it costs in passes, calls and memory."""

from __future__ import annotations

import copy
import itertools
import json
import os
import random
import subprocess
import sys
import weakref
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.population import CALIBRATION, PATHS, VAL, Data, make_net
from helpers.runs import free_port
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from scarlet_models.errors import UserError
from scarlet_models.files import owning
from scarlet_models.search.scoring import population
from scarlet_models.search.scoring.population import HEAD, PopulationEvaluator, Trie
from scarlet_models.search.scoring.score_cache import Score, ScoreCache
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.space import Genotype
from scarlet_models.training.distributed import World
from scarlet_models.training.progress import Progress


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def net() -> Supernet:
    return make_net()


def reference(net: Supernet, genotype: Genotype, calibration: Data, layout: torch.memory_format) -> nn.Module:
    """A path on its own, recalibrated by hand with nothing but torch."""
    parts = [net.stem, *(net.choice(layer, choice) for layer, choice in enumerate(genotype)), net.head]
    path = nn.Sequential(*copy.deepcopy(parts)).eval()
    if calibration:
        for module in path.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
                module.momentum = None
                module.train()
        with torch.no_grad():
            for images, _ in calibration:
                path(images.to(memory_format=layout))
    return path.eval()


def statistics(module: nn.Module) -> list[Tensor]:
    return [
        value
        for name, value in module.named_buffers()
        if name.endswith(("running_mean", "running_var", "batches_tracked"))
    ]


def modules_of(trie: Trie, genotype: Genotype) -> list[nn.Module]:
    nodes = [trie.root]
    for choice in (*genotype, HEAD):
        nodes.append(nodes[-1].children[choice])
    return [node.module for node in nodes]


def snapshot(net: Supernet) -> tuple[dict[str, Tensor], list[tuple[bool, Any]]]:
    modes = [(module.training, getattr(module, "momentum", None)) for module in net.modules()]
    return copy.deepcopy(net.state_dict()), modes


def assert_untouched(net: Supernet, before: tuple[dict[str, Tensor], list[tuple[bool, Any]]]) -> None:
    state, modes = snapshot(net)
    assert modes == before[1]
    assert state.keys() == before[0].keys()
    assert all(torch.equal(value, before[0][name]) for name, value in state.items())


# Against one path at a time


# Without a separable convolution, and with identities that project.
PROJECTING = {
    "name": "projecting",
    "stem": {"channels": 8, "stride": 2, "act": "relu"},
    "stages": [{"channels": 8, "depth": 2, "stride": 1}, {"channels": 16, "depth": 2, "stride": 2}],
    "choices": ["identity", {"expand": 3, "kernel": 3}, {"expand": 3, "kernel": 5, "se": 0.25}],
    "act": "relu",
    "identity_at_reduction": "project",
    "head": {"channels": 32, "act": "relu"},
}


@pytest.mark.parametrize(
    ("space", "stabilizer", "calibration", "layout"),
    [
        ("mini", "linear", CALIBRATION, torch.channels_last),
        ("mini", "bn", CALIBRATION, torch.contiguous_format),
        ("mini", "skip", [], torch.channels_last),
        (PROJECTING, "relu", CALIBRATION, torch.channels_last),
        (PROJECTING, "linear", [], torch.contiguous_format),
    ],
)
def test_statistics_logits_and_scores_are_the_reference_s_bit_for_bit(
    space: Any, stabilizer: str, calibration: Data, layout: torch.memory_format
) -> None:
    net = make_net(space, stabilizer)
    rng = np.random.default_rng(0)
    # Few first choices, so that paths share prefixes.
    paths = sorted({(net.space.layers[0].choices[0], *net.space.sample(rng).choices[1:]) for _ in range(6)})
    genotypes = [Genotype.parse(path, net.space) for path in paths]
    last = layout is torch.channels_last
    evaluator = PopulationEvaluator(net, VAL, calibration or None, channels_last=last)
    before = snapshot(net)
    trie = evaluator.trie(genotypes)
    scores = evaluator.evaluate(genotypes)
    assert_untouched(net, before)
    images = VAL[0][0].to(memory_format=layout)
    with torch.no_grad():
        outputs = dict(trie.outputs(images))
    assert sorted(outputs) == list(range(len(genotypes)))
    for index, genotype in enumerate(genotypes):
        path = reference(net, genotype, calibration, layout)
        for mine, theirs in zip(modules_of(trie, genotype), path, strict=True):
            assert len(statistics(mine)) == len(statistics(theirs))
            assert all(map(torch.equal, statistics(mine), statistics(theirs)))
        with torch.no_grad():
            logits = [path(images.to(memory_format=layout)) for images, _ in VAL]
        assert torch.equal(outputs[index], logits[0])
        hits = sum(int((value.argmax(1) == labels).sum()) for value, (_, labels) in zip(logits, VAL, strict=True))
        loss = sum(
            F.cross_entropy(value, labels, reduction="sum").item()
            for value, (_, labels) in zip(logits, VAL, strict=True)
        )
        assert scores[index] == Score(100 * hits / 15, loss / 15, 15)


def test_reduced_precision_is_the_reference_under_autocast(net: Supernet) -> None:
    """Except for the classifier, whose rounded logits would tie: it stays in float32."""
    genotype, logits = Genotype.parse(PATHS[0], "mini"), []
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        *path, head = reference(net, genotype, CALIBRATION, torch.channels_last)
        for images, _ in VAL:
            features = nn.Sequential(*path, *head[:-1])(images.to(memory_format=torch.channels_last))
            with torch.autocast("cpu", enabled=False):
                logits.append(head[-1](features.float()))
    (score,) = PopulationEvaluator(net, VAL, CALIBRATION, dtype=torch.bfloat16).evaluate([genotype])
    pairs = zip(logits, VAL, strict=True)
    assert score.loss == sum(F.cross_entropy(value, y, reduction="sum").item() for value, (_, y) in pairs) / 15
    (full,) = PopulationEvaluator(net, VAL, CALIBRATION).evaluate([genotype])
    assert full.loss != score.loss == pytest.approx(full.loss, rel=0.05)


def test_reduced_precision_folds_running_statistics(net: Supernet) -> None:
    genotypes = [Genotype.parse(path, "mini") for path in PATHS]
    trie = PopulationEvaluator(net, VAL, dtype=torch.bfloat16).trie(genotypes)
    assert not trie.norms
    first, second = (modules_of(trie, genotype) for genotype in genotypes[:2])
    assert all(one is other for one, other in zip(first[:5], second[:5], strict=True))
    scores = PopulationEvaluator(net, VAL, dtype=torch.bfloat16).evaluate(genotypes)
    for score, full in zip(scores, PopulationEvaluator(net, VAL).evaluate(genotypes), strict=True):
        assert score.loss == pytest.approx(full.loss, rel=0.05)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in net.modules()) > 0


# What it costs


class Reads(list):  # type: ignore[type-arg]  # a plain list of batches
    """Batches that count how often they are read."""

    reads = 0

    def __iter__(self) -> Iterator[Any]:
        self.reads += 1
        return super().__iter__()


@pytest.fixture
def calls(net: Supernet) -> Iterator[Counter[str]]:
    """How often each of the supernet's stem, choices and head ran."""
    counter: Counter[str] = Counter()
    parts: list[tuple[str, Any]] = [("stem", net.stem), ("head", net.head)]
    parts += [(str(i), choice) for i, layer in enumerate(net.layers) for choice in layer.values()]  # type: ignore[operator]  # a ModuleDict
    handles = [part.register_forward_hook(lambda *_, name=name: counter.update([name])) for name, part in parts]
    yield counter
    for handle in handles:
        handle.remove()


def test_each_distinct_prefix_runs_once_a_batch_in_one_pass(net: Supernet, calls: Counter[str]) -> None:
    val, calibration = Reads(VAL), Reads(CALIBRATION)
    PopulationEvaluator(net, val, calibration).evaluate(PATHS)
    assert (val.reads, calibration.reads) == (1, 1)
    choices = [path.split(",") for path in PATHS]
    assert calls["stem"] == 6
    assert calls["head"] == 6 * len(PATHS)
    for layer in range(5):
        assert calls[str(layer)] == 6 * len({tuple(path[: layer + 1]) for path in choices})


def test_features_in_memory_grow_with_depth_and_not_with_paths(net: Supernet) -> None:
    alive: weakref.WeakSet[Tensor] = weakref.WeakSet()
    most = 0

    def count(module: nn.Module, inputs: Any, output: Tensor) -> None:
        nonlocal most
        alive.add(output)
        most = max(most, len(alive))

    genotypes = list(itertools.islice(net.space, 0, None, 23))
    assert len(genotypes) > 20
    handles = [
        module.register_forward_hook(count)
        for module in (net.stem, net.head, *(m for layer in net.layers for m in layer.values()))  # type: ignore[operator]  # ModuleDicts
    ]
    PopulationEvaluator(net, VAL[:1], CALIBRATION[:1]).evaluate(genotypes)
    for handle in handles:
        handle.remove()
    assert 2 <= most <= 7  # stem, five layers, head


@pytest.mark.parametrize("chunk", [1, 3, 7])
def test_chunks_change_nothing_but_the_number_of_passes(net: Supernet, chunk: int) -> None:
    val = Reads(VAL)
    scores = PopulationEvaluator(net, val, CALIBRATION, chunk=chunk).evaluate(PATHS)
    assert val.reads == -(-len(PATHS) // chunk)
    assert scores == PopulationEvaluator(net, VAL, CALIBRATION).evaluate(PATHS)


def test_order_is_kept_and_duplicates_are_measured_once(net: Supernet, calls: Counter[str]) -> None:
    ordered = PopulationEvaluator(net, VAL).evaluate(PATHS)
    assert len({score.loss for score in ordered}) == len(PATHS)
    calls.clear()
    mixed = [PATHS[i] for i in (4, 0, 4, 6, 1, 0)]
    scores = PopulationEvaluator(net, VAL).evaluate([Genotype.parse(path, "mini") for path in mixed])
    assert scores == [ordered[i] for i in (4, 0, 4, 6, 1, 0)]
    assert calls["head"] == 4 * len(VAL)
    assert PopulationEvaluator(net, VAL).evaluate([]) == []


# What it leaves alone


@pytest.mark.parametrize("where", ["val", "calibration"])
def test_the_supernet_is_untouched_even_by_an_error(where: str) -> None:
    net = make_net()
    net.train()
    net.head.eval()
    before = snapshot(net)
    bad = [*VAL, (torch.zeros(2, 1, 9, 9), torch.zeros(2, dtype=torch.int64))]
    with pytest.raises(RuntimeError):
        PopulationEvaluator(net, *((bad, CALIBRATION) if where == "val" else (VAL, bad))).evaluate(PATHS)
    assert_untouched(net, before)
    scores = PopulationEvaluator(net, VAL, CALIBRATION).evaluate(PATHS)
    assert_untouched(net, before)
    assert scores == PopulationEvaluator(net.eval(), VAL, CALIBRATION).evaluate(PATHS)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())


def test_no_random_number_is_drawn(net: Supernet) -> None:
    states = torch.get_rng_state(), random.getstate(), str(np.random.get_state())
    scores = PopulationEvaluator(net, VAL, CALIBRATION).evaluate(PATHS)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (random.getstate(), str(np.random.get_state()))
    torch.manual_seed(99)
    assert scores == PopulationEvaluator(net, VAL, CALIBRATION).evaluate(PATHS)


def test_a_data_loader_gives_what_a_list_gives(net: Supernet) -> None:
    images, labels = (torch.cat(parts) for parts in zip(*VAL, strict=True))
    loader = DataLoader(TensorDataset(images, labels), 6)
    calibration = DataLoader(TensorDataset(images, labels), 8)
    cut = [(images[i : i + 8], labels[i : i + 8]) for i in (0, 8)]
    scores = PopulationEvaluator(net, loader, calibration).evaluate(PATHS)
    assert scores == PopulationEvaluator(net, VAL, cut).evaluate(PATHS)


# Score cache


def test_nothing_is_measured_twice(net: Supernet, calls: Counter[str], tmp_path: Path) -> None:
    file = tmp_path / "evaluations.jsonl"
    few = PopulationEvaluator(net, VAL, score_cache=ScoreCache(file, {"supernet": "a"})).evaluate(PATHS[:3])
    assert [json.loads(line)["genotype"] for line in file.read_text().splitlines()] == sorted(PATHS[:3])
    calls.clear()
    scores = PopulationEvaluator(net, VAL, score_cache=ScoreCache(file, {"supernet": "a"})).evaluate(reversed(PATHS))
    assert calls["head"] == len(VAL) * (len(PATHS) - 3)
    assert scores[::-1][:3] == few
    calls.clear()
    val = Reads(VAL)
    assert (
        PopulationEvaluator(net, val, score_cache=ScoreCache(file, {"supernet": "a"})).evaluate(PATHS) == scores[::-1]
    )
    assert not calls and not val.reads
    PopulationEvaluator(net, VAL, score_cache=ScoreCache(file, {"supernet": "b"})).evaluate(PATHS)
    assert calls["head"] == len(VAL) * len(PATHS)


def test_a_torn_line_is_measured_again(net: Supernet, tmp_path: Path) -> None:
    file = tmp_path / "evaluations.jsonl"
    scores = PopulationEvaluator(net, VAL, score_cache=ScoreCache(file, {"supernet": "a"})).evaluate(PATHS)
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    score_cache = ScoreCache(file, {"supernet": "a"})
    assert len(score_cache.known) == len(PATHS) - 1
    assert PopulationEvaluator(net, VAL, score_cache=score_cache).evaluate(PATHS) == scores
    assert file.read_bytes() == whole


# Several processes


@pytest.mark.parametrize("size", [1, 2, 3, 8, 30])
def test_shares_are_all_candidates_in_order_with_even_macs(size: int) -> None:
    net = Supernet("mini", 3, init="torch")
    genotypes = list(itertools.islice(net.space, 0, None, 11))
    device = torch.device("cpu")
    shares = [population._share(genotypes, World(rank, size, device)) for rank in range(size)]
    assert [index for share in shares for index in share] == list(range(len(genotypes)))
    macs = population._added_macs(genotypes)
    table = net.space.cost_table()
    prefixes = {(i, g.choices[: i + 1]) for g in genotypes for i in range(5)}
    assert macs.sum() == len(genotypes) * table.base.macs + sum(table.macs[i, p[-1]] for i, p in prefixes)
    loads = [macs[list(share)].sum() for share in shares]
    assert max(loads) - min(loads) <= 2 * macs.max()


TESTS = str(Path(__file__).parents[2])

_RANK = """
import json, pathlib, sys, torch
from scarlet_models.search import PopulationEvaluator
from scarlet_models.training import distributed
from scarlet_models.search.scoring.score_cache import ScoreCache
sys.path.insert(0, sys.argv[1])
from helpers.population import CALIBRATION, PATHS, VAL, make_net
torch.set_num_threads(1)
with distributed.start("cpu") as world:
    score_cache = ScoreCache(pathlib.Path(sys.argv[2]), {}) if world.is_main else None
    evaluator = PopulationEvaluator(make_net(), VAL, CALIBRATION, chunk=2, score_cache=score_cache, world=world)
    scores = evaluator.evaluate(PATHS)
    print(json.dumps([[score.top1, score.loss, score.images] for score in scores]))
"""


def test_two_processes_give_the_scores_of_one(net: Supernet, tmp_path: Path) -> None:
    with owning():  # the folder, no longer than this
        score_cache = ScoreCache(tmp_path / "evaluations.jsonl", {})
        expected = PopulationEvaluator(net, VAL, CALIBRATION, score_cache=score_cache).evaluate(PATHS)
    lines = score_cache.path.read_bytes().splitlines(keepends=True)
    score_cache.path.write_bytes(lines[0])  # one is known before
    port = free_port()
    processes = []
    for rank in "01":
        ours = {
            "RANK": rank,
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-c", _RANK, TESTS, str(score_cache.path)]
        processes.append(subprocess.Popen(command, env={**os.environ, **ours}, stdout=subprocess.PIPE, text=True))
    for process in processes:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert [Score(*score) for score in json.loads(output)] == expected
    assert score_cache.path.read_bytes() == b"".join(lines)


# Use


def test_progress_counts_each_path_and_batch(net: Supernet, monkeypatch: pytest.MonkeyPatch) -> None:
    bars: list[Progress] = []

    class Recorded(Progress):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            bars.append(self)

    monkeypatch.setattr(population, "Progress", Recorded)
    PopulationEvaluator(net, VAL, CALIBRATION, chunk=3, progress=True).evaluate(PATHS)
    PopulationEvaluator(net, VAL).evaluate(PATHS)
    assert [(bar.done, bar.total, bar.quiet) for bar in bars] == [(42, 42, False), (21, 21, True)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"chunk": 0}, "chunk: 0 is not"),
        ({"val_batches": []}, "no held-out images"),
        ({"calibration_batches": []}, "no images to calibrate"),
    ],
)
def test_mistakes_are_named(net: Supernet, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        PopulationEvaluator(net, **{"val_batches": VAL, **arguments})


def test_a_path_outside_of_the_space_is_named(net: Supernet) -> None:
    with pytest.raises(UserError, match="layer 0: identity"):
        PopulationEvaluator(net, VAL).evaluate(["3,1,2,0,1"])
