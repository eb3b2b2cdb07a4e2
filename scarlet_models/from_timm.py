"""A network of timm's EfficientNet family as a search space and a genotype in it."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from timm.layers import get_act_layer
from timm.models import split_model_name_tag
from timm.models._efficientnet_blocks import SqueezeExcite
from timm.models.efficientnet import EfficientNet
from timm.models.mobilenetv3 import MobileNetV3
from torch import nn

from scarlet_models.errors import UserError, as_user_error
from scarlet_models.models import scarlet_net
from scarlet_models.networks import create_on_meta, image_size
from scarlet_models.space.blocks import ACTIVATIONS, Choice, divisible
from scarlet_models.space.space import Genotype, SearchSpace

# Class of block -> its kind, and what its parts do
_BLOCKS = {
    "InvertedResidual": ("ir", {"expand": "conv_pw bn1", "middle": "conv_dw bn2", "project": "conv_pwl bn3"}),
    "EdgeResidual": ("er", {"expand": "conv_exp bn1", "project": "conv_pwl bn2"}),
    "DepthwiseSeparableConv": ("ds", {"middle": "conv_dw bn1", "project": "conv_pw bn2"}),
    "ConvBnAct": ("cn", {"project": "conv bn1"}),
    "UniversalInvertedResidual": (
        "uir",
        {"start": "dw_start", "expand": "pw_exp", "middle": "dw_mid", "project": "pw_proj", "end": "dw_end"},
    ),
}
_ACTS = {get_act_layer(name).__name__: name for name in ACTIVATIONS}
_GATES = {"Sigmoid": "sigmoid", "Hardsigmoid": "hard_sigmoid", "HardSigmoid": "hard_sigmoid"}  # torch's and timm's


class Step(NamedTuple):
    """A convolution of a block, and the batch norm behind it."""

    conv: Any
    norm: Any


def space_of(network: str | nn.Module, add_choices: str | Sequence[str] = ()) -> tuple[SearchSpace, Genotype]:
    """The space around a network of timm's EfficientNet family, and the network's genotype in it.

    Plain convolutions, and depthwise separable blocks before others, keep their only choice. All other layers choose
    among the blocks that the network uses in them, and the added ones.

    Args:
        network: timm's name with or without a tag, folder of a saved network, or a model.
        add_choices: Further block strings or "identity", in a list or separated by commas.

    Raises:
        UserError: No such network, or one that block strings cannot describe.
    """
    model: Any = create_on_meta(network) if isinstance(network, str) else network
    name = network if isinstance(network, str) else model.pretrained_cfg["architecture"]
    texts = add_choices.split(",") if isinstance(add_choices, str) else add_choices
    kinds = ValueError, KeyError, AttributeError, UserError
    with as_user_error(f"{name} cannot be written as a search space", *kinds):
        added = [Choice.parse(text.strip()).block for text in texts if text.strip()]
        known = getattr(model, "genotype", None)
        if known and added:
            raise ValueError(f"write further choices into a YAML file of its space {known.space.name!r}")
        genotype: Genotype = known or _read(model, re.sub(r"\W+", "_", split_model_name_tag(name)[0])[-100:], added)
        with torch.device("meta"):
            built = scarlet_net(genotype=genotype, num_classes=model.num_classes)
        for ours, theirs in zip(parts_of(built), parts_of(model), strict=True):
            if _described(ours) != _described(theirs):
                raise ValueError(f"no space says {' '.join(repr(theirs).split()):.100}...")
    return genotype.space, genotype


def load_space(source: str, add_choices: str = "") -> tuple[SearchSpace, Genotype | None]:
    """A space by its name or YAML file, or that of a network (timm's name, the folder of a saved one) and itself."""
    is_network = Path(source).is_dir() or timm.is_model(split_model_name_tag(source)[0])
    if add_choices or (is_network and source not in SearchSpace.names()):
        return space_of(source, add_choices)
    return SearchSpace.load(source), None


def parts_of(model: Any) -> list[nn.Module]:
    """Stem, blocks and head of an EfficientNet in order, each once."""
    parts = dict(model.named_children())
    return [each for name in parts for each in (blocks_of(model) if name == "blocks" else [parts[name]])]


def blocks_of(model: Any) -> list[Any]:
    """The blocks of an EfficientNet in order."""
    return [block for stage in model.blocks for block in stage]


def steps_of(block: Any) -> dict[str, Step]:
    """What the convolutions of a block do (start, expand, middle, project, end), whatever timm calls them."""
    steps = {}
    for step, names in _BLOCKS[type(block).__name__][1].items():
        parts = [getattr(block, name) for name in names.split()]
        if not isinstance(parts[0], nn.Identity):
            steps[step] = Step(*parts) if len(parts) == 2 else Step(parts[0].conv, parts[0].bn)
    return steps


def _read(model: Any, name: str, added: list[str]) -> Genotype:
    if not isinstance(model, EfficientNet | MobileNetV3):
        raise ValueError(f"it is a {type(model).__name__}, not timm's EfficientNet or MobileNetV3")
    blocks = blocks_of(model)
    gates = [block.se for block in blocks if isinstance(getattr(block, "se", None), SqueezeExcite)]
    # In MobileNetV3 a quarter of the inner channels, rounded to a multiple of 8.
    reduced = [(gate.conv_reduce.out_channels, gate.conv_reduce.in_channels / 4) for gate in gates]
    rounded = all(n == divisible(quarter) for n, quarter in reduced) and any(n != quarter for n, quarter in reduced)
    acts = [_act(block) for block in blocks]
    act = max(acts, key=acts.count)
    choices = [_choice(block, rounded, act) for block in blocks]
    fixed = {"cn"} if {choice.kind for choice in choices} <= {"cn", "ds", "dsa"} else {"cn", "ds", "dsa"}
    stages: list[dict[str, Any]] = []
    for block, choice in zip(blocks, choices, strict=True):
        stage = {"channels": _channels(block), "choices": [choice.block] if choice.kind in fixed else None}
        if stages and _stride(block) == 1 and stages[-1] == stages[-1] | stage:
            stages[-1]["depth"] += 1
        else:
            stages.append(stage | {"depth": 1, "stride": _stride(block)})
    used = [choice.block for choice in choices if choice.kind not in fixed]
    pool_first, stem_act = isinstance(model, MobileNetV3), _ACTS[type(model.bn1.act).__name__]
    norm = not pool_first or not isinstance(model.norm_head, nn.Identity)
    se: dict[str, Any] = {"divisor": 8 if rounded else 1}
    if gates:
        se |= {"gate": _GATES[type(gates[0].gate).__name__], "act": _ACTS[type(gates[0].act1).__name__]}
    space = SearchSpace.load(
        {
            "name": name,
            "input_size": image_size(model),
            "num_classes": model.num_classes or 1000,
            "act": act,
            "se": se,
            "norm_eps": model.bn1.eps,
            "pad": "" if type(model.conv_stem) is nn.Conv2d else "same",
            "stem": {"channels": model.conv_stem.out_channels, "stride": 2, "act": stem_act},
            "stages": stages,
            "choices": list(dict.fromkeys([*used, *added])),
            "head": {"channels": model.conv_head.out_channels, "act": stem_act, "pool_first": pool_first, "norm": norm},
        }
    )
    return space.validate(map(space.choices.index, choices))


def _choice(block: Any, rounded: bool, act: str) -> Choice:
    name = type(block).__name__
    if name not in _BLOCKS:
        raise ValueError(f"{name} is no block that a layer can be: {', '.join(_BLOCKS)} are")
    kind, steps = _BLOCKS[name][0], steps_of(block)
    kind = "dsa" if kind == "ds" and block.has_pw_act else kind
    kernels = {step: part.conv.kernel_size[0] for step, part in steps.items()}
    kernel = kernels.get("middle", 0) if kind in ("ir", "ds", "dsa", "uir") else next(iter(kernels.values()))
    before, own = next(iter(steps.values())).conv.in_channels, _act(block)
    expand = float(f"{steps['project'].conv.in_channels / before:.4g}") if "expand" in steps else 1.0
    se = 0.0
    if isinstance(getattr(block, "se", None), SqueezeExcite):
        se = float(f"{expand / 4 if rounded else block.se.conv_reduce.out_channels / before:.4g}")
    skip = block.has_skip if _stride(block) == 1 and before == _channels(block) else kind not in ("cn", "dsa")
    ends = kernels.get("start", 0), kernels.get("end", 0)
    choice = Choice(kind, kernel, expand, se, *ends, "" if own == act else own, skip)
    return Choice.parse(choice.block)  # which checks it


def _act(block: Any) -> str:
    steps = steps_of(block) if type(block).__name__ in _BLOCKS else {}
    norms = [steps[step].norm for step in ("expand", "middle", "project") if step in steps]
    return _ACTS.get(type(norms[0].act).__name__, "") if norms else ""


def _stride(block: Any) -> int:
    return max(step.conv.stride[0] for step in steps_of(block).values())


def _channels(block: Any) -> int:
    return int(steps_of(block)["project"].conv.out_channels)


def _described(module: nn.Module) -> str:
    """Modules and their arguments, but for the momentum of batch norms, which is of training."""
    return re.sub(r"momentum=[\d.]+", "", repr(module))
