"""Search spaces and genotypes: the one source of truth for what a network is.

A space is data (YAML or a mapping); a genotype is one choice index a layer. Block strings, cost, drawing and place in
the supernet are all derived from the two. Input maps are square and convolutions pad by half their kernel, as in timm.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from scarlet_models.errors import UserError

from .cost import Cost, CostTable, cost_table
from .sampling import Limits, draw, sample_within

ACTIVATIONS = {"relu": "re", "relu6": "r6", "hard_swish": "hs", "silu": "sw"}  # name in timm.layers -> in block strings
KERNELS = (3, 5, 7)


@dataclass(frozen=True)
class Choice:
    """What a searchable layer can be: an inverted residual, or the identity (`kernel` and `expand` are then 1)."""

    kernel: int = 1
    expand: int = 1
    se: float = 0.0  # reduced channels of squeeze-and-excitation, as a share of the expanded channels; 0 is none
    identity: bool = False

    def __str__(self) -> str:
        if self.identity:
            return "identity"
        return f"e{self.expand} k{self.kernel}" + (" se" if self.se else "")

    @property
    def se_of_input(self) -> float:
        """Reduced channels of squeeze-and-excitation as a share of the block's input channels, as in block strings."""
        return float(f"{self.se * self.expand:g}")

    def se_channels(self, in_channels: int) -> int:
        """Reduced channels of squeeze-and-excitation in a block of `in_channels`, as timm rounds them."""
        return round(in_channels * self.expand * (self.se_of_input / self.expand))


IDENTITY = Choice(identity=True)


@dataclass(frozen=True)
class Stem:
    """First 3x3 convolution, and the separable convolution behind it (`separable` output channels, or None)."""

    channels: int
    stride: int
    act: str
    separable: int | None = None


@dataclass(frozen=True)
class Stage:
    """`depth` searchable layers of `channels`; the first has `stride`, the others 1."""

    channels: int
    depth: int
    stride: int


@dataclass(frozen=True)
class Head:
    """1x1 convolution before the global mean."""

    channels: int
    act: str


@dataclass(frozen=True)
class Layer:
    """A searchable layer: where it stands, its shape, and the choice indices allowed in it."""

    index: int
    stage: int
    in_channels: int
    out_channels: int
    stride: int
    choices: tuple[int, ...]

    @property
    def keeps_shape(self) -> bool:
        return self.stride == 1 and self.in_channels == self.out_channels


@dataclass(frozen=True)
class SearchSpace:
    """A chain-structured search space. Load one with `SearchSpace.load`."""

    name: str
    stem: Stem
    stages: tuple[Stage, ...]
    choices: tuple[Choice, ...]
    act: str
    head: Head
    identity_at_reduction: str = "absent"  # where the shape changes identity is "absent", or "project": 1x1 conv + BN
    input_size: int = 224
    num_classes: int = 1000

    @staticmethod
    def names() -> list[str]:
        """Names of the spaces that come with the package."""
        return sorted(entry.name[:-5] for entry in _SPACES.iterdir() if entry.name.endswith(".yaml"))

    @staticmethod
    def load(source: str | Path | Mapping[str, Any] | SearchSpace) -> SearchSpace:
        """A space by name, from a YAML file, or from a mapping of the same content.

        Raises:
            UserError: no such space, or a bad entry; the message names file and line.
        """
        if isinstance(source, SearchSpace):
            return source
        if isinstance(source, Mapping):
            return _parse(dict(source), "space", {})
        if str(source) in SearchSpace.names():
            return _load_text((_SPACES / f"{source}.yaml").read_text(encoding="utf-8"), f"{source}.yaml")
        try:
            text = Path(str(source)).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            names = ", ".join(SearchSpace.names())
            raise UserError(
                f"no search space {str(source)!r} ({reason}): give one of {names}, or a YAML file"
            ) from None
        return _load_text(text, str(source))

    def to_dict(self) -> dict[str, Any]:
        """The space as plain data: JSON and YAML serialisable, and accepted by `load`."""
        data = asdict(self)
        data["choices"] = ["identity" if c.identity else _without_defaults(c) for c in self.choices]
        data["stages"] = list(data["stages"])
        return data

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
                barred = {self.identity} if not keeps_shape and self.identity_at_reduction == "absent" else set()
                allowed = tuple(i for i in range(len(self.choices)) if i not in barred)
                layers.append(Layer(len(layers), number, channels, stage.channels, stride, allowed))
                channels = stage.channels
        return tuple(layers)

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
        depths = [sum(layer.stage == s and layer.keeps_shape for layer in self.layers) for s in range(len(self.stages))]
        blocks = len(self.choices) - 1
        return fixed * math.prod(sum(blocks**used for used in range(depth + 1)) for depth in depths)

    def validate(self, genotype: Genotype | Iterable[int]) -> Genotype:
        """The genotype, checked against this space.

        Raises:
            UserError: wrong length, an index out of range, or identity where the shape changes.
        """
        choices = tuple(genotype)
        if len(choices) != len(self.layers):
            raise UserError(f"genotype has {len(choices)} entries, space {self.name!r} has {len(self.layers)} layers")
        for layer, choice in zip(self.layers, choices, strict=True):
            if (
                isinstance(choice, bool)
                or not isinstance(choice, int | np.integer)
                or not 0 <= choice < len(self.choices)
            ):
                raise UserError(f"layer {layer.index}: choice {choice!r} is not an index in 0..{len(self.choices) - 1}")
            if choice not in layer.choices:
                raise UserError(
                    f"layer {layer.index}: identity (choice {choice}) cannot stand where the shape changes "
                    f"({layer.in_channels} -> {layer.out_channels} channels, stride {layer.stride})"
                )
        return Genotype(tuple(map(int, choices)), self)

    def sample(
        self,
        rng: np.random.Generator,
        *,
        min_macs: int | None = None,
        max_macs: int | None = None,
        min_params: int | None = None,
        max_params: int | None = None,
        input_size: int | None = None,
        num_classes: int | None = None,
    ) -> Genotype:
        """A random genotype whose cost lies within the limits, ends included: uniform, unless only a search finds any.

        Bounded: a limit that nothing meets is reported, never looped on (`sampling.sample_within` says how).

        Raises:
            UserError: no network meets the limits, or none was found.
        """
        limits = Limits(min_macs, max_macs, min_params, max_params)
        if limits == Limits():
            return Genotype(tuple(self.sample_array(rng, 1)[0].tolist()), self)
        return Genotype(sample_within(self, rng, limits, self.cost_table(input_size, num_classes)), self)

    def sample_array(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Genotypes drawn uniformly from the space, int64 of shape (count, layers)."""
        return draw(self, rng, count)

    def cost(
        self, genotype: Genotype | Iterable[int], input_size: int | None = None, num_classes: int | None = None
    ) -> Cost:
        """Exact cost of one genotype, as `cost_table` takes size and classes."""
        choices = list(self.validate(genotype))
        macs, params = self.costs(np.array([choices]), input_size, num_classes)
        return Cost(int(macs[0]), int(params[0]))

    def costs(
        self, genotypes: np.ndarray, input_size: int | None = None, num_classes: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """MACs and params (int64, shape (N,)) of an integer array of valid genotypes (N, layers)."""
        return self.cost_table(input_size, num_classes).sum(genotypes)

    def cost_table(self, input_size: int | None = None, num_classes: int | None = None) -> CostTable:
        """The additive costs that `cost` sums.

        Args:
            input_size: side of the images in px; None or 0 is the space's own.
            num_classes: outputs of the classifier; None is the space's own, 0 no classifier.

        Raises:
            UserError: one is negative.
        """
        size, classes = input_size or self.input_size, self.num_classes if num_classes is None else num_classes
        if size < 0 or classes < 0:
            raise UserError(f"no network takes {size} px and has {classes} classes: neither can be negative")
        return cost_table(self, size, classes)

    def __iter__(self) -> Iterator[Genotype]:
        """Every genotype, in lexicographic order."""
        for choices in itertools.product(*(layer.choices for layer in self.layers)):
            yield Genotype(choices, self)


@dataclass(frozen=True)
class Genotype:
    """One choice index for each searchable layer of a space. Iterates over them; `str` and `parse` round-trip."""

    choices: tuple[int, ...]
    space: SearchSpace

    @staticmethod
    def parse(
        text: str | Iterable[int] | Genotype, space: str | Path | Mapping[str, Any] | SearchSpace = "scarlet"
    ) -> Genotype:
        """A genotype from its comma-separated indices.

        Raises:
            UserError: not numbers, or not a genotype of the space.
        """
        try:
            indices = map(int, text.split(",")) if isinstance(text, str) else text
            choices = tuple(indices)
        except (TypeError, ValueError):
            raise UserError(
                f"genotype {text!r} is not a comma-separated list of choice indices, such as 2,4,1,8"
            ) from None
        return SearchSpace.load(space).validate(choices)

    def __str__(self) -> str:
        return ",".join(map(str, self.choices))

    def __iter__(self) -> Iterator[int]:
        return iter(self.choices)

    def __len__(self) -> int:
        return len(self.choices)

    def block_strings(self) -> list[list[str]]:
        """timm's architecture definition: block strings for each stage, identities that keep the shape left out."""
        space = self.space
        stages = [
            [_block_string(self, layer) for layer in space.layers if layer.stage == s] for s in range(len(space.stages))
        ]
        blocks = [[block for block in stage if block] for stage in stages]
        separable = (
            [[f"ds_r1_k3_s1_c{space.stem.separable}_n{ACTIVATIONS[space.stem.act]}"]] if space.stem.separable else []
        )
        return separable + [stage for stage in blocks if stage]

    def cost(self, input_size: int | None = None, num_classes: int | None = None) -> Cost:
        """Exact MACs and params without building the model; `SearchSpace.cost_table` says what the arguments mean."""
        return self.space.cost(self, input_size, num_classes)

    def canonical(self) -> Genotype:
        """The genotype with each stage's shape-keeping identities moved to its end: the same standalone network."""
        choices: list[int] = []
        for stage in range(len(self.space.stages)):
            layers = [layer for layer in self.space.layers if layer.stage == stage]
            fixed = [self.choices[layer.index] for layer in layers if not layer.keeps_shape]
            movable = [self.choices[layer.index] for layer in layers if layer.keeps_shape]
            choices += fixed + sorted(movable, key=lambda choice: choice == self.space.identity)
        return Genotype(tuple(choices), self.space)


def _block_string(genotype: Genotype, layer: Layer) -> str:
    choice = genotype.space.choices[genotype.choices[layer.index]]
    if choice.identity:
        return "" if layer.keeps_shape else f"cn_r1_k1_s{layer.stride}_c{layer.out_channels}"
    se = f"_se{choice.se_of_input:g}" if choice.se else ""
    act = ACTIVATIONS[genotype.space.act]
    return f"ir_r1_k{choice.kernel}_s{layer.stride}_e{choice.expand}_c{layer.out_channels}{se}_n{act}"


# Parsing

_SPACES = files("scarlet_models.space") / "spaces"


class _Bad(Exception):
    """A bad entry at a path of keys; `_parse` turns it into a UserError that names the line."""

    def __init__(self, path: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.path = path


def _load_text(text: str, where: str) -> SearchSpace:
    try:
        data, node = yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise UserError(
            f"{where}:{mark.line + 1 if mark else 1}: not valid YAML ({getattr(error, 'problem', error)})"
        ) from None
    if not isinstance(data, dict) or node is None:
        raise UserError(f"{where}:1: a search space is a mapping with the keys {', '.join(_KEYS)}")
    lines: dict[tuple[str | int, ...], int] = {}
    for path, line in _lines(node, ()):
        if path in lines:
            raise UserError(f"{where}:{line}: {'.'.join(map(str, path))}: stands at line {lines[path]} already")
        lines[path] = line
    return _parse(data, where, lines)


def _lines(node: yaml.Node, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], int]]:
    """The line at which each entry of a YAML document stands."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*path, key.value), key.start_mark.line + 1
            yield from _lines(value, (*path, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*path, index), value.start_mark.line + 1
            yield from _lines(value, (*path, index))


_KEYS = ("name", "stem", "stages", "choices", "act", "head", "identity_at_reduction", "input_size", "num_classes")


def _parse(data: dict[str, Any], where: str, lines: dict[tuple[str | int, ...], int]) -> SearchSpace:
    try:
        return _space(data)
    except _Bad as bad:
        line = next((lines[bad.path[:n]] for n in range(len(bad.path), 0, -1) if bad.path[:n] in lines), 1)
        place = f"{where}:{line}" if lines else where
        raise UserError(f"{place}: {'.'.join(map(str, bad.path)) or 'space'}: {bad}") from None


def _space(data: dict[str, Any]) -> SearchSpace:
    _check_keys(data, _KEYS, _KEYS[:6], ())
    stem, head = data["stem"], data["head"]
    _check_keys(stem, ("channels", "stride", "act", "separable"), ("channels", "stride", "act"), ("stem",))
    _check_keys(head, ("channels", "act"), ("channels", "act"), ("head",))
    at_reduction = data.get("identity_at_reduction", "absent")
    if at_reduction not in ("absent", "project"):
        raise _Bad(("identity_at_reduction",), f"{at_reduction!r} is neither 'absent' nor 'project'")
    separable = stem.get("separable")
    stages = tuple(_stage(entry, i) for i, entry in enumerate(_entries(data, "stages")))
    choices = tuple(_choice(entry, i) for i, entry in enumerate(_entries(data, "choices")))
    for index, choice in enumerate(choices):
        if choice in choices[:index]:
            raise _Bad(("choices", index), f"the same choice stands at {choices.index(choice)}")
    space = SearchSpace(
        name=_text(data["name"], ("name",)),
        stem=Stem(
            _channels(stem["channels"], ("stem", "channels")),
            _one_of(stem["stride"], (1, 2), ("stem", "stride")),
            _act(stem["act"], ("stem", "act")),
            None if separable is None else _channels(separable, ("stem", "separable")),
        ),
        stages=stages,
        choices=choices,
        act=_act(data["act"], ("act",)),
        head=Head(_channels(head["channels"], ("head", "channels")), _act(head["act"], ("head", "act"))),
        identity_at_reduction=at_reduction,
        input_size=_positive(data.get("input_size", 224), ("input_size",)),
        num_classes=_positive(data.get("num_classes", 1000), ("num_classes",)),
    )
    _check_layers(space)
    if space.head.act != space.stem.act:
        raise _Bad(("head", "act"), f"must be the stem's ({space.stem.act}): timm has one activation for both")
    return space


def _check_layers(space: SearchSpace) -> None:
    if space.identity is not None and not space.stem.separable and all(layer.keeps_shape for layer in space.layers):
        raise _Bad(("stages",), "every layer may be an identity and then no block is left: let one change the shape")
    for layer in space.layers:
        if not layer.choices:
            raise _Bad(
                ("choices",), "a layer that changes the shape has no choice but identity, which cannot stand there"
            )
        for index in layer.choices:
            choice = space.choices[index]
            if choice.se and not choice.se_channels(layer.in_channels):
                expanded = layer.in_channels * choice.expand
                raise _Bad(
                    ("choices", index, "se"), f"{choice.se} of layer {layer.index}'s {expanded} channels rounds to none"
                )


def _stage(entry: Any, index: int) -> Stage:
    path = ("stages", index)
    _check_keys(entry, ("channels", "depth", "stride"), ("channels", "depth", "stride"), path)
    return Stage(
        _channels(entry["channels"], (*path, "channels")),
        _positive(entry["depth"], (*path, "depth")),
        _one_of(entry["stride"], (1, 2), (*path, "stride")),
    )


def _choice(entry: Any, index: int) -> Choice:
    path = ("choices", index)
    if entry == "identity":
        return IDENTITY
    _check_keys(entry, ("kernel", "expand", "se"), ("kernel", "expand"), path)
    se = entry.get("se", 0.0)
    if isinstance(se, bool) or not isinstance(se, int | float) or not 0 <= se <= 1:
        raise _Bad((*path, "se"), f"{se!r} is not a ratio between 0 and 1")
    kernel = _one_of(entry["kernel"], KERNELS, (*path, "kernel"))
    expand = _positive(entry["expand"], (*path, "expand"))
    if expand == 1:
        raise _Bad((*path, "expand"), "must be 2 or more: an inverted residual without an expansion is another block")
    return Choice(kernel, expand, float(se))


def _check_keys(entry: Any, known: Sequence[str], needed: Sequence[str], path: tuple[str | int, ...]) -> None:
    if not isinstance(entry, Mapping):
        raise _Bad(path, f"{entry!r} is not a mapping with the keys {', '.join(known)}")
    for key in entry:
        if key not in known:
            raise _Bad((*path, key), f"unknown key; known are {', '.join(known)}")
    for key in needed:
        if key not in entry:
            raise _Bad(path, f"key {key!r} is missing")


def _entries(data: Mapping[str, Any], key: str) -> Sequence[Any]:
    if not isinstance(data[key], list | tuple) or not data[key]:
        raise _Bad((key,), "must be a list of at least one entry")
    return data[key]


def _text(value: Any, path: tuple[str | int, ...]) -> str:
    if not isinstance(value, str) or not value:
        raise _Bad(path, f"{value!r} is not a name")
    return value


def _positive(value: Any, path: tuple[str | int, ...]) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _Bad(path, f"{value!r} is not a positive whole number")
    return value


def _channels(value: Any, path: tuple[str | int, ...]) -> int:
    if _positive(value, path) % 8:
        raise _Bad(path, f"{value} is not a multiple of 8, to which timm rounds channels")
    return int(value)


def _one_of(value: Any, allowed: Sequence[int], path: tuple[str | int, ...]) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value not in allowed:
        raise _Bad(path, f"{value!r} is not one of {', '.join(map(str, allowed))}")
    return value


def _act(value: Any, path: tuple[str | int, ...]) -> str:
    if not isinstance(value, str) or value not in ACTIVATIONS:
        raise _Bad(path, f"{value!r} is not one of {', '.join(ACTIVATIONS)}")
    return value


def _without_defaults(choice: Choice) -> dict[str, Any]:
    return {"expand": choice.expand, "kernel": choice.kernel} | ({"se": choice.se} if choice.se else {})
