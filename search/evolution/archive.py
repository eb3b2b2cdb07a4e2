"""What a search has measured, in order, and the best trade-offs among it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scarlet_models.space.space import Genotype
from scarlet_models.terminal import short

from .candidates import keys_of
from .nsga import nondominated
from .objectives import UNLIMITED, Costs, Objective, Range


@dataclass(frozen=True)
class ScoredNetwork:
    """A network that a search has scored; `record` is its figures as plain data, without those that it lacks."""

    genotype: Genotype
    accuracy: float  # percent, by the search's scores
    macs: int
    params: int
    latency: float | None = None  # ms, by a latency table
    true_accuracy: float | None = None  # percent, if it is known
    score: float | None = None  # percent, the supernet's own, if anchors corrected `accuracy`

    def __repr__(self) -> str:
        latency = "" if self.latency is None else f", {self.latency:.2f} ms"
        costs = f"{short(self.macs)} MACs, {short(self.params)} params{latency}"
        return f"ScoredNetwork({self.genotype}: {self.accuracy:.2f}%, {costs})"

    def record(self) -> dict[str, Any]:
        figures = {name: value for name, value in vars(self).items() if value is not None}
        return {**figures, "genotype": str(self.genotype)}


class Archive:
    """Networks with their figures. Of the `bounds`, a measured network can violate that of accuracy only.

    Attributes:
        genotypes: (N, layers).
        figures: Arrays (N,) by name: accuracy in percent, the costs, true_accuracy (NaN where it is not known), and
            score, the supernet's own (NaN unless anchors corrected it).
        values: (N, objectives), all minimised.
        violations: (N,), percent of accuracy that are missing; 0 or below is feasible.
        born: (N,), the generation of each.
        front: Indices of the feasible networks that none dominates; the most accurate first.
    """

    def __init__(
        self,
        objectives: Sequence[Objective],
        costs: Costs,
        bounds: Mapping[str, Range],
        known: Mapping[Genotype, float] | None = None,
    ) -> None:
        self.objectives, self.costs = objectives, costs
        self.constrained, self.least = "accuracy" in bounds, bounds.get("accuracy", UNLIMITED)[0]
        known = known or {}
        self.known = dict(zip(keys_of(np.array([g.choices for g in known])), known.values(), strict=True))
        self.genotypes, self.values = np.empty((0, len(costs.space.layers)), int), np.empty((0, len(objectives)))
        self.violations, self.born, self.front = np.empty(0), np.empty(0, int), np.empty(0, int)
        names = ("accuracy", *costs.names, "true_accuracy", "score")
        self.figures: dict[str, np.ndarray] = {name: np.empty(0) for name in names}
        self._places: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self.genotypes)

    def judge(self, genotypes: np.ndarray, accuracy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values (N, objectives) and violations (N,) of networks if these were their accuracies."""
        figures = {"accuracy": accuracy, **self.costs.of(genotypes)}
        values = [objective.sign * np.asarray(figures[objective.name], float) for objective in self.objectives]
        return np.stack(values, axis=1), self.least - accuracy if self.constrained else np.zeros(len(genotypes))

    def add(
        self, genotypes: np.ndarray, accuracy: np.ndarray, generation: int, score: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Add what was measured, and update the front; return what `judge` says of it."""
        first, keys = len(self), keys_of(genotypes)
        values, violations = self.judge(genotypes, accuracy)
        figures = {"accuracy": accuracy, **self.costs.of(genotypes)}
        figures["true_accuracy"] = np.array([self.known.get(key, np.nan) for key in keys])
        figures["score"] = np.full(len(genotypes), np.nan) if score is None else score
        self.genotypes = np.concatenate([self.genotypes, genotypes])
        self.figures = {name: np.concatenate([old, figures[name]]) for name, old in self.figures.items()}
        self.values = np.concatenate([self.values, values])
        self.violations = np.concatenate([self.violations, violations])
        self.born = np.concatenate([self.born, np.full(len(genotypes), generation)])
        self._places.update(zip(keys, range(first, len(self)), strict=True))
        rivals = np.sort(np.concatenate([self.front, first + np.flatnonzero(violations <= 0)]))
        best = rivals[nondominated(self.values[rivals])]
        self.front = best[np.argsort(-self.figures["accuracy"][best], kind="stable")]
        return values, violations

    def find(self, genotypes: np.ndarray) -> list[int]:
        """Indices of those of the genotypes (N, layers) that were measured."""
        return [self._places[key] for key in keys_of(genotypes) if key in self._places]

    def networks(self, indices: Iterable[int]) -> list[ScoredNetwork]:
        """The measured networks at these indices."""
        found = []
        for index in indices:
            figures = {name: of[index].item() for name, of in self.figures.items() if not np.isnan(of[index])}
            figures |= {name: int(figures[name]) for name in ("macs", "params")}
            genotype = Genotype(tuple(self.genotypes[index].tolist()), self.costs.space)
            found.append(ScoredNetwork(genotype, **figures))
        return found

    def records(self, indices: Iterable[int]) -> list[dict[str, Any]]:
        """The measured networks at these indices, as plain data."""
        return [network.record() for network in self.networks(indices)]
