"""Genotypes as integer arrays (N, layers): canonical form, keys, mutation and crossover.

Nothing changes in place. Mutation and crossover never leave the space: crossover swaps choices between two genotypes
layer by layer, and the choices that a layer allows do not depend on other layers.
"""

from __future__ import annotations

import numpy as np

from scarlet_models.space.space import SearchSpace


def canonicalise(space: SearchSpace, genotypes: np.ndarray) -> np.ndarray:
    """`Genotype.canonical` of each row: the shape-keeping identities of a stage at its end."""
    result = genotypes.copy()
    for stage in range(len(space.stages)):
        movable = [layer.index for layer in space.layers if layer.stage == stage and layer.keeps_shape]
        order = np.argsort(result[:, movable] == space.identity, axis=1, kind="stable")
        result[:, movable] = np.take_along_axis(result[:, movable], order, axis=1)
    return result


def keys_of(genotypes: np.ndarray) -> list[bytes]:
    """A hashable key of each row."""
    return [row.tobytes() for row in genotypes.astype(np.uint16)]


def mutate(space: SearchSpace, genotypes: np.ndarray, rng: np.random.Generator, probability: float) -> np.ndarray:
    """Change each layer of genotypes (N, layers) with `probability` to one of its other choices, all equally likely."""
    mutated = genotypes.copy()
    changed = rng.random(genotypes.shape) < probability
    for layer in space.layers:
        choices, rows = np.array(layer.choices), np.flatnonzero(changed[:, layer.index])
        if len(choices) > 1:
            place = np.searchsorted(choices, genotypes[rows, layer.index])  # choices ascend
            other = (place + rng.integers(1, len(choices), size=len(rows))) % len(choices)
            mutated[rows, layer.index] = choices[other]
    return mutated


def two_point_crossover(
    first: np.ndarray, second: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Swap a run of neighbouring layers between the parents (N, layers) of each row, never all of them.

    The layers form a ring, so that the first and the last are swapped as often as those in the middle.
    """
    count, layers = first.shape
    if layers < 2:
        return first.copy(), second.copy()
    start, length = rng.integers(layers, size=(count, 1)), rng.integers(1, layers, size=(count, 1))
    swapped = (np.arange(layers) - start) % layers < length
    return np.where(swapped, second, first), np.where(swapped, first, second)
