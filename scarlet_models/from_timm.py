"""A network of timm's EfficientNet family as a search space and a genotype in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import get_act_layer
from timm.models import _efficientnet_blocks as blocks
from timm.models import split_model_name_tag
from timm.models.efficientnet import EfficientNet
from timm.models.mobilenetv3 import MobileNetV3
from torch import Tensor, nn

from scarlet_models.errors import UserError
from scarlet_models.models import scarlet_net
from scarlet_models.networks import create_on_meta
from scarlet_models.space.blocks import ACTIVATIONS, KINDS, Choice, divisible
from scarlet_models.space.space import Genotype, SearchSpace

_CLASSES = {
    blocks.InvertedResidual: "ir",
    blocks.EdgeResidual: "er",
    blocks.UniversalInvertedResidual: "uir",
    blocks.DepthwiseSeparableConv: "ds",
    blocks.ConvBnAct: "cn",
}
_ACTS = {get_act_layer(name): name for name in ACTIVATIONS}
_GATES = {"Sigmoid": "sigmoid", "Hardsigmoid": "hard_sigmoid", "HardSigmoid": "hard_sigmoid"}  # torch's and timm's


class _Unknown(Exception):
    """What a space cannot say."""


def space_of(network: str | nn.Module, add_choices: str | Sequence[str] = ()) -> tuple[SearchSpace, Genotype]:
    """The space around a network of timm's EfficientNet family, and the network's genotype in it.

    Stages of plain convolutions, and of depthwise separable blocks before others, keep the choice that they have. All
    other layers choose among the blocks that the network uses in them, and the added ones.

    Args:
        network: timm's name with or without a tag, folder of a saved network, or a model.
        add_choices: Further block strings or "identity", in a list or separated by commas.

    Raises:
        UserError: No such network, or one that block strings cannot describe.
    """
    model: Any = create_on_meta(source_name(network)) if isinstance(network, str) else network
    name = network if isinstance(network, str) else model.pretrained_cfg.get("architecture", type(model).__name__)
    given = add_choices.split(",") if isinstance(add_choices, str) else add_choices
    try:
        added = [Choice.parse(text.strip()) for text in given if text.strip()]
        if isinstance(known := getattr(model, "genotype", None), Genotype):
            data = known.space.to_dict()
            data["choices"] += [choice.plain for choice in added if choice not in known.space.choices]
            space = SearchSpace.load(data)
            return space, space.validate(known)
        space, genotype = _read(model, Path(name).stem if Path(name).is_dir() else split_model_name_tag(name)[0], added)
    except (_Unknown, ValueError, AttributeError) as error:
        raise UserError(f"{name} cannot be written as a search space: {error}") from None
    _compare(model, name, genotype)
    return space, genotype


def source_name(source: str) -> str:
    """What `networks.create` takes for a folder, a file of weights beside its config.json, or timm's name."""
    path = Path(source)
    return f"local-dir:{path if path.is_dir() else path.parent}" if path.exists() else source


def load_space(source: str, add_choices: str = "") -> SearchSpace:
    """A space by its name or YAML file, or that of a network: timm's name or the folder of a saved one."""
    if not add_choices and (source in SearchSpace.names() or Path(source).is_file()):
        return SearchSpace.load(source)
    if Path(source).is_dir() or timm.is_model(split_model_name_tag(source)[0]):
        return space_of(source, add_choices)[0]
    if not add_choices:
        return SearchSpace.load(source)
    raise UserError(f"{source} is no network of timm or folder of a saved one: write added choices into the YAML file")


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Load the weights of a network into another of the same architecture whose stages may be cut otherwise."""
    for theirs, ours in zip(parts_of(source), parts_of(target), strict=True):
        ours.load_state_dict(theirs.state_dict(), assign=any(map(_is_meta, ours.parameters())))


def parts_of(model: Any) -> list[nn.Module]:
    """Stem, blocks and head of an EfficientNet in order, each once."""
    parts = dict(model.named_children())
    return [each for name in parts for each in (_blocks(model) if name == "blocks" else [parts[name]])]


def _blocks(model: Any) -> list[Any]:
    return [block for stage in model.blocks for block in stage]


def _is_meta(tensor: Tensor) -> bool:
    return tensor.is_meta


def _read(model: Any, name: str, added: list[Choice]) -> tuple[SearchSpace, Genotype]:
    if not isinstance(model, EfficientNet | MobileNetV3):
        raise _Unknown(f"it is a {type(model).__name__}, not timm's EfficientNet or MobileNetV3")
    modules = _blocks(model)
    se = _squeeze_excite(modules)
    acts = [_act(block) for block in modules]
    act = max(acts, key=acts.count)
    choices = [_choice(block, se.get("divisor", 1), act) for block in modules]
    kept = {"cn"} if {choice.kind for choice in choices} <= {"cn", "ds", "dsa"} else {"cn", "ds", "dsa"}
    stages: list[dict[str, Any]] = []
    for block, choice in zip(modules, choices, strict=True):
        stride, channels = _shape(block)
        own = {"choices": [choice.plain]} if choice.kind in kept else {}
        if (
            stride == 1
            and stages
            and stages[-1] == stages[-1] | {"channels": channels} | own
            and bool(own) == ("choices" in stages[-1])
        ):
            stages[-1]["depth"] += 1
        else:
            stages.append({"channels": channels, "depth": 1, "stride": stride} | own)
    searched = dict.fromkeys(choice.plain for choice in choices if choice.kind not in kept)
    searched |= dict.fromkeys(choice.plain for choice in added)
    pool_first = isinstance(model, MobileNetV3)
    norm = not pool_first or not isinstance(model.norm_head, nn.Identity)
    cfg: Any = model.pretrained_cfg
    data = {
        "name": name,
        "input_size": cfg["input_size"][-1],
        "num_classes": model.num_classes or 1000,
        "act": act,
        "norm_eps": model.bn1.eps,
        "pad": "same" if type(model.conv_stem) is not nn.Conv2d else "",
        "stem": {"channels": model.conv_stem.out_channels, "stride": 2, "act": _ACTS[type(model.bn1.act)]},
        "stages": stages,
        "choices": list(searched),
        "head": {
            "channels": model.conv_head.out_channels,
            "act": _ACTS[type(model.bn1.act)],
            "pool_first": pool_first,
            "norm": norm,
        },
    } | ({"se": se} if se else {})
    space = SearchSpace.load(data)
    return space, space.validate(space.choices.index(choice) for choice in choices)


def _act(block: Any) -> str:
    norm = block.pw_exp.bn if hasattr(block, "pw_exp") else block.bn1
    act = _ACTS.get(type(norm.act))
    if act is None:
        raise _Unknown(f"{type(norm.act).__name__} is not an activation of {', '.join(ACTIVATIONS)}")
    return act


def _squeeze_excite(modules: list[Any]) -> dict[str, Any]:
    """A space's entry `se`; its divisor is 8 if all reduced channels are a quarter of the inner ones, rounded so."""
    gates = [block.se for block in modules if isinstance(getattr(block, "se", None), blocks.SqueezeExcite)]
    if not gates:
        return {}
    shares = [gate.conv_reduce.out_channels / gate.conv_reduce.in_channels for gate in gates]
    rounded = all(g.conv_reduce.out_channels == divisible(g.conv_reduce.in_channels / 4) for g in gates)
    names = {"gate": _GATES.get(type(gates[0].gate).__name__, "other"), "act": _ACTS.get(type(gates[0].act1), "other")}
    return names | {"divisor": 8 if rounded and set(shares) != {0.25} else 1}


def _choice(block: Any, divisor: int, act: str) -> Choice:
    kind = _CLASSES.get(type(block))
    if kind is None:
        raise _Unknown(f"{type(block).__name__} is no block that a layer can be ({', '.join(KINDS)})")
    if kind == "ds" and block.has_pw_act:
        kind = "dsa"
    first = {"ir": "conv_pw", "er": "conv_exp", "uir": "pw_exp.conv", "cn": "conv"}.get(kind, "conv_dw")
    conv: Any = block.get_submodule(first)
    main: Any = {"ir": "conv_dw", "uir": "dw_mid.conv"}.get(kind, first)
    before, inside = conv.in_channels, conv.out_channels
    values: dict[str, Any] = {
        "kernel": _kernel(block, main),
        "expand": 1 if kind in ("ds", "dsa", "cn") else inside / before,
    }
    values["expand"] = float(f"{values['expand']:.4g}")
    if kind == "uir":
        values |= {"start": _kernel(block, "dw_start.conv"), "end": _kernel(block, "dw_end.conv")}
    if isinstance(getattr(block, "se", None), blocks.SqueezeExcite):
        reduced = block.se.conv_reduce.out_channels
        values["se"] = values["expand"] / 4 if divisor == 8 else float(f"{reduced / before:.4g}")
    stride, channels = _shape(block)
    usual = kind not in ("cn", "dsa")
    skip = block.has_skip if stride == 1 and before == channels else usual
    own = _act(block)
    return Choice.parse(Choice(kind, **values, act="" if own == act else own, skip=skip).block)


def _kernel(block: nn.Module, name: str) -> int:
    """Kernel of a convolution of a block; 0 if it has none."""
    parent, _, leaf = name.rpartition(".")
    module: Any = getattr(block.get_submodule(parent), leaf, None)
    return module.kernel_size[0] if module is not None else 0


def _shape(block: nn.Module) -> tuple[int, int]:
    """Stride, and channels of the output."""
    convs = [m for n, m in block.named_modules() if isinstance(m, nn.Conv2d) and not re.match(r"se\.", n)]
    return max(conv.stride[0] for conv in convs), convs[-1].out_channels


def _compare(model: nn.Module, name: str, genotype: Genotype) -> None:
    """Refuse a network that the genotype does not describe to the last detail of its modules."""
    space = genotype.space
    with_classes: dict[str, Any] = {"num_classes": getattr(model, "num_classes", 1000)}
    with torch.device("meta"):
        built = scarlet_net(genotype=genotype, space=space, **with_classes)
    for number, (theirs, ours) in enumerate(zip(parts_of(model), parts_of(built), strict=True)):
        if _described(theirs) != _described(ours):
            raise UserError(f"{name} cannot be written as a search space: part {number} is {theirs!r:.200}")


def _described(module: nn.Module) -> str:
    """Modules and their arguments; the momentum of batch norms is of training, and the classes have other names."""
    return re.sub(r"momentum=[\d.]+|Act2d|\s|2dSame", "", repr(module))
