"""Genotypes as integer arrays (N, layers): canonical form, and keys for sets and dictionaries."""

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
