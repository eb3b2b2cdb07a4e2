"""Networks as plain data: their cost, and kind, shapes and cost of each block. `list`, `info` and `plot` show this."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import timm
import torch
from timm.models import get_pretrained_cfg
from timm.models._efficientnet_blocks import ConvBnAct, SqueezeExcite
from timm.models.efficientnet import EfficientNet
from timm.models.mobilenetv3 import MobileNetV3
from torch import Tensor, nn

from scarlet_models.errors import UserError
from scarlet_models.from_timm import steps_of
from scarlet_models.networks import create_on_meta, genotype_of, image_size
from scarlet_models.space.space import Genotype
from scarlet_models.weights.store import find

from .counting import count, count_with_thop, macs_by_module, on_meta

_KINDS = {
    "DepthwiseSeparableConv": "separable",
    "InvertedResidual": "inverted residual",
    "EdgeResidual": "fused",
    "UniversalInvertedResidual": "universal",
}


@dataclass(frozen=True)
class Block:
    """One block of a network. Sizes are the sides of square maps, in pixels."""

    module: str  # dotted name in the timm model; empty for an identity
    kind: str  # stem, a value of _KINDS, convolution, projection (a linear one), identity, head or classifier
    kernel: int  # of the convolution that strides; 0 where a universal block has none in the middle
    expand: float  # channels inside, as a multiple of the input's
    se: bool
    stride: int
    shortcut: bool
    in_channels: int
    channels: int
    in_size: int
    size: int
    macs: int
    params: int
    layer: int | None = None  # number of the searchable layer, and index of its choice, where a genotype is known
    choice: int | None = None
    start: int = 0  # kernel of the depthwise convolution in front of a universal block's expansion; 0 is none
    end: int = 0  # likewise behind its projection


def summarise_released() -> list[dict[str, Any]]:
    """Every model and tag of this package: its cost, and the file of its weights (None if there is none here)."""
    summaries = []
    for name in timm.list_models("scarlet_*", include_tags=True, exclude_filters=["scarlet_net*"]):
        cfg: Any = get_pretrained_cfg(name)
        architecture, _, tag = name.partition(".")
        size, genotype = cfg.input_size[-1], genotype_of(name)
        cost = genotype.cost(size, cfg.num_classes) if genotype else count(create_on_meta(name), size)
        weights = find(architecture, tag) if tag else None
        shape = {"input_size": size, "num_classes": cfg.num_classes, "params": cost.params, "macs": cost.macs}
        summaries.append({"model": name, **shape, "weights": str(weights) if weights else None})
    return summaries


def describe(name: str, space: str = "scarlet", input_size: int = 0) -> dict[str, Any]:
    """A network's genotype, blocks, feature taps and cost by each counter (None if a counter does not apply)."""
    genotype = genotype_of(name, space)
    model: Any = create_on_meta(name, space)
    size = input_size or image_size(model)
    return {
        "model": name,
        "genotype": str(genotype) if genotype else None,
        "space": genotype.space.name if genotype else None,
        "input_size": size,
        "num_classes": model.num_classes,
        "blocks": [asdict(block) for block in layout(model, size, genotype)],
        "cost": {
            "genotype": asdict(genotype.cost(size, model.num_classes)) if genotype else None,
            "torch": asdict(count(model, size)),
            "thop": asdict(count_with_thop(model, size)),
        },
        "feature_taps": feature_taps(model),
    }


def layout(model: nn.Module, input_size: int, genotype: Genotype | None = None) -> list[Block]:
    """The blocks of timm's EfficientNet or MobileNetV3 in order; the genotype adds choices and identities."""
    if not isinstance(model, EfficientNet | MobileNetV3):
        raise UserError(f"only networks built as timm's EfficientNet have a layout, not {type(model).__name__}")
    units = {name: (kind, modules) for name, kind, modules in _units(model)}
    shapes = _shapes(model, list(units), input_size)
    macs = macs_by_module(model, input_size)
    blocks = [_block(name, *units[name], *shapes[name], macs.get(name, 0)) for name in units]
    return blocks if genotype is None else list(_with_choices(blocks, genotype))


def feature_taps(model: nn.Module) -> list[dict[str, Any]]:
    """Reduction, channels and module of each feature map that `features_only` returns, from fine to coarse."""
    info: Any = model.feature_info
    taps: list[dict[str, Any]] = info if isinstance(info, list) else info.info
    return [{"reduction": tap["reduction"], "channels": tap["num_chs"], "module": tap["module"]} for tap in taps]


def _units(model: EfficientNet | MobileNetV3) -> Iterator[tuple[str, str, list[nn.Module]]]:
    """Name, kind and modules of each block; a hook can watch the first module."""
    yield "conv_stem", "stem", [model.conv_stem, model.bn1]
    for name, block in model.blocks.named_modules():
        if name.count(".") == 1:
            linear = isinstance(block, ConvBnAct) and isinstance(block.bn1.act, nn.Identity)
            kind = "projection" if linear else "convolution"
            yield f"blocks.{name}", _KINDS.get(type(block).__name__, kind), [block]
    yield "conv_head", "head", [model.conv_head, model.bn2 if isinstance(model, EfficientNet) else model.norm_head]
    if isinstance(model.classifier, nn.Linear):
        yield "classifier", "classifier", [model.classifier]


def _shapes(model: nn.Module, names: list[str], input_size: int) -> dict[str, tuple[torch.Size, torch.Size]]:
    copied, image = on_meta(model, input_size)
    shapes: dict[str, tuple[torch.Size, torch.Size]] = {}

    def record(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        shapes[name] = inputs[0].shape, output.shape

    for name in names:
        copied.get_submodule(name).register_forward_hook(partial(record, name))
    copied(image)
    return shapes


def _block(name: str, kind: str, modules: list[nn.Module], before: torch.Size, after: torch.Size, macs: int) -> Block:
    parts = [part for module in modules for part in module.modules()]
    convolutions = [part for part in parts if isinstance(part, nn.Conv2d)]
    steps = steps_of(modules[0]) if name.startswith("blocks.") else {}
    kernels = {step: part.conv.kernel_size[0] for step, part in steps.items()}
    widest = max((part.kernel_size[0] for part in convolutions), default=1)
    return Block(
        module=name,
        kind=kind,
        kernel=kernels.get("middle", 0) if kind == "universal" else widest,
        expand=steps["project"].conv.in_channels / before[1] if steps else 1,
        se=any(isinstance(part, SqueezeExcite) for part in parts),
        stride=math.prod(part.stride[0] for part in convolutions),
        shortcut=getattr(modules[0], "has_skip", False),
        in_channels=before[1],
        channels=after[1],
        in_size=before[2] if len(before) == 4 else 1,
        size=after[2] if len(after) == 4 else 1,
        macs=macs,
        params=sum(p.numel() for module in modules for p in module.parameters()),
        start=kernels.get("start", 0),
        end=kernels.get("end", 0),
    )


def _with_choices(blocks: list[Block], genotype: Genotype) -> Iterator[Block]:
    """The blocks with layer numbers and choices, and with the identities between them."""
    space, rest = genotype.space, iter(blocks)
    previous = blocks[0]
    for _ in range(2 if space.stem.separable else 1):
        previous = next(rest)
        yield previous
    for layer, choice in zip(space.layers, genotype, strict=True):
        if space.has_block(layer, choice):
            block = previous = next(rest)
        else:
            channels, size = previous.channels, previous.size
            block = Block("", "identity", 1, 1, False, 1, False, channels, channels, size, size, 0, 0)
        yield replace(block, layer=layer.index, choice=choice)
    yield from rest
