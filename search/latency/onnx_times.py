"""How long blocks and networks take in onnxruntime on a CPU.

Each block is a model of its own here, as onnxruntime does not tell the time between the blocks of a network. What a
call costs without any work is measured too and taken off. What remains is an upper bound: a network's inner maps stay
in onnxruntime's own memory layout, into which a model's input and out of which its output are converted.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scarlet_models.export.programs import export_program, onnx_bytes
from scarlet_models.inspection.timing import interleaved, median_seconds
from scarlet_models.search.supernet.supernet import Supernet

from .block_times import PASSES, Samples
from .table import Unit, distinct_units, head_input


def as_onnx(model: nn.Module, images: Tensor, threads: int) -> Callable[[], object]:
    """A call that runs the model in onnxruntime on images (N, ...).

    Args:
        threads: Of onnxruntime; 0 leaves its own choice.

    Raises:
        UserError: the extra is not installed, or the model cannot be written as ONNX.
    """
    several = images if len(images) > 1 else images.repeat(2, *[1] * (images.dim() - 1))
    data, _ = onnx_bytes(export_program(model, several), model, [several])
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session: Any = onnxruntime.InferenceSession(data, settings, providers=["CPUExecutionProvider"])
    return partial(session.run, None, {"pixels": images.numpy()})


def time_blocks_onnx(net: Supernet, images: Tensor, rounds: int, threads: int, advance: Callable[[], None]) -> Samples:
    """Times every block in interleaved rounds, after one that does not count.

    Args:
        net: The supernet with plain skips, in eval mode.
        images: The batch (N, channels, H, W).
        rounds: Measurements of each block.
        threads: Of onnxruntime; 0 leaves its own choice.
        advance: Called after each measurement, and after each block that was written as ONNX.
    """
    units, cpu = distinct_units(net.space, images.shape[-1]), torch.device("cpu")
    parts: dict[Unit | str, tuple[nn.Module, Tensor]] = {
        "nothing": (nn.ReLU(), torch.ones(1, 1)),
        "stem": (net.stem, images),
        "head": (net.head, torch.randn(len(images), *head_input(net.space, images.shape[-1]))),
    }
    for unit, layer in units.items():
        features = torch.randn(len(images), unit.in_channels, unit.size, unit.size)
        parts[unit] = (net.choice(layer, unit.choice), features)
    measures: dict[Unit | str, Callable[[], float]] = {}
    for name, (module, features) in parts.items():
        measures[name] = partial(median_seconds, as_onnx(module, features, threads), PASSES, cpu)
        advance()
    times = {name: 1e3 * np.array(seconds) for name, seconds in interleaved(measures, rounds, advance).items()}
    call = np.median(times.pop("nothing"))
    base = times.pop("stem") + times.pop("head") - call
    return Samples(base.tolist(), {unit: np.maximum(times[unit] - call, 0).tolist() for unit in units})
