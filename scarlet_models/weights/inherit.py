"""First weights for a network from another trained one of its space, layer by layer, whatever their choices are.

A wider block repeats channels and shares out their outgoing weights (Net2Net, Chen et al., arXiv 1511.05641), a
narrower one keeps those that matter most, and kernels are cropped or padded about their centre (as in Once-for-all, Cai
et al., arXiv 1908.09791). What has no counterpart starts as if it were not there: a squeeze-and-excite lets nearly all
pass, and a block where the other network has an identity adds nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scarlet_models import networks
from scarlet_models.errors import UserError
from scarlet_models.space.space import Genotype, SearchSpace

_OPEN_GATE = 2.0  # hard sigmoid of it is 0.83: open, yet not where its gradient ends
_NOISE = 0.02  # of a weight's deviation, so that repeated channels can part


def inherit_from(model: nn.Module, network: str, space: str, source: str) -> None:
    """Fill a model in place from a trained network of its space; a classifier of other classes starts anew.

    Args:
        model: What to fill.
        network: Its name or genotype.
        space: Space of the genotype: a name or a YAML file.
        source: Folder of an exported network, or timm's name of one that has weights.
    """
    genotype = networks.genotype_of(network, space)
    if genotype is None:
        raise UserError(f"{network} cannot inherit from {source}: it is no network of a search space")
    inherit(model, genotype, *load_donor(genotype.space, source))


def load_donor(space: SearchSpace, source: str) -> tuple[Any, Genotype]:
    """A trained network of the space."""
    name = f"local-dir:{source}" if Path(source).is_dir() else source
    donor, genotype = networks.create(name, pretrained=True), networks.genotype_of(name)
    if genotype is None or genotype.space != space:
        raise UserError(f"cannot inherit from {source}: it is no network of the space {space.name!r}")
    return donor, genotype


@torch.no_grad()
def inherit(model: Any, genotype: Genotype, donor: nn.Module, donor_genotype: Genotype) -> None:
    """Fill a model in place with what fits of a donor's weights; both are networks of one space."""
    blocks, donors = blocks_by_layer(model, genotype), blocks_by_layer(donor, donor_genotype)
    inside = tuple(f"blocks.{i}." for i in range(_first_stage(genotype), len(model.blocks)))
    own = model.state_dict()
    for name, tensor in donor.state_dict().items():
        if not name.startswith(inside) and own[name].shape == tensor.shape:
            own[name].copy_(tensor)
    for layer, block in blocks.items():
        fill_block(block, donors.get(layer))


def fill_block(block: Any, donor: Any) -> None:
    """From the donor's block in the same layer; None where the donor has an identity there."""
    if donor is not None:
        _morph(block, donor)
    elif block.has_skip:
        nn.init.zeros_(block.bn3.weight)


def _first_stage(genotype: Genotype) -> int:
    return int(bool(genotype.space.stem.separable))


def blocks_by_layer(model: Any, genotype: Genotype) -> dict[int, Any]:
    """The block of each layer that has one."""
    blocks = [block for stage in list(model.blocks)[_first_stage(genotype) :] for block in stage]
    space = genotype.space
    layers = [layer.index for layer in space.layers if space.has_block(layer, genotype.choices[layer.index])]
    return dict(zip(layers, blocks, strict=True))


def _morph(block: Any, donor: Any) -> None:
    """Fills an inverted residual from another of the same outer channels."""
    if type(block) is not type(donor) or not hasattr(block, "conv_pw"):
        return
    wide, narrow = donor.conv_pw.out_channels, block.conv_pw.out_channels
    order = (donor.conv_pwl.weight.abs().sum((0, 2, 3)) * donor.bn2.weight.abs()).argsort(descending=True)
    picked = order[torch.arange(narrow, device=order.device) % wide].sort().values
    repeats = torch.bincount(picked, minlength=wide)[picked].to(block.conv_pwl.weight.dtype)
    block.conv_pw.weight.copy_(_noisy(donor.conv_pw.weight[picked], narrow > wide))
    block.conv_dw.weight.copy_(_resize_kernel(donor.conv_dw.weight[picked], block.conv_dw.weight.shape[-1]))
    block.conv_pwl.weight.copy_(donor.conv_pwl.weight[:, picked] / repeats[:, None, None])
    for name, rows in (("bn1", picked), ("bn2", picked), ("bn3", slice(None))):
        for key, tensor in getattr(donor, name).state_dict().items():
            getattr(block, name).state_dict()[key].copy_(tensor[rows] if tensor.ndim else tensor)
    if hasattr(block.se, "conv_reduce"):
        if hasattr(donor.se, "conv_reduce"):
            _morph_gate(block.se, donor.se, picked, repeats)
        else:
            nn.init.zeros_(block.se.conv_expand.weight)
            nn.init.constant_(block.se.conv_expand.bias, _OPEN_GATE)
    elif hasattr(donor.se, "conv_reduce"):
        gate = torch.sigmoid(donor.se.conv_expand.bias)[picked]
        block.conv_pwl.weight.mul_(gate[:, None, None])


def _morph_gate(gate: Any, donor: Any, picked: Tensor, repeats: Tensor) -> None:
    """Fills a squeeze-and-excite whose channels are the donor's `picked` ones."""
    wide, narrow = donor.conv_reduce.out_channels, gate.conv_reduce.out_channels
    order = donor.conv_expand.weight.abs().sum((0, 2, 3)).argsort(descending=True)
    inner = order[torch.arange(narrow, device=order.device) % wide].sort().values
    share = torch.bincount(inner, minlength=wide)[inner].to(repeats.dtype)
    whole = donor.conv_reduce.in_channels / len(picked.unique())  # of the squeezed channels that are left
    weight = donor.conv_reduce.weight[inner][:, picked] * whole / repeats[:, None, None]
    gate.conv_reduce.weight.copy_(_noisy(weight, narrow > wide))
    gate.conv_reduce.bias.copy_(donor.conv_reduce.bias[inner])
    gate.conv_expand.weight.copy_(donor.conv_expand.weight[picked][:, inner] / share[:, None, None])
    gate.conv_expand.bias.copy_(donor.conv_expand.bias[picked])


def _noisy(weight: Tensor, noisy: bool) -> Tensor:
    return weight + _NOISE * weight.std() * torch.randn_like(weight) if noisy else weight


def _resize_kernel(weight: Tensor, size: int) -> Tensor:
    """Cropped or zero-padded about the centre; a negative padding crops."""
    pad = (size - weight.shape[-1]) // 2
    return nn.functional.pad(weight, [pad] * 4)
