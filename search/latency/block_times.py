"""How long each block of a space takes in PyTorch, timed at its place in whole networks.

A block on its own, run again and again, finds its weights and its input in the cache, and waits for the device before
and after: sums of such times miss what networks take. So paths of the supernet run whole, and the clock is read between
their blocks. Fair steps time every choice of a layer equally often, in changing company.
"""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scarlet_models.inspection.timing import wait
from scarlet_models.search.supernet.sampler import FairSampler
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.space import SearchSpace

from .table import LatencyTable, Unit, layer_units

PASSES = 3  # of a path, one after the other; their median counts, so that weights are as warm as in a network in use


@dataclass
class Samples:
    """Milliseconds, one entry for each measurement: of stem and head together, and of each unit."""

    base: list[float] = field(default_factory=list)
    units: dict[Unit, list[float]] = field(default_factory=lambda: defaultdict(list))

    def spread(self) -> float:
        """How much measurements of one thing differ: interquartile range over median, in the median over all units."""
        quartiles = np.array([np.quantile(times, (0.25, 0.5, 0.75)) for times in (self.base, *self.units.values())])
        quartiles = quartiles[quartiles[:, 1] > 0]  # a block may take no longer than a call
        return float(np.median((quartiles[:, 2] - quartiles[:, 0]) / quartiles[:, 1]))

    def table(self, space: SearchSpace, facts: dict[str, Any]) -> LatencyTable:
        """The table of the medians; its facts tell the spread too."""
        medians = {unit: float(np.median(times)) for unit, times in self.units.items()}
        own = {"measurements_of_a_block": min(map(len, self.units.values())), "spread": round(self.spread(), 4)}
        return LatencyTable.of_units(space, float(np.median(self.base)), medians, {**facts, **own})


@torch.inference_mode()
def time_blocks(net: Supernet, images: Tensor, rounds: int, seed: int, advance: Callable[[], None]) -> Samples:
    """Times every block in `rounds` fair steps of paths, after one that does not count.

    Args:
        net: The supernet with plain skips, in eval mode on the device.
        images: The batch (N, channels, H, W), on the device and in the memory format of the net.
        rounds: Fair steps; a layer's choices are each timed once in one, and layers of one shape share their times.
        seed: Of the paths.
        advance: Called after each fair step.
    """
    sampler, places, samples = FairSampler(net.space, seed), layer_units(net.space, images.shape[-1]), Samples()
    for number in range(rounds + 1):
        for path in sampler.fair_step():
            blocks = [(layer, choice) for layer, choice in enumerate(path) if choice in places[layer]]
            parts = [net.stem, *(net.choice(*block) for block in blocks), net.head]
            times = np.median([_pass(parts, images) for _ in range(PASSES)], axis=0).tolist()
            if number > 0:
                samples.base.append(times[0] + times[-1])
                for (layer, choice), milliseconds in zip(blocks, times[1:-1], strict=True):
                    samples.units[places[layer][choice]].append(milliseconds)
        advance()
    return samples


def _pass(parts: Sequence[nn.Module], images: Tensor) -> list[float]:
    """Milliseconds of each part in one pass; their sum is that of the pass."""
    if images.device.type == "cuda":
        return _pass_on_gpu(parts, images)
    clock = [time.perf_counter()]
    for part in parts:
        images = part(images)
        clock.append(time.perf_counter())
    return (1e3 * np.diff(clock)).tolist()


def _pass_on_gpu(parts: Sequence[nn.Module], images: Tensor) -> list[float]:
    """By events in the GPU's own queue, so that it never waits; starting and waiting for it count to the last part."""
    events = [torch.cuda.Event(enable_timing=True) for _ in parts]
    wait(images.device)
    start = time.perf_counter()
    for part, event in zip(parts, events, strict=True):
        event.record()
        images = part(images)
    wait(images.device)
    whole = 1e3 * (time.perf_counter() - start)
    times = [before.elapsed_time(after) for before, after in itertools.pairwise(events)]
    return [*times, whole - sum(times)]
