"""The equivariant learnable stabilizer, which replaces identities in the supernet, and variants for ablations."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from scarlet_models.errors import UserError

# 1x1 convolution (the paper's); plain skip; 1x1 with batch norm; 1x1 with ReLU
VARIANTS = ("linear", "skip", "bn", "relu")

# The paper names none. After 2,500 fair steps (mean of three seeds) the supernet reaches 49.2% with this and 45.0% with
# torch's initialisation, and networks of equal depth rank better (docs/stabilizer.md).
DEFAULT_INIT = "identity"


def _identity_noise(weight: Tensor) -> None:
    """The identity plus Gaussian noise whose spectral norm is about 0.2."""
    nn.init.dirac_(weight)
    with torch.no_grad():
        weight += 0.1 / math.sqrt(weight.shape[0]) * torch.randn_like(weight)


INITS: dict[str, Callable[[Tensor], object]] = {
    "torch": lambda weight: None,  # what nn.Conv2d has just done
    "identity": nn.init.dirac_,
    "orthogonal": nn.init.orthogonal_,
    "identity_noise": _identity_noise,
}


class Stabilizer(nn.Conv2d):
    """Equivariant learnable stabilizer (arXiv 1908.06022): a 1x1 convolution without bias that keeps (N, C, H, W).

    It is linear and so adds no representational power: `fold_stabilizers` absorbs it into the layers around it.
    """

    def __init__(self, channels: int, init: str = DEFAULT_INIT) -> None:
        super().__init__(channels, channels, 1, bias=False)
        INITS[init](self.weight)


def check_variant(stabilizer: str) -> str:
    """The name itself, if it is one of `VARIANTS`."""
    if stabilizer not in VARIANTS:
        raise UserError(f"stabilizer {stabilizer!r} is not one of {', '.join(VARIANTS)}")
    return stabilizer


def identity_module(channels: int, variant: str, init: str) -> nn.Module:
    """The module that replaces an identity that keeps the shape: one of `VARIANTS`, initialised as `INITS` says."""
    if init not in INITS:
        raise UserError(f"initialisation {init!r} of the stabilizer is not one of {', '.join(INITS)}")
    stabilizer = nn.Identity() if variant == "skip" else Stabilizer(channels, init)
    behind = {"bn": nn.BatchNorm2d(channels), "relu": nn.ReLU()}.get(variant)
    return nn.Sequential(stabilizer, behind) if behind else stabilizer
