"""What a front is worth: its hypervolume, and what it lacks to the best where all accuracies are known.

Zitzler and Thiele: Multiobjective evolutionary algorithms (IEEE TEC 3(4), 1999); computed by pymoo.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from pymoo.indicators.hv import HV

from scarlet_models.space.space import Genotype

from .archive import Archive
from .candidates import Candidates
from .nsga import nondominated
from .objectives import UNLIMITED, Costs, Objective, Range


class Hypervolume:
    """Share of the box between a best and a worst point (objectives,), minimised, that a set of networks dominates.

    A better value than the best counts as that; a network that is worse than the worst in any objective counts nothing.
    """

    def __init__(self, best: np.ndarray, worst: np.ndarray) -> None:
        self.best, self.range = best, np.where(worst > best, worst - best, 1.0)
        self.indicator = HV(ref_point=np.ones(len(best)))

    def __call__(self, values: np.ndarray) -> float:
        """The hypervolume of values (N, objectives), all minimised."""
        scaled = np.maximum((values - self.best) / self.range, 0)
        scaled = scaled[(scaled < 1).all(1)]
        return float(self.indicator(scaled[nondominated(scaled)])) if len(scaled) else 0.0


def reference_ranges(
    objectives: Sequence[Objective], costs: Costs, bounds: Mapping[str, Range], chance: float
) -> dict[str, dict[str, float]]:
    """Worst and best value of each objective. They depend on space and limits only, so that runs can be compared.

    A cost has the space's whole range, cut by the limits. Accuracy goes from its limit, or else from chance, to 100%.
    """
    ranges = {}
    for objective in objectives:
        least = max(chance, bounds.get("accuracy", UNLIMITED)[0])
        ends = (least, 100.0) if objective.name == "accuracy" else costs.range(objective.name, bounds)
        best, worst = ends if objective.direction == "min" else ends[::-1]
        ranges[objective.name] = {"worst": worst, "best": best}
    return ranges


def hypervolume_of(objectives: Sequence[Objective], ranges: Mapping[str, Mapping[str, float]]) -> Hypervolume:
    """The indicator for ranges from `reference_ranges`."""
    signs = np.array([objective.sign for objective in objectives])
    best, worst = (np.array([ranges[o.name][end] for o in objectives]) for end in ("best", "worst"))
    return Hypervolume(signs * best, signs * worst)


def against_front(front: np.ndarray) -> Hypervolume:
    """The indicator from the ideal to the nadir of a known front (N, objectives), minimised.

    The reference point lies a tenth of the front's range beyond its nadir, so that the ends of the front count.
    """
    ideal, nadir = front.min(0), front.max(0)
    return Hypervolume(ideal, nadir + 0.1 * (nadir - ideal))


def regret(
    known: Mapping[Genotype, float], candidates: Candidates, archive: Archive, front: np.ndarray
) -> dict[str, float] | None:
    """Compare networks of an archive, the presumably most accurate first, with the best known ones within the bounds.

    Returns:
        None if no accuracy of theirs is known, else by name:
        best: Points that the first network is below the most accurate known network.
        front: Points that the networks lack on average to the best known network no worse in other objectives.
        hypervolume: Hypervolume of its true values, as a share of that of the known front.
    """
    genotypes, accuracy = np.array([genotype.choices for genotype in known]), np.array(list(known.values()))
    inside = candidates.excess(genotypes) == 0
    rows = front[~np.isnan(archive.figures["true_accuracy"][front])]
    if not len(rows) or not inside.any():
        return None
    accuracy, true = accuracy[inside], archive.figures["true_accuracy"][rows]
    (values, _), (own, _) = archive.judge(genotypes[inside], accuracy), archive.judge(archive.genotypes[rows], true)
    others = [objective.name != "accuracy" for objective in archive.objectives]
    rivals = (values[:, others] <= own[:, None, others]).all(-1)  # (front, known)
    best = values[nondominated(values)]
    volume = against_front(best)
    return {
        "best": float(accuracy.max() - true[0]),
        "front": float((np.where(rivals, accuracy, -np.inf).max(1) - true).mean()),
        "hypervolume": volume(own) / volume(best),
    }
