"""How long a search will take: a few timed steps of its arithmetic, scaled to the whole.

Reading and varying pictures is not in it, nor is what other programs take of the machine.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from scarlet_models.models import scarlet_net
from scarlet_models.space import SearchSpace

from .depthwise import accelerate_depthwise
from .sampler import FairSampler
from .square import add_gradients
from .supernet import Supernet

PICTURES = 16  # of a timed step, at most; larger batches are scaled from it
ROUNDS = 3


def seconds_per_square(space: SearchSpace, classes: int, size: int, batch: int, device: torch.device) -> float:
    """Time of one fair square, forward and backward.

    Args:
        space: The search space.
        classes: Outputs of the classifier.
        size: Side of the pictures in pixels.
        batch: Pictures in a square.
        device: Where to train.
    """
    net = _on(Supernet(space, classes), device).train()
    paths = FairSampler(space).square()
    images, labels = _pictures(min(batch, PICTURES), size, classes, device)

    def step() -> None:
        add_gradients(net, paths, images, labels)
        net.zero_grad(set_to_none=True)

    return _median(step, device) * batch / len(images)


def seconds_per_path(space: SearchSpace, classes: int, size: int, pictures: int, device: torch.device) -> float:
    """Time of scoring one path on its own on so many pictures; shapes and device as above."""
    net = _on(Supernet(space, classes), device).eval()
    path = FairSampler(space).square()[0]
    images, _ = _pictures(PICTURES, size, classes, device)

    @torch.inference_mode()
    def step() -> None:
        net(images, path)

    return _median(step, device) * pictures / len(images)


def seconds_per_step(space: SearchSpace, classes: int, size: int, batch: int, device: torch.device) -> float:
    """Time of one step of training a network of middling choices on its own; arguments as above."""
    choices = [layer.choices[len(layer.choices) // 2] for layer in space.layers]
    model = _on(scarlet_net(genotype=choices, space=space, num_classes=classes), device).train()
    images, labels = _pictures(min(batch, PICTURES), size, classes, device)

    def step() -> None:
        F.cross_entropy(model(images), labels).backward()
        model.zero_grad(set_to_none=True)

    return _median(step, device) * batch / len(images)


def _on(net: nn.Module, device: torch.device) -> nn.Module:
    if device.type == "cpu":
        accelerate_depthwise(net)
    return net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks this form


def _pictures(count: int, size: int, classes: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, size, size, generator=generator)
    labels = torch.randint(classes, (count,), generator=generator)
    return images.to(device, memory_format=torch.channels_last), labels.to(device)


def _median(step: Callable[[], None], device: torch.device) -> float:
    times = []
    for _ in range(ROUNDS + 1):
        started = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])  # the first warms up
