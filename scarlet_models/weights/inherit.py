"""First weights for a network or a supernet from a trained network, layer by layer, whatever their choices are.

A wider block repeats channels and shares out their outgoing weights (Net2Net, Chen et al., arXiv 1511.05641), a
narrower one keeps those that matter most, and kernels are cropped or padded about their centre (as in Once-for-all, Cai
et al., arXiv 1908.09791). What has no counterpart starts as if it were not there: a squeeze-and-excite lets nearly all
pass, a depthwise convolution is the identity, and a block where the other network has an identity adds nothing.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from scarlet_models import networks
from scarlet_models.errors import UserError
from scarlet_models.from_timm import Step, blocks_of, space_of, steps_of
from scarlet_models.space.space import Genotype, SearchSpace

_OPEN_GATE = 2.0  # hard sigmoid of it is 0.83: open, yet not where its gradient ends
_NOISE = 0.02  # of a weight's deviation, so that repeated channels can part
_SAME = ("stem", "head", "act", "se", "norm_eps", "pad")  # what a donor's space must share


class Donor(NamedTuple):
    """A trained network, and its blocks by the layers of the space that inherits."""

    model: Any
    blocks: Mapping[int, Any]
    separable: bool  # whether a separable convolution stands before the layers


def inherit_from(model: nn.Module, network: str, space: str, source: str) -> None:
    """Fill a model, a `network` of a `space`, in place from a trained one; a classifier of other classes stays."""
    genotype = networks.genotype_of(network, space)
    if genotype is None:
        raise UserError(f"{network} cannot inherit from {source}: it is no network of a search space")
    inherit(model, genotype, load_donor(genotype.space, source))


def load_donor(space: SearchSpace, source: str) -> Donor:
    """A trained network whose stem, head, stages and activations are those of the space."""
    model: Any = networks.create(source, pretrained=True)
    genotype = getattr(model, "genotype", None) or space_of(model)[1]
    return donor_of(space, model, genotype, source)


def donor_of(space: SearchSpace, model: Any, genotype: Genotype, source: str = "the network") -> Donor:
    """A network as donor for a space: stages meet by their order, layers by their place in them."""
    own = genotype.space
    shapes = [[(stage.channels, stage.stride) for stage in each.stages] for each in (space, own)]
    gated = any(own.choices[choice].se for choice in genotype)
    names = [name for name in _SAME if gated or name != "se"]
    differ = [name for name in names if getattr(space, name) != getattr(own, name)]
    differ += ["stages"] if shapes[0] != shapes[1] else []
    if differ:
        reason = f"it is no network of the space {space.name!r}: their {differ[0]} differ"
        raise UserError(f"cannot inherit from {source}: {reason}; --space {source} is its own")
    blocks = blocks_by_layer(model, genotype)
    pairs = [
        (ours.index, blocks.get(theirs.index))
        for stage in range(len(space.stages))
        for ours, theirs in zip(space.stage_layers(stage), own.stage_layers(stage), strict=False)
    ]
    return Donor(model, dict(pairs), bool(own.stem.separable))


@torch.no_grad()
def inherit(model: Any, genotype: Genotype, donor: Donor) -> None:
    """Fill a model in place with what fits of a donor's weights."""
    for name, module in model.named_children():
        if name != "blocks":
            fill_end(module, getattr(donor.model, name))
    if donor.separable:
        fill_end(model.blocks[0][0], donor.model.blocks[0][0])
    for layer, block in blocks_by_layer(model, genotype).items():
        fill_block(block, donor.blocks.get(layer))


def fill_end(module: nn.Module, donor: nn.Module) -> None:
    """From the donor's part of stem or head, tensor by tensor, where the shapes agree."""
    own = module.state_dict()
    for name, tensor in donor.state_dict().items():
        if own[name].shape == tensor.shape:
            own[name].copy_(tensor)


def blocks_by_layer(model: Any, genotype: Genotype) -> dict[int, Any]:
    """The block of each layer that has one."""
    space = genotype.space
    blocks = blocks_of(model)[bool(space.stem.separable) :]
    layers = [layer.index for layer in space.layers if space.has_block(layer, genotype.choices[layer.index])]
    return dict(zip(layers, blocks, strict=True))


def fill_block(block: Any, donor: Any) -> None:
    """From the donor's block in the same layer; None where the donor has an identity there."""
    steps = steps_of(block)
    if donor is not None:
        others = steps_of(donor)
        if type(block) is type(donor) or {"expand", "project"} <= steps.keys() & others.keys():
            _morph(block, donor, steps, others)
    elif block.has_skip:
        nn.init.zeros_(list(steps.values())[-1].norm.weight)


def _morph(block: Any, donor: Any, steps: dict[str, Step], others: dict[str, Step]) -> None:
    wide, narrow = others["project"].conv.in_channels, steps["project"].conv.in_channels
    picked, repeats = torch.arange(narrow), torch.ones(narrow)
    if "expand" in steps:
        scale = others.get("middle", others["expand"]).norm.weight.abs()
        order = (others["project"].conv.weight.abs().sum((0, 2, 3)) * scale).argsort(descending=True)
        picked = order[torch.arange(narrow, device=order.device) % wide].sort().values
        repeats = torch.bincount(picked, minlength=wide)[picked].to(scale.dtype)
    for name, (conv, norm) in steps.items():
        other = others.get(name)
        if other is None:  # make it the identity
            nn.init.dirac_(conv.weight, conv.groups)
            norm.reset_parameters()
            nn.init.constant_(norm.weight, (1 + norm.eps) ** 0.5)
            continue
        inner = name in ("expand", "middle")
        weight = other.conv.weight[picked] if inner else other.conv.weight
        weight = _noisy(weight, narrow > wide) if name == "expand" else weight
        weight = weight[:, picked] / repeats[:, None, None] if name == "project" and "expand" in steps else weight
        pad = (conv.weight.shape[-1] - weight.shape[-1]) // 2  # about the kernel's centre; a negative one crops
        conv.weight.copy_(nn.functional.pad(weight, [pad] * 4))
        for key, tensor in other.norm.state_dict().items():
            norm.state_dict()[key].copy_(tensor[picked] if inner and tensor.ndim else tensor)
    _fill_gate(block, donor, steps["project"].conv, picked, repeats)


def _fill_gate(block: Any, donor: Any, project: Any, picked: Tensor, repeats: Tensor) -> None:
    gates: Any = [getattr(each, "se", None) for each in (block, donor)]
    gate, other = gates
    if hasattr(gate, "conv_reduce"):
        if hasattr(other, "conv_reduce"):
            _morph_gate(gate, other, picked, repeats)
        else:
            nn.init.zeros_(gate.conv_expand.weight)
            nn.init.constant_(gate.conv_expand.bias, _OPEN_GATE)
    elif hasattr(other, "conv_reduce"):
        share = torch.sigmoid(other.conv_expand.bias)[picked]
        project.weight.mul_(share[:, None, None])


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
