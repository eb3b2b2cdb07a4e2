"""Sampling of the paths of a training step: strictly fair (FairNAS, arXiv 1907.01845) or uniform."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from scarlet_models.space.space import Genotype, SearchSpace


class Sampler(ABC):
    """Draws the paths of one training step after another: the same for a seed, on every rank and machine."""

    def __init__(self, space: SearchSpace, seed: int = 0) -> None:
        self.space = space
        self._rng = np.random.default_rng(seed)

    @abstractmethod
    def fair_step(self) -> list[Genotype]:
        """The paths of the next step."""

    def state_dict(self) -> dict[str, Any]:
        """The state to resume from: plain data for JSON and checkpoints."""
        return {"rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._rng.bit_generator.state = state["rng"]


class FairSampler(Sampler):
    """Strict fairness: every layer takes its choices from a running stream of their permutations.

    A fair step has as many paths as the widest layer has choices, so each choice of that layer is drawn exactly once.
    A narrower layer carries the rest of a permutation over to the next fair step. So after any path, the counts of a
    layer's choices differ by one at most. The layers are shuffled independently.
    """

    def __init__(self, space: SearchSpace, seed: int = 0) -> None:
        super().__init__(space, seed)
        self._pending: list[list[int]] = [[] for _ in space.layers]  # the rest of each layer's permutation

    def fair_step(self) -> list[Genotype]:
        count, columns = widest(self.space), []
        for layer, stream in zip(self.space.layers, self._pending, strict=True):
            while len(stream) < count:
                stream += self._rng.permutation(layer.choices).tolist()
            columns.append(stream[:count])
            del stream[:count]
        return [Genotype(choices, self.space) for choices in zip(*columns, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "pending": [list(stream) for stream in self._pending]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._pending = [list(stream) for stream in state["pending"]]


class UniformSampler(Sampler):
    """Each path drawn uniformly and independently; with one path a step, single path one-shot (SPOS, arXiv 1904.00420).

    A step has `paths` of them; None is as many as a fair step has, so that both cost the same.
    """

    def __init__(self, space: SearchSpace, seed: int = 0, paths: int | None = None) -> None:
        super().__init__(space, seed)
        self.paths = widest(space) if paths is None else paths

    def fair_step(self) -> list[Genotype]:
        return [self.space.sample(self._rng) for _ in range(self.paths)]


def widest(space: SearchSpace) -> int:
    """Number of choices of the layer that has most."""
    return max(len(layer.choices) for layer in space.layers)
