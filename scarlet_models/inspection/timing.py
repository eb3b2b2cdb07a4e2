"""Latency and throughput of networks, measured in turns, so that a busy machine slows all of them equally."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch

K = TypeVar("K")
T = TypeVar("T")


def interleaved(
    measures: Mapping[K, Callable[[], T]], rounds: int, advance: Callable[[], None] = lambda: None
) -> dict[K, list[T]]:
    """Results of each measurement, once a round in a new random order, after one round of warm-up."""
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


def median_seconds(run: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Median wall time in seconds of a call, repeated at once, with the device's work."""
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
    if device.type == "cuda":
        torch.cuda.synchronize(device)
