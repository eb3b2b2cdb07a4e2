"""What a search will do: its stages, which of them are done, and about how long the others take."""

from dataclasses import dataclass

from .estimate import Estimator
from .search import WholeSearch


@dataclass(frozen=True)
class Step:
    """A stage of a plan. A done one will be skipped; `seconds` is None where they are few."""

    stage: str
    command: str
    why: str
    done: bool
    seconds: float | None


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
    estimator, steps = Estimator(search), list[Step]()
    for stage in search.all_stages():
        needed = (step.done for step in steps if step.stage in stage.needs)
        done = all(needed) and search.pipeline.is_done(stage)
        seconds = 0.0 if done else estimator.seconds(stage)
        steps.append(Step(stage.name, stage.command, stage.why, done, seconds))
    total = sum(step.seconds or 0.0 for step in steps)
    images, held_out = len(search.split.train), len(search.split.holdout)
    return Plan(search.space.name, images, held_out, search.options.out, total, steps)
