"""Where a network runs: its device, the layout of its memory, and on a CPU the faster depthwise gradients."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from .depthwise import accelerate_depthwise

M = TypeVar("M", bound=nn.Module)


def to_device(model: M, device: torch.device, channels_last: bool = True, fast_depthwise: bool = True) -> M:
    """The model, moved to the device."""
    if fast_depthwise and device.type == "cpu":
        accelerate_depthwise(model)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return model.to(device, memory_format=layout)  # type: ignore[call-overload]  # torch's stub lacks this
