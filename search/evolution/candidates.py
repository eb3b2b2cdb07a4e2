"""Genotypes as integer arrays (N, layers), and those that a search may ask for: within the bounds, and each once.

Genotypes that differ only in the order of a stage's identities are one network, so all are canonical: identities come
last. Small spaces are enumerated, so that a search can use them up. Mutation and crossover never leave the space: the
choices that a layer allows do not depend on other layers.
"""

from collections.abc import Mapping

import numpy as np

from scarlet_models.errors import UserError
from scarlet_models.space.sampling import ENUMERABLE, enumerate_genotypes, sample_within
from scarlet_models.space.space import SearchSpace

from .objectives import Costs, Range, check_bounds

_ROUNDS = 8  # of random draws, before what is left is looked for
_DRAWS = 512  # in a round, at least
_FAILURES = 30  # searches in a row that find nothing new, after which there is taken to be nothing


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


class Candidates:
    """What one search may still ask for; a UserError if no network meets the bounds.

    The bounds are ranges by name, ends included; only those of costs count. `networks` are all that can be scored, as
    genotypes (N, layers); None for the whole space.
    """

    def __init__(self, costs: Costs, bounds: Mapping[str, Range], networks: np.ndarray | None = None) -> None:
        self.costs, self.space = costs, costs.space
        self.bounds = {name: ends for name, ends in bounds.items() if name in costs.names}
        self.scale = {name: np.ptp(costs.range(name)) or 1.0 for name in self.bounds}
        self.limits = check_bounds(costs, self.bounds)
        self.taken: set[bytes] = set()
        self.known: set[bytes] | None = None
        if networks is None and self.space.size <= ENUMERABLE:
            networks = enumerate_genotypes(self.space)
        if networks is not None:
            networks = np.unique(canonicalise(self.space, networks), axis=0)
            networks = networks[self.excess(networks) == 0]
            self.known = set(keys_of(networks))
        self.networks = networks
        if not len(self.draw(np.random.default_rng(0), 1)):
            where = "known network" if self.known is not None else "network found in many searches"
            raise UserError(f"no {where} of space {self.space.name!r} meets the limits: widen them")

    def excess(self, genotypes: np.ndarray) -> np.ndarray:
        """Distance of the costs from the bounds, in shares of the space's ranges, summed: (N,); 0 is inside."""
        total, costs = np.zeros(len(genotypes)), self.costs.of(genotypes)
        for name, (low, high) in self.bounds.items():
            total += np.maximum(np.maximum(low - costs[name], costs[name] - high), 0) / self.scale[name]
        return total

    def fresh(self, genotypes: np.ndarray, *others: np.ndarray) -> np.ndarray:
        """Indices of canonical rows that may be asked for: inside, not taken, not in `others`, and each once."""
        barred = self.taken.union(*map(keys_of, others))
        chosen = []
        for index, (key, excess) in enumerate(zip(keys_of(genotypes), self.excess(genotypes), strict=True)):
            if key not in barred and not excess and (self.known is None or key in self.known):
                barred.add(key)
                chosen.append(index)
        return np.array(chosen, int)

    def take(self, genotypes: np.ndarray) -> None:
        """Bars canonical genotypes (N, layers) from being asked for again."""
        self.taken.update(keys_of(genotypes))

    def draw(self, rng: np.random.Generator, count: int, *others: np.ndarray) -> np.ndarray:
        """Random networks that may be asked for and are not in `others`: (count, layers), fewer if none are left.

        Drawn uniformly from the genotypes, then made canonical. If that finds too few, the rest is drawn from what is
        left of an enumerated space, or found by a descent into the bounds from random starts.
        """
        found = np.empty((0, len(self.space.layers)), int)
        for _ in range(_ROUNDS):
            drawn = canonicalise(self.space, self.space.sample_array(rng, max(_DRAWS, 2 * count)))
            new = drawn[self.fresh(drawn, found, *others)]
            found = np.concatenate([found, new])[:count]
            if len(found) == count or len(new) < count // _ROUNDS:
                break
        if len(found) < count and self.networks is not None:
            left = self.networks[self.fresh(self.networks, found, *others)]
            return np.concatenate([found, rng.permutation(left)])[:count]
        failures = 0
        while len(found) < count and failures < _FAILURES:
            new = canonicalise(self.space, self._descend(rng))
            new = new[self.fresh(new, found, *others)]
            failures = 0 if len(new) else failures + 1
            found = np.concatenate([found, new])
        return found

    def neighbours(self, genotype: np.ndarray) -> np.ndarray:
        """The genotypes (N, layers) that differ from one (1, layers) in one layer at most."""
        changes = np.array([(layer.index, choice) for layer in self.space.layers for choice in layer.choices])
        changed = np.repeat(genotype, len(changes), axis=0)
        changed[np.arange(len(changes)), changes[:, 0]] = changes[:, 1]
        return changed

    def _descend(self, rng: np.random.Generator) -> np.ndarray:
        """A genotype (1, layers), inside the bounds if the descent succeeds.

        Starts with MACs and params inside, changes the layer that lowers the excess most until none does, and takes a
        random step that stays inside.
        """
        genotype = np.array([sample_within(self.space, rng, self.limits, self.costs.table)])
        excess = self.excess(genotype)[0]
        while excess:
            neighbours = self.neighbours(genotype)
            all_excess = self.excess(neighbours)
            if all_excess.min() >= excess:
                break
            genotype, excess = neighbours[[all_excess.argmin()]], all_excess.min()
        steps = mutate(self.space, np.repeat(genotype, _DRAWS, axis=0), rng, 2 / len(self.space.layers))
        inside = steps[self.excess(steps) == 0]
        return inside[:1] if len(inside) else genotype
