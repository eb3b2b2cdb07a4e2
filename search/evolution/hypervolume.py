"""The hypervolume indicator of a front, between 0 and 1.

Zitzler and Thiele: Multiobjective evolutionary algorithms (IEEE TEC 3(4), 1999); computed by pymoo.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pymoo.indicators.hv import HV

from .nsga import nondominated
from .objectives import Costs, Objective, Range


class Hypervolume:
    """Share of the box between a best and a worst point that a set of networks dominates.

    Args:
        best: (objectives,), minimised values; a better value counts as this one.
        worst: The reference point; a network that is worse in any objective counts as nothing.
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
        low, high = (chance, 100.0) if objective.name == "accuracy" else costs.range(objective.name)
        least, most = bounds.get(objective.name, (-np.inf, np.inf))
        ends = max(low, least), min(high, most)
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
