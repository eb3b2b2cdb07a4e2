"""The structure of a search space: stem, stages, choices and head, and the searchable layers that follow from them."""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from .blocks import IDENTITY, Choice, Head, Layer, Stage, Stem


@dataclass(frozen=True, repr=False)
class Structure:
    """What a search space consists of; `SearchSpace` adds genotypes, costs and sampling."""

    name: str
    stem: Stem
    stages: tuple[Stage, ...]
    choices: tuple[Choice, ...]
    act: str
    head: Head
    identity_at_reduction: str = "absent"  # where the shape changes identity is "absent", or "project": 1x1 conv + BN
    input_size: int = 224
    num_classes: int = 1000

    def to_dict(self) -> dict[str, Any]:
        """The space as plain data: JSON and YAML hold it, and `SearchSpace.load` accepts it."""
        data = asdict(self)
        data["choices"] = ["identity" if choice.identity else _plain(choice) for choice in self.choices]
        data["stages"] = list(data["stages"])
        return data

    @cached_property
    def identity(self) -> int | None:
        """Choice index of the identity, None if the space has none."""
        return self.choices.index(IDENTITY) if IDENTITY in self.choices else None

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The searchable layers, stage by stage."""
        layers: list[Layer] = []
        channels = self.stem.separable or self.stem.channels
        for number, stage in enumerate(self.stages):
            for position in range(stage.depth):
                stride = stage.stride if position == 0 else 1
                keeps_shape = stride == 1 and channels == stage.channels
                barred = {self.identity} if not keeps_shape and self.identity_at_reduction == "absent" else set()
                allowed = tuple(i for i in range(len(self.choices)) if i not in barred)
                layers.append(Layer(len(layers), number, channels, stage.channels, stride, allowed))
                channels = stage.channels
        return tuple(layers)

    def stage_layers(self, stage: int) -> list[Layer]:
        """The layers of one stage."""
        return [layer for layer in self.layers if layer.stage == stage]

    def map_sizes(self, input_size: int) -> list[int]:
        """Side in pixels of the map that each layer, and last the head, gets of images of `input_size` px."""
        strides = (self.stem.stride, *(layer.stride for layer in self.layers))
        return list(itertools.accumulate(strides, lambda size, stride: -(-size // stride), initial=input_size))[1:]

    def has_block(self, layer: Layer, choice: int) -> bool:
        """Whether a network with this choice has a block in this layer: an identity that keeps the shape is none."""
        return not (choice == self.identity and layer.keeps_shape)

    @cached_property
    def size(self) -> int:
        """Number of genotypes."""
        return math.prod(len(layer.choices) for layer in self.layers)

    @cached_property
    def distinct(self) -> int:
        """Number of different standalone networks: genotypes that differ in `canonical` form."""
        if self.identity is None:
            return self.size
        fixed = math.prod(len(layer.choices) for layer in self.layers if not layer.keeps_shape)
        depths = [sum(layer.keeps_shape for layer in self.stage_layers(stage)) for stage in range(len(self.stages))]
        blocks = len(self.choices) - 1
        return fixed * math.prod(sum(blocks**used for used in range(depth + 1)) for depth in depths)


def _plain(choice: Choice) -> dict[str, Any]:
    return {"expand": choice.expand, "kernel": choice.kernel} | ({"se": choice.se} if choice.se else {})
