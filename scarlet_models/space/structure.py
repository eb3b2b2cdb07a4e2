"""The structure of a search space: stem, stages, choices and head, and the searchable layers that follow from them."""

import itertools
import math
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from scarlet_models.documents import dump_yaml

from .blocks import IDENTITY, Choice, Head, Layer, SqueezeExcite, Stage, Stem

_SE = SqueezeExcite()
IDENTITY_AT = ("same_shape", "stride1", "everywhere")


@dataclass(frozen=True, repr=False)
class Structure:
    """What a search space consists of; `SearchSpace` adds genotypes, costs and sampling."""

    name: str
    stem: Stem
    stages: tuple[Stage, ...]
    choices: tuple[Choice, ...]
    act: str
    head: Head
    se: SqueezeExcite = _SE
    norm_eps: float = 1e-5
    pad: str = ""  # as in timm: symmetric, or "same" for TensorFlow's
    identity_at: str = "same_shape"  # one of IDENTITY_AT; where the shape changes, an identity is a 1x1 conv + BN
    input_size: int = 224
    num_classes: int = 1000

    def to_dict(self) -> dict[str, Any]:
        """The space as plain data: JSON and YAML hold it, and `SearchSpace.load` accepts it."""
        own = [stage.choices for stage in self.stages if stage.choices]
        common = max(own, key=len, default=())  # stands once, if that does not change the order of all choices
        order = dict.fromkeys([*common, *(index for each in own if each != common for index in each)])
        common = common if list(order) == list(range(len(self.choices))) else ()
        stages = [_plain(stage) for stage in self.stages]
        for stage in stages:
            if stage.get("choices") == common:
                del stage["choices"]
            elif "choices" in stage:
                stage["choices"] = [self.choices[index].plain for index in stage["choices"]]
        choices = [self.choices[index].plain for index in common or range(len(self.choices))]
        given = {"input_size": self.input_size, "num_classes": self.num_classes}
        return _plain(self) | given | {"stages": stages, "choices": choices}

    def to_yaml(self) -> str:
        """The same as YAML, with a line for each stage and choice."""

        def line(value: Any) -> str:
            return dump_yaml(value, default_flow_style=True, width=math.inf).split("\n")[0]

        lists = {key: value if isinstance(value, list) else None for key, value in self.to_dict().items()}
        entries = {key: "".join(f"\n  - {line(item)}" for item in items or ()) for key, items in lists.items()}
        return "".join(f"{key}:{entries[key] or ' ' + line(value)}\n" for key, value in self.to_dict().items())

    @cached_property
    def identity(self) -> int | None:
        """Choice index of the identity, None if the space has none."""
        return self.choices.index(IDENTITY) if IDENTITY in self.choices else None

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        layers: list[Layer] = []
        channels = self.stem.separable or self.stem.channels
        for number, stage in enumerate(self.stages):
            for position in range(stage.depth):
                stride = stage.stride if position == 0 else 1
                keeps_shape = stride == 1 and channels == stage.channels
                reach = 0 if keeps_shape else 1 if stride == 1 else 2
                projects = IDENTITY_AT.index(self.identity_at) >= reach
                given = range(len(self.choices)) if stage.choices is None else stage.choices
                able = {i: projects if i == self.identity else stride == 1 or self.choices[i].strides for i in given}
                allowed = tuple(i for i in given if able[i])
                layers.append(Layer(len(layers), number, channels, stage.channels, stride, allowed))
                channels = stage.channels
        return tuple(layers)

    def stage_layers(self, stage: int) -> list[Layer]:
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
        count = 1
        for stage in range(len(self.stages)):
            layers = self.stage_layers(stage)
            count *= math.prod(len(layer.choices) for layer in layers if not layer.keeps_shape)
            movable = [layer.choices for layer in layers if layer.keeps_shape]
            if movable and self.identity in movable[0]:
                count *= sum((len(movable[0]) - 1) ** used for used in range(len(movable) + 1))
            else:
                count *= math.prod(map(len, movable))
        return count


def _plain(part: Any) -> dict[str, Any]:
    """The fields of a dataclass that do not have their default, as plain data."""
    given = {each.name: value for each in fields(part) if (value := getattr(part, each.name)) != each.default}
    return {name: _plain(value) if hasattr(value, "__dataclass_fields__") else value for name, value in given.items()}
