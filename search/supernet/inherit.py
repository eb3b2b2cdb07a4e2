"""First weights for a supernet from a trained network of its space, layer by layer."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from scarlet_models.weights.inherit import blocks_by_layer, fill_block, load_donor

from .supernet import Supernet


def inherit_supernet(net: Supernet, source: str) -> None:
    """Fills stem, head and every choice of a supernet from one trained network; stabilizers stay as they are.

    Args:
        net: What to fill, in place.
        source: Folder of an exported network, or timm's name of one that has weights.

    Raises:
        UserError: it is not a network of the supernet's space.
    """
    donor, genotype = load_donor(net.space, source)
    with torch.no_grad():
        _fill_ends(net, donor)
        donors = blocks_by_layer(donor, genotype)
        for index, choices in enumerate(net.layers):
            for block in cast(nn.ModuleDict, choices).values():
                if hasattr(block, "has_skip"):
                    fill_block(block, donors.get(index))


def _fill_ends(net: Supernet, donor: Any) -> None:
    for name, module in (*net.stem.named_children(), *net.head.named_children()):
        counterpart = donor.blocks[0][0] if name == "separable" else getattr(donor, name)
        if all(a.shape == b.shape for a, b in zip(module.parameters(), counterpart.parameters(), strict=True)):
            module.load_state_dict(counterpart.state_dict())
