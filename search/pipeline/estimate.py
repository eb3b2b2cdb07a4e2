"""How long the arithmetic of a stage takes: a few timed steps on random images.

Reading and varying images is not in it, nor is what other programs take of the machine.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from scarlet_models.inspection.timing import cpu_threads, wait
from scarlet_models.models import scarlet_net
from scarlet_models.search.latency.bench import Bench
from scarlet_models.search.latency.block_times import PASSES
from scarlet_models.search.latency.options import LatencyOptions
from scarlet_models.search.scoring.population import Trie
from scarlet_models.search.supernet.fair_step import add_gradients
from scarlet_models.search.supernet.sampler import FairSampler, widest
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.training.device import to_device

IMAGES = 8  # of a first step; if a whole batch would take longer than SECONDS, it is scaled from these
SECONDS = 1.0
ROUNDS = 3
PATHS = 8

Step = Callable[[Tensor, Tensor], object]


def seconds_per_fair_step(space: SearchSpace, classes: int, size: int, batch: int, device: torch.device) -> float:
    """Time of one fair step of `batch` images of `size` px, forward and backward."""
    net = to_device(Supernet(space, classes), device).train()
    paths = FairSampler(space).fair_step()

    def step(images: Tensor, labels: Tensor) -> None:
        add_gradients(net, paths, images, labels)
        net.zero_grad(set_to_none=True)

    return _seconds_per_batch(step, batch, size, classes, device)


def seconds_per_path(space: SearchSpace, classes: int, size: int, batch: int, device: torch.device) -> float:
    """Time of a path among a few random ones on a batch of images, later ones share more."""
    rng = np.random.default_rng(0)
    paths = list(dict.fromkeys(space.sample(rng) for _ in range(PATHS)))
    trie = Trie(to_device(Supernet(space, classes), device), paths)

    @torch.inference_mode()
    def step(images: Tensor, labels: Tensor) -> None:
        for _ in trie.outputs(images):
            pass

    return _seconds_per_batch(step, batch, size, classes, device) / len(paths)


def seconds_per_step(space: SearchSpace, classes: int, size: int, batch: int, device: torch.device) -> float:
    """Time of one step of training a network of middling choices on its own."""
    model = to_device(scarlet_net(genotype=_middling(space), space=space, num_classes=classes), device).train()

    def step(images: Tensor, labels: Tensor) -> None:
        F.cross_entropy(model(images), labels).backward()
        model.zero_grad(set_to_none=True)

    return _seconds_per_batch(step, batch, size, classes, device)


def seconds_of_latency(space: SearchSpace, options: LatencyOptions) -> float:
    """Time of the command latency, or more: a space has the blocks of as many networks as a layer has choices."""
    bench = Bench(space, options)
    with cpu_threads(options.threads):
        for _ in range(2):  # the first also imports what it needs
            started = time.perf_counter()
            network = bench.run(bench.model(_middling(space)))
            making = time.perf_counter() - started
        milliseconds = bench.milliseconds([network], ROUNDS)
    measurement = PASSES * float(milliseconds[0]) / 1e3
    blocks = widest(space) * (making + (options.rounds + 1) * measurement)
    return blocks + options.validate * (making + (options.validation_rounds + 1) * measurement)


def _middling(space: SearchSpace) -> Genotype:
    return space.validate(layer.choices[len(layer.choices) // 2] for layer in space.layers)


def _seconds_per_batch(step: Step, batch: int, size: int, classes: int, device: torch.device) -> float:
    generator = torch.Generator().manual_seed(0)

    def timed(count: int) -> float:
        images = torch.randn(count, 3, size, size, generator=generator)
        images = images.to(device, memory_format=torch.channels_last)
        labels = torch.randint(classes, (count,), generator=generator).to(device)
        started = time.perf_counter()
        step(images, labels)
        wait(device)
        return time.perf_counter() - started

    few = min(batch, IMAGES)
    timed(few)  # warms up
    count = batch if timed(few) * batch / few < SECONDS else few
    return statistics.median(timed(count) for _ in range(ROUNDS)) * batch / count
