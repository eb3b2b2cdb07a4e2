"""Exact cost of a network, summed from tables of one entry a layer and choice; no model is built."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from .blocks import Choice, Convolution
from .structure import Structure

_CHUNK = 1 << 13  # genotypes whose columns fit the CPU's cache: more than twice as fast as all at once


@dataclass(frozen=True)
class Cost:
    """Exact cost of a network: `macs` of convolutions and linear layers for one image, and trainable `params`."""

    macs: int
    params: int

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.macs + other.macs, self.params + other.params)


@dataclass(frozen=True)
class CostTable:
    """Costs that add up; the arrays are int64 (layers, choices), -1 where a layer does not allow the choice."""

    base: Cost  # of stem, head and classifier
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
    stem, head = space.stem, space.head
    base = _conv(Convolution(3, stem.channels, 3), sizes[0])
    if stem.separable:
        base += _block(Choice("ds", 3), space, sizes[0], stem.channels, stem.separable, 1)
    macs = np.full((len(space.layers), len(space.choices)), -1)
    params = macs.copy()
    for layer in space.layers:
        for index in layer.choices:
            shape = (sizes[layer.index], layer.in_channels, layer.out_channels, layer.stride)
            cost = _block(space.choices[index], space, *shape) if space.has_block(layer, index) else Cost(0, 0)
            macs[layer.index, index], params[layer.index, index] = cost.macs, cost.params
    base += _conv(Convolution(space.stages[-1].channels, head.channels), 1 if head.pool_first else sizes[-1])
    base += Cost(head.channels * num_classes, (head.channels + 1) * num_classes)
    return CostTable(base if head.norm else base + Cost(0, -head.channels), macs, params)


def _conv(conv: Convolution, size: int) -> Cost:
    """A convolution without bias and its BN, on an output map of `size` px."""
    weights = (1 if conv.depthwise else conv.in_channels) * conv.channels * conv.kernel**2
    return Cost(weights * size * size, weights + 2 * conv.channels)


def _block(choice: Choice, space: Structure, size: int, in_channels: int, channels: int, stride: int) -> Cost:
    """A block whose input map is `size` px."""
    cost = Cost(0, 0)
    for conv in choice.convolutions(in_channels, channels):
        size = -(-size // stride) if conv.strided else size
        cost += _conv(conv, size)
    if choice.se:
        inside, reduced = choice.inner_channels(in_channels), choice.se_channels(in_channels, space.se.divisor)
        cost += Cost(2 * inside * reduced, 2 * inside * reduced + inside + reduced)
    return cost
