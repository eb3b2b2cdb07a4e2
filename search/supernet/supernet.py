"""The supernet: each choice of each layer is a block of its own, and one call runs one path."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from scarlet_models.errors import UserError, first_line
from scarlet_models.from_timm import blocks_of
from scarlet_models.models import scarlet_net
from scarlet_models.space.space import Genotype, SearchSpace

from .file import SupernetInfo, read_supernet, shipped_names
from .stabilizer import DEFAULT_INIT, VARIANTS, FoldingError, Stabilizer, fold_stabilizers, identity_module


class Supernet(nn.Module):
    """All networks of a space with shared weights.

    The choices are blocks of standalone `scarlet_net` models, built and initialised by timm. An identity that keeps the
    shape holds a stabilizer; one that changes it (`identity_at` of the space) is a 1x1 convolution and BN.
    The `scarlet` space with 1000 classes has 45,268,380 parameters, 163,264 of them in stabilizers.

    Args:
        space: Name, YAML file, mapping or `SearchSpace`.
        num_classes: Outputs of the classifier; None takes the space's.
        stabilizer: "linear" for the paper's, "skip" for plain skips; "bn" and "relu" put batch norm or ReLU behind the
            1x1 convolution, for ablations.
        init: How stabilizers begin: "torch" (as any convolution), "identity", "orthogonal" or "identity_noise".
        in_chans: Channels of the images.

    Attributes:
        stem: Everything before the first searchable layer.
        layers: The choices of each layer; `choice` gets one.
        head: 1x1 convolution, BN, activation, global pool, classifier; or with the pool first, if the space says so.
        info: The `SupernetInfo` of a trained supernet that was loaded; None otherwise.

    Raises:
        UserError: There is no such space, stabilizer or initialisation.
    """

    def __init__(
        self,
        space: str | Path | Mapping[str, Any] | SearchSpace,
        num_classes: int | None = None,
        stabilizer: str = "linear",
        init: str = DEFAULT_INIT,
        in_chans: int = 3,
    ) -> None:
        super().__init__()
        self.space = SearchSpace.load(space)
        self.num_classes = self.space.num_classes if num_classes is None else num_classes
        if stabilizer not in VARIANTS:
            raise UserError(f"stabilizer {stabilizer!r} is not one of {', '.join(VARIANTS)}")
        self.stabilizer = stabilizer
        self.in_chans = in_chans
        self.info: SupernetInfo | None = None
        layers: list[dict[int, nn.Module]] = [{} for _ in self.space.layers]
        for index in range(len(self.space.choices)):
            # The blocks of a network that has this choice wherever it is allowed.
            donor = self._standalone(_donor(self.space, index))
            blocks = blocks_of(donor)[bool(self.space.stem.separable) :]
            for layer, choices, block in zip(self.space.layers, layers, blocks, strict=True):
                if index in layer.choices and self.space.has_block(layer, index):
                    choices[index] = block
        # Last, so that one seed initialises the blocks equally, whatever replaces an identity.
        for layer, choices in zip(self.space.layers, layers, strict=True):
            if layer.keeps_shape and self.space.identity in layer.choices:
                choices[self.space.identity] = identity_module(layer.out_channels, self.stabilizer, init)
        self.layers = nn.ModuleList(nn.ModuleDict({str(i): each[i] for i in sorted(each)}) for each in layers)
        separable = {"separable": donor.blocks[0][0]} if self.space.stem.separable else {}
        self.stem = nn.Sequential(OrderedDict(conv_stem=donor.conv_stem, bn1=donor.bn1, **separable))
        ends = list(donor.named_children())  # in the order in which timm runs them
        behind = 1 + [name for name, _ in ends].index("blocks")
        self.head = nn.Sequential(OrderedDict(ends[behind:]))

    def __repr__(self) -> str:
        params = sum(parameter.numel() for parameter in self.parameters())
        return f"Supernet({self.space.name!r}, {self.num_classes} classes, {self.stabilizer!r}, {params:,} params)"

    @classmethod
    def from_pretrained(cls, source: str | Path) -> Supernet:
        """A trained supernet, on the CPU in float32 and eval mode; `info` says what it was trained on.

        Args:
            source: The name of a supernet that ships, such as "nas_bench_macro.c10", or the folder of a training run.

        Raises:
            UserError: There is no such supernet, or it is damaged; the message lists those that ship.
        """
        try:
            network, tensors, info = read_supernet(source)
            with torch.device("meta"):  # no memory, and no random number is drawn
                net = cls(**network)
            net.load_state_dict(tensors, assign=True)
        except UserError:
            raise
        except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
            raise UserError(
                f"{source} holds no supernet ({first_line(error)}); scarlet-search train writes one, and of those that "
                f"ship there are: {', '.join(shipped_names()) or 'none'}"
            ) from error
        net.info = info
        return net.eval()

    def forward(self, images: Tensor, genotype: Genotype | Sequence[int] | str) -> Tensor:
        """Logits (N, num_classes) of images (N, in_chans, H, W) through one path of the space; else a UserError."""
        return self.forward_path(self.stem(images), genotype)

    def forward_path(self, features: Tensor, genotype: Genotype | Sequence[int] | str) -> Tensor:
        """Logits from the stem's output, which all paths on the same images share."""
        for module in self._path(Genotype.parse(genotype, self.space)):
            features = module(features)
        return self.head(features)

    def choice(self, layer: int, index: int) -> nn.Module:
        """The module of choice `index` in `layer`. It raises KeyError where the space does not allow the choice."""
        return cast(nn.ModuleDict, self.layers[layer])[str(index)]

    def extract(self, genotype: Genotype | Sequence[int] | str, fold: bool = True) -> nn.Module:
        """The standalone `scarlet_net` of a path, with a copy of its weights, in the supernet's mode, dtype and device.

        In eval mode it computes the path's logits: bit for bit if the path has no stabilizer, up to rounding if
        stabilizers were folded (see `fold_stabilizers`). Training it follows another trajectory than training the path.

        `fold=False` keeps the stabilizers as layers; then no genotype describes the model, and `timm.create_model`
        cannot rebuild it.

        Raises:
            UserError: The genotype is not in the space, or (FoldingError) a stabilizer cannot be folded.
        """
        parsed = Genotype.parse(genotype, self.space)
        copies: list[Any] = copy.deepcopy([self.stem, self.head, *self._path(parsed)])
        stem, head, *path = copies
        links = [(f"layer {i}", module) for i, module in enumerate(path) if not isinstance(module, nn.Identity)]
        if self.space.stem.separable:
            links.insert(0, ("separable convolution", stem.separable))
        if fold:
            for name, module in links:
                if not _is_block(module) and not isinstance(module, Stabilizer):
                    raise FoldingError(f"{name}: a {self.stabilizer!r} stabilizer cannot be folded, only linear ones")
            links = fold_stabilizers([*links, ("head", head.conv_head)])[:-1]
        with torch.device("meta"):  # no memory, and no random number is drawn
            model = self._standalone(parsed)
        for name, module in (*stem.named_children(), *head.named_children()):
            if name != "separable":
                _give_weights(module, getattr(model, name))
        blocks = iter(blocks_of(model))
        modules = [_give_weights(module, next(blocks)) if _is_block(module) else module for _, module in links]
        model.blocks = _staged(modules, [len(stage) for stage in model.blocks])
        return model.train(self.training)

    def _path(self, genotype: Genotype) -> Iterator[nn.Module]:
        return (self.choice(layer, index) for layer, index in enumerate(genotype))

    def _standalone(self, genotype: Genotype | Sequence[int]) -> Any:
        return scarlet_net(genotype=genotype, space=self.space, num_classes=self.num_classes, in_chans=self.in_chans)


def _donor(space: SearchSpace, index: int) -> list[int]:
    """The genotype with choice `index` in every layer where it is a block, and some block in the others."""
    blocks = [[choice for choice in layer.choices if space.has_block(layer, choice)] for layer in space.layers]
    return [index if index in choices else choices[-1] for choices in blocks]


def _is_block(module: nn.Module) -> bool:
    return hasattr(module, "has_skip")


def _give_weights(source: nn.Module, target: nn.Module) -> nn.Module:
    """Move weights and buffers into the target, which may be on the meta device, and return it."""
    target.load_state_dict(source.state_dict(), assign=True)
    return target


def _staged(modules: list[nn.Module], sizes: list[int]) -> nn.Sequential:
    """Stages of `sizes` blocks, as in timm. A stabilizer joins the stage of the block before it."""
    stages: list[list[nn.Module]] = [[] for _ in sizes]
    stage_of = [number for number, size in enumerate(sizes) for _ in range(size)]  # by the number of a block
    blocks = 0
    for module in modules:
        blocks += _is_block(module)
        stages[stage_of[max(blocks, 1) - 1]].append(module)
    return nn.Sequential(*(nn.Sequential(*stage) for stage in stages))
