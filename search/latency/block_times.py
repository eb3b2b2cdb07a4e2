"""How long each block of a space takes: in PyTorch at its place in whole networks, elsewhere as a program of its own.

A block on its own, run again and again, finds its weights and its input in the cache, and waits for the device before
and after: sums of such times miss what networks take. So paths of the supernet run whole, and the clock is read between
their blocks. Fair steps time every choice of a layer equally often, in changing company.

onnxruntime and ExecuTorch do not tell the time between the blocks of a network. So each block is a program, and what
its call and its float32 input and output cost is taken off: half of what a program of one tiny layer takes on maps of
those shapes.
"""

import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scarlet_models.export.formats import Exported, export
from scarlet_models.export.options import program_format
from scarlet_models.inspection.timing import wait
from scarlet_models.search.supernet.sampler import FairSampler
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.space import SearchSpace

from .options import LatencyOptions
from .table import LatencyTable, Unit, distinct_units, head_input, layer_units

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
    """Time every block of a supernet with plain skips in `rounds` fair steps of paths, after one that does not count.

    A fair step times each of a layer's choices once, and layers of one shape share their times. The images
    (N, channels, H, W) are on the device and in the memory format of the net. `advance` is called after each fair step.
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


def as_program(model: nn.Module, images: Tensor, options: LatencyOptions) -> Exported:
    """A model as a program of the options' runtime and dtype; ranges of int8 are those of random images."""
    kind = program_format(options.runtime, options.dtype)
    calibration = torch.randn(2 * len(images), *images.shape[1:]) if options.dtype == "int8" else None
    return export(kind, model, images, calibration=calibration, threads=options.threads)


def parts(net: Supernet, images: Tensor) -> Iterator[tuple[str, nn.Module, Tensor]]:
    """Name, module and input of everything that is timed on its own, of a supernet with plain skips in eval mode."""
    yield "stem", net.stem, images
    yield "head", net.head, torch.randn(len(images), *head_input(net.space, images.shape[-1]))
    units = distinct_units(net.space, images.shape[-1])
    for unit, layer in units.items():
        features = torch.randn(len(images), unit.in_channels, unit.size, unit.size)
        yield block_name(unit), net.choice(layer, unit.choice), features
    for channels, size in dict.fromkeys(shape for unit in units for shape in _maps(unit)):
        tiny = nn.Conv2d(channels, channels, 1, groups=channels, bias=False).eval()
        yield f"map-{channels}-{size}", tiny, torch.randn(len(images), channels, size, size)


def block_name(unit: Unit) -> str:
    """A name for the files of a block."""
    return "-".join(map(str, ("block", *unit)))


def _maps(unit: Unit) -> tuple[tuple[int, int], tuple[int, int]]:
    """Channels and side of a block's input and output."""
    return (unit.in_channels, unit.size), (unit.out_channels, -(-unit.size // unit.stride))


def samples_of(space: SearchSpace, image_size: int, times: Mapping[str, Sequence[float]]) -> Samples:
    """Milliseconds of blocks, and of stem and head, from those of the programs of `parts`."""

    def half(channels: int, size: int) -> float:
        return float(np.median(times[f"map-{channels}-{size}"])) / 2

    stem = np.median(times["stem"]) - half(space.layers[0].in_channels, space.map_sizes(image_size)[0])
    samples = Samples((stem + np.array(times["head"]) - half(*head_input(space, image_size)[:2])).tolist())
    for unit in distinct_units(space, image_size):
        around = sum(half(*shape) for shape in _maps(unit))
        samples.units[unit] = np.maximum(np.array(times[block_name(unit)]) - around, 0).tolist()
    return samples
