"""What a search is worth if the accuracies of all networks are known: its front against the table's."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from scarlet_models.space.space import Genotype

from .archive import Archive
from .candidates import Candidates
from .hypervolume import against_front
from .nsga import nondominated
from .objectives import values_of


class Regret:
    """Compares fronts with the best known networks within the same bounds."""

    def __init__(self, known_accuracies: Mapping[Genotype, float], candidates: Candidates, archive: Archive) -> None:
        known = np.array([genotype.choices for genotype in known_accuracies])
        accuracy = np.array(list(known_accuracies.values()))
        inside = candidates.excess(known) == 0
        self.accuracy, self.archive = accuracy[inside], archive
        self.values = self._values(known[inside], self.accuracy)

    def compare(self, archive: Archive, front: np.ndarray) -> dict[str, float] | None:
        """Compare networks of an archive, the presumably most accurate first; None if no accuracy of theirs is known.

        Returns:
            best: Points that the first network is below the most accurate known network.
            front: Points that the networks lack on average to the best known network no worse in other objectives.
            hypervolume: Hypervolume of its true values, as a share of that of the known front.
        """
        rows = front[~np.isnan(archive.figures["true_accuracy"][front])]
        if not len(rows) or not len(self.accuracy):
            return None
        true = archive.figures["true_accuracy"][rows]
        own = self._values(archive.genotypes[rows], true)
        others = [objective.name != "accuracy" for objective in self.archive.objectives]
        rivals = (self.values[:, others] <= own[:, None, others]).all(-1)  # (front, known)
        lacking = np.where(rivals, self.accuracy, -np.inf).max(1) - true
        best = self.values[nondominated(self.values)]
        volume = against_front(best)
        return {
            "best": float(self.accuracy.max() - true[0]),
            "front": float(lacking.mean()),
            "hypervolume": volume(own) / volume(best),
        }

    def _values(self, genotypes: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
        return values_of(self.archive.objectives, {"accuracy": accuracy, **self.archive.costs.of(genotypes)})
