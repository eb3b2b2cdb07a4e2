"""What a search is worth where the accuracies of all networks are known: its front against the table's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scarlet_models.space.space import Genotype

from .archive import Archive
from .candidates import Candidates
from .hypervolume import against_front
from .nsga import nondominated
from .objectives import values_of


class Regret:
    """Compares fronts with the best known networks inside the same bounds.

    Args:
        known_accuracies: Known accuracies in percent, of canonical genotypes.
        candidates: Says which of them a search may ask for.
        archive: Says by which objectives a front is one.
    """

    def __init__(self, known_accuracies: Mapping[Genotype, float], candidates: Candidates, archive: Archive) -> None:
        known = np.array([genotype.choices for genotype in known_accuracies])
        accuracy = np.array(list(known_accuracies.values()))
        inside = candidates.excess(known) == 0
        self.known, self.accuracy, self.archive = known[inside], accuracy[inside], archive

    def compare(self, records: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
        """Of a front's records, the most accurate first; None where none of them is known.

        Returns:
            best: Points that the most accurate by the search's scores is below the most accurate known network.
            front: Points that its networks lack on average to the most accurate known one that is no worse in all else.
            hypervolume: Of its true values, as a share of that of the known front; the reference point lies a tenth of
                that front's range beyond its nadir.
        """
        rows = [record for record in records if "true_accuracy" in record]
        if not rows or not len(self.known):
            return None
        genotypes = np.array([Genotype.parse(row["genotype"], self.archive.costs.space).choices for row in rows])
        true = np.array([row["true_accuracy"] for row in rows])
        own, values = self._values(genotypes, true), self._values(self.known, self.accuracy)
        else_ = [objective.name != "accuracy" for objective in self.archive.objectives]
        rivals = (values[:, else_] <= own[:, None, else_]).all(-1)  # (front, known)
        lacking = np.where(rivals, self.accuracy, -np.inf).max(1) - true
        best = values[nondominated(values)]
        volume = against_front(best)
        return {
            "best": float(self.accuracy.max() - true[0]),
            "front": float(lacking.mean()),
            "hypervolume": volume(own) / volume(best),
        }

    def _values(self, genotypes: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
        return values_of(self.archive.objectives, {"accuracy": accuracy, **self.archive.costs.of(genotypes)})
