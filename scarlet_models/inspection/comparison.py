"""Networks timed side by side and compared with the first of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from scarlet_models.errors import UserError, first_line
from scarlet_models.networks import MISTAKES
from scarlet_models.space.cost import Cost

from .counting import count
from .timing import time_interleaved


def compare(
    models: Mapping[str, nn.Module],
    input_size: int,
    batch_size: int,
    rounds: int,
    device: torch.device,
    advance: Callable[[], None] = lambda: None,
) -> list[dict[str, Any]]:
    """Cost, latency (s) and throughput (images/s) of each network, and the ratios to the first one's.

    Args:
        models: Networks in eval mode on the device.
        advance: Called after each network of each round, the first of which does not count.

    Raises:
        UserError: A network does not take images of that size.
    """
    costs = {name: _cost(name, model, input_size) for name, model in models.items()}
    timings = time_interleaved(models, input_size, batch_size, rounds, device, advance)
    first = next(iter(timings.values()))
    return [
        {
            "model": name,
            **asdict(costs[name]),
            "latency": timing.latency,
            "latency_ratio": timing.latency / first.latency,
            "throughput": timing.throughput(batch_size),
            "throughput_ratio": timing.throughput(batch_size) / first.throughput(batch_size),
        }
        for name, timing in timings.items()
    ]


def _cost(name: str, model: nn.Module, input_size: int) -> Cost:
    try:
        return count(model, input_size)
    except MISTAKES as error:
        raise UserError(f"{name} cannot see images of {input_size} px: {first_line(error)}") from error
