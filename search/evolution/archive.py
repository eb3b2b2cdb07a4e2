"""What a search has measured, in order, and the best trade-offs among it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .nsga import nondominated
from .objectives import Costs, Objective, Range, values_of


class Archive:
    """Networks with their figures.

    Args:
        objectives: What the front is of.
        costs: Known without measuring.
        bounds: Allowed ranges; that of accuracy is what a measured network can violate.

    Attributes:
        genotypes: (N, layers).
        figures: Arrays (N,) by name: accuracy in percent, and the costs.
        values: (N, objectives), all minimised.
        violations: (N,), percent of accuracy that are missing; 0 or below is feasible.
        born: (N,), the generation of each.
    """

    def __init__(self, objectives: Sequence[Objective], costs: Costs, bounds: Mapping[str, Range]) -> None:
        self.objectives, self.costs = objectives, costs
        self.least = bounds.get("accuracy", (-np.inf, np.inf))[0]
        self.constrained = "accuracy" in bounds
        self.genotypes = np.empty((0, len(costs.space.layers)), int)
        self.figures: dict[str, np.ndarray] = {name: np.empty(0) for name in ("accuracy", *costs.names)}
        self.values, self.violations = np.empty((0, len(objectives))), np.empty(0)
        self.born = np.empty(0, int)

    def __len__(self) -> int:
        return len(self.genotypes)

    def judge(self, genotypes: np.ndarray, accuracy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values (N, objectives) and violations (N,) of networks, were these their accuracies."""
        figures = {"accuracy": accuracy, **self.costs.of(genotypes)}
        violations = self.least - accuracy if self.constrained else np.zeros(len(genotypes))
        return values_of(self.objectives, figures), violations

    def add(self, genotypes: np.ndarray, accuracy: np.ndarray, generation: int) -> tuple[np.ndarray, np.ndarray]:
        """Notes what was measured; returns what `judge` says of it."""
        values, violations = self.judge(genotypes, accuracy)
        figures = {"accuracy": accuracy, **self.costs.of(genotypes)}
        self.genotypes = np.concatenate([self.genotypes, genotypes])
        self.figures = {name: np.concatenate([old, figures[name]]) for name, old in self.figures.items()}
        self.values = np.concatenate([self.values, values])
        self.violations = np.concatenate([self.violations, violations])
        self.born = np.concatenate([self.born, np.full(len(genotypes), generation)])
        return values, violations

    def front(self) -> np.ndarray:
        """Indices of the feasible networks that none dominates; the most accurate first."""
        feasible = np.flatnonzero(self.violations <= 0)
        best = feasible[nondominated(self.values[feasible])]
        return best[np.argsort(-self.figures["accuracy"][best], kind="stable")]

    def find(self, genotypes: np.ndarray) -> list[int]:
        """Where these genotypes (N, layers) stand, those that were measured."""
        place = {tuple(row): index for index, row in enumerate(self.genotypes.tolist())}
        return [place[row] for row in map(tuple, genotypes.tolist()) if row in place]

    def record(self, index: int) -> dict[str, Any]:
        """A network as plain data: genotype, accuracy in percent, macs, params, and latency in ms where known."""
        figures = {name: values[index].item() for name, values in self.figures.items()}
        whole = {name: int(figures[name]) for name in ("macs", "params")}
        return {"genotype": ",".join(map(str, self.genotypes[index])), **figures, **whole}
