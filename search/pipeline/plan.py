"""What a search will do: its stages, which of them are done, and about how long the others take."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch

from scarlet_models.errors import UserError
from scarlet_models.training.device import pick_device
from scarlet_models.training.optim import automatic_batch_size, local_batch
from scarlet_models.training.options import sizes

from . import estimate
from .search import WholeSearch
from .stage import Stage


@dataclass(frozen=True)
class Step:
    """A stage of a plan."""

    stage: str
    command: str
    why: str
    done: bool  # it will be skipped
    seconds: float | None  # of arithmetic; None for stages that take seconds


@dataclass(frozen=True)
class Plan:
    """A search before it runs: images to train on and held out, and seconds of arithmetic in what is not done."""

    space: str
    images: int
    held_out: int
    out: str
    seconds: float
    stages: list[Step]


def make_plan(search: WholeSearch) -> Plan:
    """The stages in order, with an estimate by a few timed steps for those that may take long."""
    estimator, steps = _Estimator(search), list[Step]()
    for stage in search.all_stages():
        needed = (step.done for step in steps if step.stage in stage.needs)
        done = all(needed) and search.pipeline.is_done(stage)
        seconds = 0.0 if done else estimator.seconds(stage)
        steps.append(Step(stage.name, stage.command, stage.why, done, seconds))
    total = sum(step.seconds or 0.0 for step in steps)
    images, held_out = len(search.split.train), len(search.split.holdout)
    return Plan(search.space.name, images, held_out, search.options.out, total, steps)


class _Estimator:
    """Seconds of a stage, by its command."""

    def __init__(self, search: WholeSearch) -> None:
        self.search, self.space, self.processes = search, search.space, search.options.processes
        self.device: torch.device = pick_device(search.options.device)
        self.classes = len(search.images.classes)
        self.per_step: dict[Any, float] = {}  # of a training on its own, by size and batch: anchors share it

    def seconds(self, stage: Stage) -> float | None:
        """Estimate for a stage that trains or scores; None for others."""
        options = self.search.pipeline.options_of(stage)
        match stage.command:
            case "train":
                fair_steps = options.steps or options.epochs * self._steps_per_epoch(options)
                batch = self._batch(options, options.image_size)
                return fair_steps * estimate.seconds_per_fair_step(self.space, *batch)
            case "latency":
                return estimate.seconds_of_latency(self.space, options)
            case "evolve":
                return self._evolve(options)
            case "retrain":
                return self._retrain(options)
        return None

    def _evolve(self, options: Any) -> float:
        training = self.search.pipeline.options_of(self.search.stages.training())
        images = (options.images or len(self.search.split.holdout)) + options.calibration_images
        paths = min(options.population * options.generations * (3 if options.random else 1), self.space.size)
        size, batch = training.image_size or self.space.input_size, min(options.batch_size, images)
        seconds = estimate.seconds_per_path(self.space, self.classes, size, batch, self.device)
        return paths / self.processes * seconds * images / batch

    def _retrain(self, options: Any) -> float:
        parts = self.processes * options.accumulate
        automatic = automatic_batch_size(len(self.search.split.train), parts)
        options = dataclasses.replace(options, batch_size=options.batch_size or automatic)
        steps, seconds = self._steps_per_epoch(options), 0.0
        for size, epochs in Counter(sizes(options.image_size, options.epochs)).items():
            batch = self._batch(options, size)
            if batch not in self.per_step:
                self.per_step[batch] = estimate.seconds_per_step(self.space, *batch)
            seconds += epochs * steps * self.per_step[batch]
        return seconds

    def _steps_per_epoch(self, options: Any) -> int:
        images = len(self.search.split.train)
        if images < options.batch_size:
            raise UserError(f"{images:,} images to learn from are fewer than a batch of {options.batch_size}")
        return int(images // options.batch_size)

    def _batch(self, options: Any, size: int) -> tuple[int, int, int, torch.device]:
        """Classes, side of the images, and images of a batch in one process, where a step runs."""
        return self.classes, size or self.space.input_size, local_batch(options, self.processes), self.device
