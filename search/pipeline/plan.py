"""What a search will do: its stages, which of them are done, and about how long the others take."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch

from scarlet_models.errors import UserError
from scarlet_models.training.device import pick_device
from scarlet_models.training.optim import automatic_batch_size, local_batch
from scarlet_models.training.options import sizes

from . import estimate

if TYPE_CHECKING:
    from .pipeline import Stage
    from .run import Search


@dataclass(frozen=True)
class Step:
    """A stage of a plan.

    Args:
        stage: Its name.
        command: Subcommand of scarlet-search.
        why: What it is for, in one line.
        done: Whether it will be skipped.
        seconds: Of arithmetic, about; None where it is a matter of seconds and not estimated.
    """

    stage: str
    command: str
    why: str
    done: bool
    seconds: float | None


def make_plan(search: Search) -> list[Step]:
    """The stages in order, with an estimate by a few timed steps for those that may take long.

    Raises:
        UserError: a stage has a bad option.
    """
    estimator, steps = _Estimator(search), list[Step]()
    for stage in search.stages():
        needed = (step.done for step in steps if step.stage in stage.needs)
        done = all(needed) and search.pipeline.is_done(stage)
        seconds = 0.0 if done else estimator.seconds(stage)
        steps.append(Step(stage.name, stage.command, stage.why, done, seconds))
    return steps


def total_seconds(steps: list[Step]) -> float:
    """Of arithmetic in all stages that are not done."""
    return sum(step.seconds or 0.0 for step in steps)


def as_data(search: Search, steps: list[Step]) -> dict[str, Any]:
    """The plan for programs."""
    return {
        "space": search.space.name,
        "images": len(search.split.train),
        "held_out": len(search.split.holdout),
        "out": search.options.out,
        "seconds": total_seconds(steps),
        "stages": [dataclasses.asdict(step) for step in steps],
    }


def show_plan(search: Search, steps: list[Step]) -> None:
    """Prints the plan."""
    from scarlet_models.terminal import console, table

    out, shown = console(), table("stage", ">estimate", "what for")
    for step in steps:
        text = "seconds" if step.seconds is None else _duration(step.seconds)
        shown.add_row(step.stage, "done" if step.done else text, step.why)
    out.print(
        f"space {search.space.name}, {len(search.split.train):,} images to learn from and "
        f"{len(search.split.holdout):,} held out to choose by; all files go to {search.options.out}\n"
    )
    out.print(shown)
    total = _duration(total_seconds(steps))
    out.print(f"\nin all about {total} of arithmetic, by a few timed steps; reading images may add to it")


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds))) if seconds >= 1 else "a second"


class _Estimator:
    """Seconds of a stage, by its command."""

    def __init__(self, search: Search) -> None:
        self.search, self.space, self.processes = search, search.space, search.options.processes
        self.device: torch.device = pick_device(search.options.device)
        self.classes = len(search.images.classes)

    def seconds(self, stage: Stage) -> float | None:
        """Estimate for a stage that trains or scores; None for others.

        Raises:
            UserError: a bad option.
        """
        options = self.search.pipeline.options_of(stage)
        known = {"train": self._train, "latency": self._latency, "evolve": self._evolve, "retrain": self._retrain}
        return known[stage.command](options) if stage.command in known else None

    def _train(self, options: Any) -> float:
        fair_steps = options.steps or options.epochs * self._steps_per_epoch(options)
        return fair_steps * estimate.seconds_per_fair_step(self.space, *self._batch(options, options.image_size))

    def _latency(self, options: Any) -> float:
        return estimate.seconds_of_latency(self.space, options)

    def _evolve(self, options: Any) -> float:
        size = self.search.pipeline.options_of(self.search.training()).image_size or self.space.input_size
        images = (options.images or len(self.search.split.holdout)) + options.calibration_images
        paths = min(options.population * options.generations * (2 if options.random else 1), self.space.size)
        batch = min(options.batch_size, images)
        seconds = estimate.seconds_per_path(self.space, self.classes, size, batch, self.device)
        return paths / self.processes * seconds * images / batch

    def _retrain(self, options: Any) -> float:
        parts = self.processes * options.accumulate
        automatic = automatic_batch_size(len(self.search.split.train), parts)
        options = dataclasses.replace(options, batch_size=options.batch_size or automatic)
        epochs, steps = Counter(sizes(options.image_size, options.epochs)), self._steps_per_epoch(options)
        batches = [(count, self._batch(options, size)) for size, count in epochs.items()]
        return sum(count * steps * estimate.seconds_per_step(self.space, *batch) for count, batch in batches)

    def _steps_per_epoch(self, options: Any) -> int:
        images = len(self.search.split.train)
        if images < options.batch_size:
            raise UserError(f"{images:,} images to learn from are fewer than a batch of {options.batch_size}")
        return int(images // options.batch_size)

    def _batch(self, options: Any, size: int) -> tuple[int, int, int, torch.device]:
        """Classes, side of the images, and images of a batch in one process, where a step runs."""
        return self.classes, size or self.space.input_size, local_batch(options, self.processes), self.device
