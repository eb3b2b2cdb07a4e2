"""Networks to train beside the picked one: a random one and the largest within the same limits."""

from __future__ import annotations

import numpy as np

from scarlet_models.search.evolution.candidates import Candidates
from scarlet_models.space.space import Genotype

_STARTS = 32


def random_network(candidates: Candidates, seed: int, other: Genotype) -> Genotype:
    """A network that meets the limits, drawn uniformly among the genotypes; not the other one if there is a choice."""
    taken = np.array([other.canonical().choices])
    drawn = candidates.draw(np.random.default_rng([seed, 2]), 1, taken)
    return candidates.space.validate((drawn if len(drawn) else taken)[0])


def largest_network(candidates: Candidates) -> Genotype:
    """The network of most MACs that meets the limits: exact in an enumerated space, else found by climbing.

    Each climb starts at a random network, and changes the layer that adds most MACs within the limits until none does.
    """
    starts = candidates.networks
    if starts is None:
        starts = candidates.draw(np.random.default_rng(0), _STARTS)
        starts = np.concatenate([_climb(candidates, start[None]) for start in starts])
    macs = candidates.costs.of(starts)["macs"]
    return candidates.space.validate(starts[macs.argmax()]).canonical()


def _climb(candidates: Candidates, genotype: np.ndarray) -> np.ndarray:
    """The end of a climb from a genotype (1, layers)."""
    macs = candidates.costs.of(genotype)["macs"][0]
    while True:
        changed = np.repeat(genotype, sum(len(layer.choices) for layer in candidates.space.layers), axis=0)
        changes = [(layer.index, choice) for layer in candidates.space.layers for choice in layer.choices]
        changed[np.arange(len(changes)), [layer for layer, _ in changes]] = [choice for _, choice in changes]
        found = np.where(candidates.excess(changed) == 0, candidates.costs.of(changed)["macs"], 0)
        if found.max() <= macs:
            return genotype
        genotype, macs = changed[[found.argmax()]], found.max()
