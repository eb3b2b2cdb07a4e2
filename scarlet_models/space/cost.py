"""Exact cost of a network, summed from tables of one entry a layer and choice; no model is built.

MACs are those of convolutions and linear layers for one image: half of torch's flop count.
Params are the trainable ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from .blocks import Choice, Layer
from .structure import Structure

_CHUNK = 1 << 13  # genotypes whose columns fit the CPU's cache: more than twice as fast as all at once


@dataclass(frozen=True)
class Cost:
    """Exact cost of a network: `macs` of convolutions and linear layers for one image, and trainable `params`."""

    macs: int
    params: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.macs + other.macs, self.params + other.params)


@dataclass(frozen=True)
class CostTable:
    """Additive costs of a space: `base` is stem, head and classifier; the arrays (layers, choices) are int64.

    An entry is -1 where the layer does not allow the choice.
    """

    base: Cost
    macs: np.ndarray
    params: np.ndarray

    def sum(self, genotypes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """MACs and params (int64, shape (N,)) of an integer array of valid genotypes (N, layers)."""
        macs = np.full(len(genotypes), self.base.macs)
        params = np.full(len(genotypes), self.base.params)
        for start in range(0, len(genotypes), _CHUNK):
            rows = slice(start, start + _CHUNK)
            for layer, column in enumerate(np.ascontiguousarray(genotypes[rows].T)):
                macs[rows] += self.macs[layer].take(column)
                params[rows] += self.params[layer].take(column)
        return macs, params

    @cached_property
    def smallest(self) -> Cost:
        """The fewest MACs and the fewest params in the space, which need not be one network's."""
        return self.base + Cost(*(int(np.where(t < 0, t.max(), t).min(1).sum()) for t in (self.macs, self.params)))

    @cached_property
    def largest(self) -> Cost:
        """The most MACs and the most params in the space, which need not be one network's."""
        return self.base + Cost(int(self.macs.max(1).sum()), int(self.params.max(1).sum()))


@lru_cache(maxsize=64)
def cost_table(space: Structure, input_size: int, num_classes: int) -> CostTable:
    """The costs of a space's stem, layers and head for images of `input_size` px and `num_classes` outputs."""
    sizes = space.map_sizes(input_size)
    size = sizes[0]
    base = _conv(size, 3, space.stem.channels, 3)
    if space.stem.separable:
        base += _conv(size, space.stem.channels, space.stem.channels, 3, groups=space.stem.channels)
        base += _conv(size, space.stem.channels, space.stem.separable)
    macs = np.full((len(space.layers), len(space.choices)), -1)
    params = macs.copy()
    for layer in space.layers:
        for index in layer.choices:
            cost = _choice_cost(space.choices[index], layer, sizes[layer.index])
            macs[layer.index, index], params[layer.index, index] = cost.macs, cost.params
    base += _conv(sizes[-1], space.stages[-1].channels, space.head.channels)
    classifier = space.head.channels * num_classes
    return CostTable(base + Cost(classifier, classifier + num_classes), macs, params)


def _conv(size: int, in_channels: int, out_channels: int, kernel: int = 1, groups: int = 1) -> Cost:
    """A convolution without bias and its BN, on an output map of `size` px."""
    weights = in_channels // groups * out_channels * kernel * kernel
    return Cost(weights * size * size, weights + 2 * out_channels)


def _choice_cost(choice: Choice, layer: Layer, size: int) -> Cost:
    """Cost of a choice in a layer whose input map is `size` px."""
    out = -(-size // layer.stride)
    if choice.identity:
        return Cost(0, 0) if layer.keeps_shape else _conv(out, layer.in_channels, layer.out_channels)
    expanded = layer.in_channels * choice.expand
    cost = _conv(out, expanded, expanded, choice.kernel, groups=expanded) + _conv(out, expanded, layer.out_channels)
    cost += _conv(size, layer.in_channels, expanded)
    if choice.se:
        reduced = choice.se_channels(layer.in_channels)
        cost += Cost(2 * expanded * reduced, 2 * expanded * reduced + expanded + reduced)
    return cost
