"""How fast networks run, measured side by side so that a busy machine slows all of them alike."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass
class Timing:
    """Seconds a forward pass of one network took, one entry a round."""

    single: list[float] = field(default_factory=list)
    batch: list[float] = field(default_factory=list)

    @property
    def latency(self) -> float:
        """Median seconds for one picture."""
        return statistics.median(self.single)

    def throughput(self, batch_size: int) -> float:
        """Pictures a second in batches, from the median pass."""
        return batch_size / statistics.median(self.batch)


@torch.inference_mode()
def time_interleaved(
    models: Mapping[str, nn.Module],
    input_size: int,
    batch_size: int,
    rounds: int,
    device: torch.device,
    advance: Callable[[], None] = lambda: None,
    repeats: int = 5,
) -> dict[str, Timing]:
    """Time every model once a round, in an order drawn anew for each, after one round that does not count.

    Args:
        models: Models in eval mode on the device.
        repeats: Passes of one picture a round; their median counts.
        advance: Called after each model of each round.
    """
    one, many = (torch.randn(count, 3, input_size, input_size, device=device) for count in (1, batch_size))
    timings = {name: Timing() for name in models}
    order, generator = list(models), random.Random(0)
    for number in range(rounds + 1):
        generator.shuffle(order)
        for name in order:
            single = statistics.median(_seconds(models[name], one) for _ in range(repeats))
            batch = _seconds(models[name], many)
            if number > 0:
                timings[name].single.append(single)
                timings[name].batch.append(batch)
            advance()
    return timings


def _seconds(model: nn.Module, batch: Tensor) -> float:
    _wait(batch.device)
    start = time.perf_counter()
    model(batch)
    _wait(batch.device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
