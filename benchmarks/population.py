"""A population scored in one pass over the images, against a pass for each candidate, and against the floor.

The pattern to compare with is that of published one-shot searches: for each candidate, calibrate batch norm and score,
each time with a pass over the images. Both read the same images, decoded once, take turns, and have to give the same
scores in float32. The floor is each distinct node run alone on an input that is there; the ideal ratio is that of these
sums for one candidate after another and for the trie. The weights are random, so the scores say nothing.

python benchmarks/population.py --data-dir imagenette.tar --sizes 64 96 224
python benchmarks/population.py --data-dir imagenette.tar --generations 0 \
    --searched runs/evolve/generations/0004.json runs/evolve/generations/0019.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.callback import Callback
from pymoo.core.crossover import Crossover
from pymoo.core.mutation import Mutation
from pymoo.core.problem import Problem
from pymoo.optimize import minimize
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

import scarlet_models  # noqa: F401  # registers the models with timm
from scarlet_models.search.evolution.candidates import mutate, two_point_crossover
from scarlet_models.search.scoring.population import PopulationEvaluator
from scarlet_models.search.scoring.ranking import kendall
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.training.data import LabelledImages
from scarlet_models.training.device import keep_freed_memory
from scarlet_models.training.loading import Transformed, load_batches
from scarlet_models.training.options import DataOptions
from scarlet_models.training.split import split_holdout
from scarlet_models.training.transforms import eval_transform

Loader = list[tuple[Tensor, Tensor]]  # in memory: both sides read images that are decoded
Node = tuple[int, int]  # layer and choice; the stem is layer -1, the head layer -2


def simulated_search(space: SearchSpace, size: int, generations: list[int], seed: int) -> dict[str, list[Genotype]]:
    """What NSGA-II asks for in these generations (0 is random), with MACs and a made-up accuracy as objectives.

    The accuracy is a sum over layers of what each choice is worth: a random number, and more for more MACs.
    """
    rng = np.random.default_rng(seed)
    table = space.cost_table()
    worth = rng.normal(size=table.macs.shape) + 3 * table.macs / table.macs.max(1, keepdims=True)
    layers = np.arange(len(space.layers))
    asked: list[np.ndarray] = []

    class Objectives(Problem):
        def _evaluate(self, x: np.ndarray, out: dict[str, Any], **_: Any) -> None:
            out["F"] = np.stack([-worth[layers, x].sum(1), space.costs(x)[0]], axis=1)

    class Swap(Crossover):
        def _do(self, problem: Problem, x: np.ndarray, **_: Any) -> np.ndarray:
            return np.stack(two_point_crossover(x[0], x[1], rng))

    class Change(Mutation):
        def _do(self, problem: Problem, x: np.ndarray, **_: Any) -> np.ndarray:
            return mutate(space, x, rng, 1 / len(layers))

    class Record(Callback):
        def notify(self, algorithm: NSGA2) -> None:
            asked.append((algorithm.off if algorithm.n_gen > 1 else algorithm.pop).get("X"))

    minimize(
        Objectives(n_var=len(layers), n_obj=2, vtype=int),
        NSGA2(size, sampling=space.sample_array(rng, size), crossover=Swap(2, 2), mutation=Change()),
        ("n_gen", max(generations) + 1),
        seed=seed,
        callback=Record(),
    )
    return {
        f"simulated, generation {g}" if g else "random": [space.validate(row.tolist()) for row in asked[g]]
        for g in generations
    }


def score_one_by_one(
    net: Supernet, genotypes: list[Genotype], val: Loader, calibration: Loader | None, device: torch.device
) -> list[float]:
    """Mean cross-entropy of each path, with a pass over the loaders for each."""
    losses = []
    for genotype in genotypes:
        if calibration:
            norms = [m for node in _path(genotype) for m in _module(net, node).modules() if isinstance(m, _BatchNorm)]
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None
                norm.train()
            for images, _ in calibration:
                net(_move(images, device), genotype)
            for norm in norms:
                norm.eval()
        total, count = torch.zeros((), dtype=torch.float64, device=device), 0
        for images, labels in val:
            total += F.cross_entropy(net(_move(images, device), genotype), labels.to(device), reduction="sum")
            count += len(labels)
        losses.append(total.item() / count)
    return losses


def time_nodes(net: Supernet, nodes: set[Node], images: Tensor, train: bool, repeats: int) -> dict[Node, np.ndarray]:
    """Median seconds of each node alone, with the statistics of the batch in its batch norms (`train`) or without."""
    inputs, features = {-1: images}, net.stem(images)
    for layer in net.space.layers:
        inputs[layer.index] = features
        features = net.choice(layer.index, layer.choices[0])(features)
    inputs[-2] = features
    medians = {}
    for node in nodes:
        module = _module(net, node)
        for norm in module.modules():
            if isinstance(norm, _BatchNorm):
                norm.train(train)
        seconds = [_timed(images.device, module, inputs[node[0]])[0] for _ in range(repeats + 1)]
        medians[node] = np.median(seconds[1:], axis=0)
        module.eval()
    return medians


def _path(genotype: Genotype) -> list[Node]:
    return [(-1, 0), *enumerate(genotype), (-2, 0)]


def _module(net: Supernet, node: Node) -> nn.Module:
    shared = {-1: net.stem, -2: net.head}
    return shared[node[0]] if node[0] in shared else net.choice(*node)


def _move(images: Tensor, device: torch.device) -> Tensor:
    return images.to(device, non_blocking=True, memory_format=torch.channels_last)


def _timed(device: torch.device, run: Callable[..., Any], *arguments: Any) -> tuple[np.ndarray, Any]:
    """Seconds that a call takes, on the wall's and the processor's clock, and what it returns."""
    start = np.array([time.perf_counter(), time.process_time()])
    result = run(*arguments)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return np.array([time.perf_counter(), time.process_time()]) - start, result


def _count(genotypes: list[Genotype]) -> tuple[Counter[Node], Counter[Node]]:
    """How often each node runs: in one candidate after another, and in the trie."""
    prefixes = {tuple(path[: end + 1]) for path in map(_path, genotypes) for end in range(len(path))}
    return Counter(n for g in genotypes for n in _path(g)), Counter(prefix[-1] for prefix in prefixes)


class Contest:
    """Both ways and the floor, at one size of images."""

    def __init__(self, args: argparse.Namespace, size: int, populations: dict[str, list[Genotype]]) -> None:
        self.args, self.populations, self.device = args, populations, torch.device(args.device)
        images = LabelledImages(DataOptions(data_dir=args.data_dir, train_split=args.split), args.split)
        split = split_holdout(images.ids, images.labels, 0.1, 0)
        config = timm.data.resolve_data_config({"input_size": (3, size, size)}, model=None)
        dataset = Transformed(images, eval_transform(size, config))
        self.val = self._load(dataset, split.holdout, args.images)
        self.calibration = self._load(dataset, split.train, args.calibration) if args.calibration else None
        torch.manual_seed(0)
        net = Supernet(next(iter(populations.values()))[0].space, len(images.classes)).eval()
        self.net = net.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks this form
        self.times: dict[str, list[np.ndarray]] = {}
        self.tau: dict[str, float] = {}

    def _load(self, dataset: Transformed, indices: list[int], count: int) -> Loader:
        chosen = np.random.default_rng(0).permutation(indices)[:count]
        batches = [part.tolist() for part in np.array_split(chosen, -(-len(chosen) // self.args.batch))]
        return list(load_batches(dataset, batches, self.args.workers, pin_memory=self.device.type == "cuda"))

    def round(self) -> None:
        """Measures everything once."""
        args = self.args
        nodes = {node for genotypes in self.populations.values() for node in _count(genotypes)[0]}
        images = _move(next(iter(self.val))[0], self.device)
        node_seconds = {node: np.zeros(2) for node in nodes}
        for loader, train in ((self.val, False), (self.calibration, True)):
            for node, seconds in time_nodes(self.net, nodes, images, train, args.repeats).items() if loader else ():
                node_seconds[node] += seconds * len(loader or ())
        for name, genotypes in self.populations.items():
            alone, trie = _count(genotypes)
            self._add(f"{name} floor", sum(node_seconds[node] * count for node, count in trie.items()))
            ideal = sum(node_seconds[node] * count for node, count in alone.items())
            self._add(f"{name} alone ideal", ideal)
            evaluator = PopulationEvaluator(self.net, self.val, self.calibration)
            seconds, scores = _timed(self.device, evaluator.evaluate, genotypes)
            self._add(f"{name} one pass", seconds)
            reduced = PopulationEvaluator(self.net, self.val, self.calibration, dtype=torch.bfloat16)
            seconds, rounded = _timed(self.device, reduced.evaluate, genotypes)
            self._add(f"{name} one pass, bf16", seconds)
            self.tau[name] = kendall(*([score.loss for score in each] for each in (scores, rounded)))
            sources = (self.val, self.calibration, self.device)
            seconds, losses = _timed(self.device, score_one_by_one, self.net, genotypes, *sources)
            self._add(f"{name} alone", seconds)
            if self.device.type == "cpu" and losses != [score.loss for score in scores]:
                raise SystemExit(f"{name}: the two ways give different scores")

    def _add(self, name: str, seconds: np.ndarray) -> None:
        self.times.setdefault(name, []).append(seconds)

    def report(self) -> None:
        """Prints medians over the rounds."""
        for clock, unit in enumerate(("wall", "CPU")):
            median = {name: statistics.median(row[clock] for row in rows) for name, rows in self.times.items()}
            for name, genotypes in self.populations.items():
                alone, trie = _count(genotypes)
                kinds = ("one pass", "one pass, bf16", "alone", "floor", "alone ideal")
                one, rounded, by_one, floor, ideal = (median[f"{name} {kind}"] for kind in kinds)
                print(f"  {name}, {unit} seconds: {trie.total()} distinct nodes of {alone.total()}")
                print(f"    one by one {by_one:.2f}, one pass {one:.2f}, in bf16 {rounded:.2f}, floor {floor:.2f}")
                print(f"    {by_one / one:.2f} times as fast (ideal {ideal / floor:.2f}), bf16 {by_one / rounded:.2f}")
        for name, tau in self.tau.items():
            print(f"  {name}: Kendall's tau of bf16's losses with float32's {tau:.3f}")


def main() -> None:
    """Prints the figures of each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True, help="a tar or a folder of class folders")
    parser.add_argument("--split", default="train", help="split to take the images from")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 96, 224], help="sides of the images in pixels")
    parser.add_argument("--space", default="scarlet")
    parser.add_argument("--population", type=int, default=70, help="candidates in each population")
    parser.add_argument("--generations", type=int, nargs="+", default=[0, 5, 20], help="of the simulated search")
    parser.add_argument("--searched", nargs="*", default=[], help="generations of a real search, as evolve writes them")
    parser.add_argument("--images", type=int, default=256, help="held-out images to score on")
    parser.add_argument("--calibration", type=int, default=256, help="images to calibrate batch norm with; 0 for none")
    parser.add_argument("--batch", type=int, default=64, help="images in a forward pass")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5, help="runs of each node alone in a round")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    keep_freed_memory()  # as the commands do
    torch.set_num_threads(args.threads)
    space = SearchSpace.load(args.space)
    populations = simulated_search(space, args.population, args.generations, args.seed)
    for file in map(Path, args.searched):
        records = json.loads(file.read_text())["asked"]
        populations[f"searched, generation {file.stem}"] = [Genotype.parse(r["genotype"], space) for r in records]
    for size in args.sizes:
        print(
            f"{size} px, batch {args.batch}, {args.threads} threads, {args.workers} workers, {args.device}:", flush=True
        )
        contest = Contest(args, size, populations)
        with torch.no_grad():
            for _ in range(args.rounds):
                contest.round()
        contest.report()


if __name__ == "__main__":
    main()
