"""Latency and throughput of networks, measured in turns, so that a busy machine slows all of them equally; and networks
compared with the first of them."""

import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from scarlet_models.errors import as_user_error
from scarlet_models.networks import MISTAKES

from .counting import count, in_channels

K = TypeVar("K")
T = TypeVar("T")

REPEATS = 5  # passes of one image in a round; their median counts
_FEW = 8  # images of a first step


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
    seconds = []
    for _ in range(repeats):
        wait(device)
        start = time.perf_counter()
        run()
        wait(device)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def seconds_of_batch(
    step: Callable[[Tensor, Tensor], object], size: int, batch: int, classes: int, device: torch.device
) -> float:
    """Median wall time in seconds of a step on a batch of random images and labels, by a few steps.

    If a whole batch would take longer than a second, the time is scaled from that of a few images.
    """
    generator = torch.Generator().manual_seed(0)

    def seconds(count: int, repeats: int = 1) -> float:
        images = torch.randn(count, 3, size, size, generator=generator)
        images = images.to(device, memory_format=torch.channels_last)
        labels = torch.randint(classes, (count,), generator=generator).to(device)
        return median_seconds(lambda: step(images, labels), repeats, device)

    few = min(batch, _FEW)
    seconds(few)  # warms up
    count = batch if seconds(few) * batch / few < 1 else few
    return seconds(count, 3) * batch / count


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


@torch.inference_mode()
def compare(
    models: Mapping[str, nn.Module],
    input_size: int,
    batch_size: int,
    rounds: int,
    device: torch.device,
    advance: Callable[[], None] = lambda: None,
) -> list[dict[str, Any]]:
    """Cost, latency (s) and throughput (images/s) of networks in eval mode, and the ratios to the first one's."""

    def measure(model: nn.Module) -> tuple[float, float]:
        shape = (in_channels(model), input_size, input_size)
        one, many = (torch.randn(images, *shape, device=device) for images in (1, batch_size))
        return median_seconds(lambda: model(one), REPEATS, device), median_seconds(lambda: model(many), 1, device)

    costs = {}
    for name, model in models.items():
        with as_user_error(f"{name} cannot see images of {input_size} px", *MISTAKES):
            costs[name] = count(model, input_size)
    timed = interleaved({name: partial(measure, model) for name, model in models.items()}, rounds, advance)
    seconds = {name: tuple(map(statistics.median, zip(*rows, strict=True))) for name, rows in timed.items()}
    first_single, first_batch = next(iter(seconds.values()))
    return [
        {
            "model": name,
            **asdict(costs[name]),
            "latency": single,
            "latency_ratio": single / first_single,
            "throughput": batch_size / batch,
            "throughput_ratio": first_batch / batch,
        }
        for name, (single, batch) in seconds.items()
    ]
