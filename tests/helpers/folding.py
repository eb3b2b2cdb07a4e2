"""Supernets with stabilizers to fold, and how far an extracted network is from its path."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from scarlet_models.search.supernet.stabilizer import Stabilizer
from scarlet_models.search.supernet.supernet import Supernet

IDENTITY = 2  # in the spaces below
CHAIN: dict[str, Any] = {
    "name": "chain",
    "input_size": 16,
    "num_classes": 5,
    "stem": {"channels": 16, "stride": 2, "act": "relu", "separable": 8},
    "stages": [{"channels": 16, "depth": 6, "stride": 2}, {"channels": 24, "depth": 2, "stride": 2}],
    "act": "hard_swish",
    "choices": [{"expand": 2, "kernel": 3}, {"expand": 3, "kernel": 5, "se": 0.25}, "identity"],
    "head": {"channels": 32, "act": "relu"},
}
# The first layers keep the stem's shape: they stand behind a ReLU, or behind a separable convolution with a shortcut.
NO_START = CHAIN | {
    "stem": {"channels": 16, "stride": 2, "act": "relu"},
    "stages": [{"channels": 16, "depth": 4, "stride": 1}, {"channels": 24, "depth": 2, "stride": 2}],
}
SHORTCUT_START = NO_START | {"stem": {"channels": 16, "stride": 2, "act": "relu", "separable": 16}}


def randomise(net: Supernet) -> Supernet:
    """Batch norms as after training, so that eval mode means something."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return net.eval()


def supernet(space: Any, **options: Any) -> Supernet:
    return randomise(Supernet(space, **{"init": "torch", **options}).double())


def random_images(size: int, dtype: torch.dtype = torch.double) -> Tensor:
    return torch.randn(3, 3, size, size, dtype=dtype)


@torch.no_grad()
def error(result: Tensor, expected: Tensor) -> float:
    """Relative error; in double precision relative to the deviation over images, so that its mean hides nothing."""
    scale = expected - expected.mean(0) if expected.dtype == torch.double else expected
    return float((result - expected).norm() / scale.norm())


@torch.no_grad()
def path_taps(net: Supernet, images: Tensor, genotype: str) -> list[Tensor]:
    """The path's features in front of each layer that strides, and behind the last."""
    features, taps = net.stem(images), []
    for layer, index in zip(net.space.layers, map(int, genotype.split(",")), strict=True):
        if layer.stride > 1:
            taps.append(features)
        features = net.choice(layer.index, index)(features)
    return [*taps, features]


@torch.no_grad()
def compare(net: Supernet, genotype: str, model: nn.Module, images: Tensor) -> tuple[float, list[float]]:
    """Relative errors of logits and feature taps."""
    taps = model.forward_intermediates(images, intermediates_only=True)
    expected = path_taps(net, images, genotype)
    return error(model(images), net(images, genotype)), [error(*pair) for pair in zip(taps, expected, strict=True)]


def set_weight(net: Supernet, layer: int, matrix: Tensor) -> None:
    net.choice(layer, net.space.identity).weight.data = matrix.to(torch.double)[:, :, None, None]


def without_stabilizers(net: Supernet, genotype: str) -> nn.Module:
    """The extracted model of a path whose stabilizers are simply left out."""
    model = net.extract(genotype, fold=False)
    for module in model.modules():
        if isinstance(module, Stabilizer):
            nn.init.dirac_(module.weight)
    return model


def conditioned(channels: int, smallest: float) -> Tensor:
    """A random matrix with singular values from 1 down to `smallest`."""
    left, right = (torch.linalg.qr(torch.randn(channels, channels, dtype=torch.double))[0] for _ in range(2))
    return left @ torch.diag(torch.linspace(1, smallest, channels, dtype=torch.double)) @ right
