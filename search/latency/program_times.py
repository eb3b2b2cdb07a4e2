"""How long blocks and networks take as programs of their own, in onnxruntime or ExecuTorch on a CPU.

These runtimes do not tell the time between the blocks of a network. So each block is a program, and what its call and
its float32 input and output cost is taken off: half of what a program of one tiny layer takes on maps of those shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from scarlet_models.export.formats import export
from scarlet_models.export.options import program_format
from scarlet_models.export.programs import Exported
from scarlet_models.inspection.timing import interleaved, median_seconds
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.space import SearchSpace

from .block_times import PASSES, Samples
from .options import LatencyOptions
from .table import Unit, distinct_units, head_input


def as_program(model: nn.Module, images: Tensor, options: LatencyOptions) -> Exported:
    """A model as a program of the options' runtime and dtype; int8 ranges come from random images, for their time only.

    Raises:
        UserError: The extra is not installed, or the model cannot be exported.
    """
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


def time_programs(
    net: Supernet, images: Tensor, options: LatencyOptions, advance: Callable[[], None]
) -> dict[str, list[float]]:
    """Milliseconds of each program in interleaved rounds, after one that does not count.

    `advance` is called after each measurement, and after each program that was made.
    """
    measures = {}
    for name, module, features in parts(net, images):
        run = partial(as_program(module, features, options).run, features)
        measures[name] = partial(median_seconds, run, PASSES, torch.device("cpu"))
        advance()
    seconds = interleaved(measures, options.rounds, advance)
    return {name: [1e3 * time for time in times] for name, times in seconds.items()}
