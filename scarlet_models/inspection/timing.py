"""Latency and throughput of networks, measured in turns, so that a busy machine slows all of them equally."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import torch
from torch import nn

from .counting import in_channels

K = TypeVar("K")
T = TypeVar("T")
REPEATS = 5  # passes of one image in a round; their median counts


@dataclass
class Timing:
    """Seconds of a forward pass of one network, one entry for each round: for one image, and for a batch."""

    single: list[float] = field(default_factory=list)
    batch: list[float] = field(default_factory=list)

    @property
    def latency(self) -> float:
        """Median seconds for one image."""
        return statistics.median(self.single)

    def throughput(self, batch_size: int) -> float:
        """Images per second in batches, from the median pass."""
        return batch_size / statistics.median(self.batch)


def interleaved(
    measures: Mapping[K, Callable[[], T]], rounds: int, advance: Callable[[], None] = lambda: None
) -> dict[K, list[T]]:
    """Results of each measurement, once a round in a new random order, after one round of warm-up.

    Args:
        measures: Name of each measurement, and the function that takes it.
        rounds: Rounds after the warm-up.
        advance: Called after each measurement, for a progress bar.
    """
    results: dict[K, list[T]] = {name: [] for name in measures}
    order, generator = list(measures), random.Random(0)
    for number in range(rounds + 1):
        generator.shuffle(order)
        for name in order:
            result = measures[name]()
            if number > 0:
                results[name].append(result)
            advance()
    return results


@torch.inference_mode()
def time_interleaved(
    models: Mapping[str, nn.Module],
    input_size: int,
    batch_size: int,
    rounds: int,
    device: torch.device,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, Timing]:
    """Time every model on one image and on a batch, by `interleaved`.

    Args:
        models: Models in eval mode on the device.
        input_size: Side of the images in px.
        batch_size: Images in the batch.
        rounds: Rounds after the warm-up.
        device: Where the models are.
        advance: Called after each model of each round, for a progress bar.
    """

    def measure(model: nn.Module) -> tuple[float, float]:
        shape = (in_channels(model), input_size, input_size)
        one, many = (torch.randn(count, *shape, device=device) for count in (1, batch_size))
        return median_seconds(lambda: model(one), REPEATS, device), median_seconds(lambda: model(many), 1, device)

    timed = interleaved({name: partial(measure, model) for name, model in models.items()}, rounds, advance)
    return {name: Timing(*map(list, zip(*rows, strict=True))) for name, rows in timed.items()}


def median_seconds(run: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Median wall time of a call, repeated at once, in seconds. It includes the device's work."""
    return statistics.median(_seconds(run, device) for _ in range(repeats))


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    wait(device)
    start = time.perf_counter()
    run()
    wait(device)
    return time.perf_counter() - start


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Let torch use `count` CPU threads inside the block; 0 changes nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def wait(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
