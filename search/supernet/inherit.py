"""First weights for a supernet from a trained network, layer by layer."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from scarlet_models.networks import create_on_meta
from scarlet_models.weights.inherit import fill_block, fill_end, load_donor

from .supernet import Supernet


def inherit_supernet(net: Supernet, source: str) -> None:
    """Fill stem, head and every choice of a supernet from one trained network; stabilizers stay as they are."""
    donor = load_donor(net.space, source)
    with torch.no_grad():
        for name, module in (*net.stem.named_children(), *net.head.named_children()):
            fill_end(module, donor.model.blocks[0][0] if name == "separable" else getattr(donor.model, name))
        for index, choices in enumerate(net.layers):
            for block in cast(nn.ModuleDict, choices).values():
                if hasattr(block, "has_skip"):
                    fill_block(block, donor.blocks.get(index))


def normalisation(source: str) -> dict[str, Any]:
    """Mean and deviation of the images that a trained network expects."""
    cfg: Any = create_on_meta(source).pretrained_cfg
    return {name: cfg[name] for name in ("mean", "std")}
