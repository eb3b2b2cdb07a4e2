"""Networks timed side by side and compared with the first of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import nn

from scarlet_models.errors import UserError, first_line
from scarlet_models.networks import MISTAKES
from scarlet_models.space.cost import Cost

from .counting import count, in_channels
from .timing import interleaved, median_seconds

REPEATS = 5  # passes of one image in a round; their median counts


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

    costs = {name: _cost(name, model, input_size) for name, model in models.items()}
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


def _cost(name: str, model: nn.Module, input_size: int) -> Cost:
    try:
        return count(model, input_size)
    except MISTAKES as error:
        raise UserError(f"{name} cannot see images of {input_size} px: {first_line(error)}") from error
