"""What a search will do, and how long the arithmetic of its stages takes: a few timed steps on random images.

Reading and varying images is not in it, nor is what other programs take of the machine.
"""

import dataclasses
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from scarlet_models.errors import UserError
from scarlet_models.inspection.timing import cpu_threads, seconds_of_batch
from scarlet_models.models import scarlet_net
from scarlet_models.search.latency.bench import Bench
from scarlet_models.search.latency.block_times import PASSES
from scarlet_models.search.latency.options import LatencyOptions
from scarlet_models.search.scoring.population import Trie
from scarlet_models.search.supernet.fair_step import add_gradients
from scarlet_models.search.supernet.sampler import FairSampler, widest
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.training.device import pick_device, to_device
from scarlet_models.training.optim import automatic_batch_size, local_batch
from scarlet_models.training.options import sizes

from .journal import Stage
from .search import WholeSearch

ROUNDS = 3
PATHS = 8


def make_plan(search: WholeSearch) -> dict[str, Any]:
    """A search before it runs: its stages, and seconds of arithmetic in those that are not done; None where few."""
    estimator, stages = Estimator(search), list[dict[str, Any]]()
    for stage in search.all_stages():
        needed = (other["done"] for other in stages if other["stage"] in stage.needs)
        done = all(needed) and search.pipeline.is_done(stage)
        about = {"stage": stage.name, "command": stage.command, "why": stage.why, "done": done}
        stages.append({**about, "seconds": 0.0 if done else estimator.seconds(stage)})
    return {
        "space": search.space.name,
        "images": len(search.split.train),
        "held_out": len(search.split.holdout),
        "out": search.options.out,
        "seconds": sum(stage["seconds"] or 0.0 for stage in stages),
        "stages": stages,
    }


class Estimator:
    """Seconds of a search's stages."""

    def __init__(self, search: WholeSearch) -> None:
        self.search, self.space, self.processes = search, search.space, search.options.processes
        self.device, self.classes = pick_device(search.options.device), len(search.images.classes)
        self.per_step: dict[tuple[int, int], float] = {}  # of a training on its own: anchors share it

    def seconds(self, stage: Stage) -> float | None:
        """Estimate for a stage that trains or scores; None for others."""
        options = self.search.pipeline.options_of(stage)
        if stage.command == "latency":
            return seconds_of_latency(self.space, options)
        estimates = {"train": self._train, "evolve": self._evolve, "retrain": self._retrain}
        return estimates[stage.command](options) if stage.command in estimates else None

    def _train(self, options: Any) -> float:
        fair_steps = options.steps or options.epochs * self._steps_per_epoch(options)
        net = to_device(Supernet(self.space, self.classes), self.device).train()
        paths = FairSampler(self.space).fair_step()

        def step(images: Tensor, labels: Tensor) -> None:
            add_gradients(net, paths, images, labels)
            net.zero_grad(set_to_none=True)

        return float(fair_steps * self._per_batch(step, *self._batch(options, options.image_size)))

    def _evolve(self, options: Any) -> float:
        """By a few random paths in a trie; later ones share more."""
        training = self.search.pipeline.options_of(self.search.stages.training())
        images = (options.images or len(self.search.split.holdout)) + options.calibration_images
        scored = min(options.population * options.generations * (3 if options.random else 1), self.space.size)
        rng = np.random.default_rng(0)
        paths = list(dict.fromkeys(self.space.sample(rng) for _ in range(PATHS)))
        trie = Trie(to_device(Supernet(self.space, self.classes), self.device), paths)

        @torch.inference_mode()
        def step(images: Tensor, labels: Tensor) -> None:
            for _ in trie.outputs(images):
                pass

        size, batch = training.image_size or self.space.input_size, min(options.batch_size, images)
        return scored / self.processes * self._per_batch(step, size, batch) / len(paths) * images / batch

    def _retrain(self, options: Any) -> float:
        """By a network of middling choices."""
        parts = self.processes * options.accumulate
        automatic = automatic_batch_size(len(self.search.split.train), parts)
        options = dataclasses.replace(options, batch_size=options.batch_size or automatic)
        model = scarlet_net(genotype=_middling(self.space), space=self.space, num_classes=self.classes)
        model = to_device(model, self.device).train()

        def step(images: Tensor, labels: Tensor) -> None:
            F.cross_entropy(model(images), labels).backward()
            model.zero_grad(set_to_none=True)

        steps, seconds = self._steps_per_epoch(options), 0.0
        for size, epochs in Counter(sizes(options.image_size, options.epochs)).items():
            batch = self._batch(options, size)
            if batch not in self.per_step:
                self.per_step[batch] = self._per_batch(step, *batch)
            seconds += epochs * steps * self.per_step[batch]
        return seconds

    def _steps_per_epoch(self, options: Any) -> int:
        images = len(self.search.split.train)
        if images < options.batch_size:
            raise UserError(f"{images:,} images to learn from are fewer than a batch of {options.batch_size}")
        return int(images // options.batch_size)

    def _batch(self, options: Any, size: int) -> tuple[int, int]:
        """Side of the images, and images of a batch in one process."""
        return size or self.space.input_size, local_batch(options, self.processes)

    def _per_batch(self, step: Callable[[Tensor, Tensor], object], size: int, batch: int) -> float:
        return seconds_of_batch(step, size, batch, self.classes, self.device)


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
