"""Search spaces and genotypes: block strings, cost, drawing and place in the supernet are all derived from the two.

Input maps are square and convolutions pad by half their kernel, as in timm.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from scarlet_models.errors import UserError

from .blocks import ACTIVATIONS, Choice, Layer
from .cost import Cost, CostTable, cost_table
from .reading import MAX_CLASSES, MAX_INPUT_SIZE, names, read_space
from .sampling import Limits, draw, sample_within
from .structure import Structure


@dataclass(frozen=True, repr=False)
class SearchSpace(Structure):
    """A search space: stages of layers, and the choices of each layer. Load one with `SearchSpace.load`."""

    def __repr__(self) -> str:
        size = f"{self.size:,}" if self.size < 10**9 else f"{self.size:.3e}"
        parts = f"{len(self.layers)} layers, {len(self.choices)} choices, {size} genotypes"
        return f"SearchSpace({self.name!r}: {parts}, {self.input_size} px, {self.num_classes} classes)"

    names = staticmethod(names)

    @staticmethod
    def load(source: str | Path | Mapping[str, Any] | SearchSpace) -> SearchSpace:
        """A space by name, from a YAML file, or from a mapping of the same content.

        Raises:
            UserError: No such space, or a bad entry; the message names file and line.
        """
        return source if isinstance(source, SearchSpace) else read_space(source, SearchSpace)

    def validate(self, genotype: Genotype | Iterable[int] | str) -> Genotype:
        """The genotype, also as text, checked against this space.

        Raises:
            UserError: Wrong length, an index out of range, or identity where the shape changes.
        """
        if isinstance(genotype, str):
            return Genotype.parse(genotype, self)
        choices = tuple(genotype)
        if len(choices) != len(self.layers):
            raise UserError(f"genotype has {len(choices)} entries, space {self.name!r} has {len(self.layers)} layers")
        for layer, choice in zip(self.layers, choices, strict=True):
            whole = isinstance(choice, int | np.integer) and not isinstance(choice, bool)
            if not whole or not 0 <= choice < len(self.choices):
                raise UserError(f"layer {layer.index}: choice {choice!r} is not an index in 0..{len(self.choices) - 1}")
            if choice not in layer.choices:
                shape = f"{layer.in_channels} -> {layer.out_channels} channels, stride {layer.stride}"
                where = "where the shape changes" if choice == self.identity and not layer.keeps_shape else "there"
                name = self.choices[choice].block
                raise UserError(f"layer {layer.index}: {name} (choice {choice}) cannot stand {where} ({shape})")
        return Genotype(tuple(map(int, choices)), self)

    def sample(
        self,
        seed: int | np.random.Generator,
        *,
        input_size: int | None = None,
        num_classes: int | None = None,
        **limits: int | None,
    ) -> Genotype:
        """A random genotype whose cost lies within limits: uniform, unless only a search finds any.

        Bounded: a limit that nothing meets is reported, never looped on (`sampling.sample_within` says how).

        Args:
            seed: The same seed gives the same genotype. A generator gives another one at each call.
            input_size: Side in px of the images that MACs are counted for; None is the space's own.
            num_classes: Outputs of the classifier; None is the space's own.
            **limits: min_macs, max_macs, min_params, max_params, ends included; None is no limit.

        Raises:
            UserError: No network meets the limits, or none was found.
        """
        rng, bounds = np.random.default_rng(seed), Limits(**limits)
        if bounds == Limits():
            return Genotype(tuple(self.sample_array(rng, 1)[0].tolist()), self)
        return Genotype(sample_within(self, rng, bounds, self.cost_table(input_size, num_classes)), self)

    def sample_array(self, seed: int | np.random.Generator, count: int) -> np.ndarray:
        """Genotypes drawn uniformly from the space, int64 of shape (count, layers)."""
        return draw(self, np.random.default_rng(seed), count)

    def cost(
        self, genotype: Genotype | Iterable[int] | str, input_size: int | None = None, num_classes: int | None = None
    ) -> Cost:
        """Exact cost of one genotype; `cost_table` says what size and classes mean."""
        macs, params = self.costs(np.array([self.validate(genotype).choices]), input_size, num_classes)
        return Cost(int(macs[0]), int(params[0]))

    def costs(
        self, genotypes: np.ndarray, input_size: int | None = None, num_classes: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """MACs and params (int64, shape (N,)) of an integer array of valid genotypes (N, layers)."""
        return self.cost_table(input_size, num_classes).sum(genotypes)

    def cost_table(self, input_size: int | None = None, num_classes: int | None = None) -> CostTable:
        """The additive costs that `cost` sums.

        Args:
            input_size: Side of the images in px; None or 0 is the space's own.
            num_classes: Outputs of the classifier; None is the space's own, 0 no classifier.

        Raises:
            UserError: One is negative or too large.
        """
        size, classes = input_size or self.input_size, self.num_classes if num_classes is None else num_classes
        if size < 0 or classes < 0:
            raise UserError(f"no network takes {size} px and has {classes} classes: neither can be negative")
        if size > MAX_INPUT_SIZE or classes > MAX_CLASSES:
            raise UserError(f"{size} px and {classes} classes: the most are {MAX_INPUT_SIZE} and {MAX_CLASSES}")
        return cost_table(self, size, classes)

    def __iter__(self) -> Iterator[Genotype]:
        """Every genotype, in lexicographic order."""
        for choices in itertools.product(*(layer.choices for layer in self.layers)):
            yield Genotype(choices, self)


@dataclass(frozen=True, repr=False)
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
            UserError: Not numbers, or not a genotype of the space.
        """
        try:
            choices = tuple(map(int, text.split(",")) if isinstance(text, str) else text)
        except (TypeError, ValueError):
            reason = "is not a comma-separated list of choice indices, such as 2,4,1,8"
            raise UserError(f"genotype {text!r} {reason}") from None
        return SearchSpace.load(space).validate(choices)

    def __repr__(self) -> str:
        return f"Genotype('{self}', space={self.space.name!r})"

    def __str__(self) -> str:
        return ",".join(map(str, self.choices))

    def __iter__(self) -> Iterator[int]:
        return iter(self.choices)

    def __len__(self) -> int:
        return len(self.choices)

    def block_strings(self) -> list[list[str]]:
        """timm's architecture definition: block strings for each stage, identities that keep the shape left out."""
        space, stages = self.space, []
        if space.stem.separable:
            stages.append([f"ds_r1_k3_s1_c{space.stem.separable}_n{ACTIVATIONS[space.stem.act]}"])
        for stage in range(len(space.stages)):
            layers = [layer for layer in space.stage_layers(stage) if space.has_block(layer, self.choices[layer.index])]
            stages.append([self._block_string(layer) for layer in layers])
        return [stage for stage in stages if stage]

    def _block_string(self, layer: Layer) -> str:
        """A projecting identity is a convolution without an activation (`n`), which is then none: it stays linear."""
        choice = self.space.choices[self.choices[layer.index]]
        act = choice.act or self.space.act
        choice = Choice("cn", skip=False) if choice.identity else replace(choice, act=act)
        return choice.string(f"s{layer.stride}", f"c{layer.out_channels}")

    def cost(self, input_size: int | None = None, num_classes: int | None = None) -> Cost:
        """Exact MACs and params without building the model; `SearchSpace.cost_table` says what the arguments mean."""
        return self.space.cost(self, input_size, num_classes)

    def canonical(self) -> Genotype:
        """The genotype with each stage's shape-keeping identities moved to its end: the same standalone network."""
        choices: list[int] = []
        for stage in range(len(self.space.stages)):
            layers = self.space.stage_layers(stage)
            fixed = [self.choices[layer.index] for layer in layers if not layer.keeps_shape]
            movable = [self.choices[layer.index] for layer in layers if layer.keeps_shape]
            choices += fixed + sorted(movable, key=lambda choice: choice == self.space.identity)
        return Genotype(tuple(choices), self.space)
