"""Objectives of a search with direction and weight, and the figures of a network that need no measuring."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scarlet_models.errors import UserError
from scarlet_models.space.space import SearchSpace

# MoGA (arXiv 1908.01314): what is scarce on a device is compute; more parameters at the same compute help accuracy.
USUAL_DIRECTIONS = {"accuracy": "max", "macs": "min", "params": "max", "latency": "min"}

Range = tuple[float, float]


@dataclass(frozen=True)
class Objective:
    """A figure to raise ("max") or to lower ("min"), and its share of the crowding distance."""

    name: str
    direction: str
    weight: float = 1.0

    @property
    def sign(self) -> int:
        """1 for what is lowered, -1 for what is raised: pymoo minimises."""
        return 1 if self.direction == "min" else -1

    def __str__(self) -> str:
        return f"{self.name} {self.direction} {self.weight:g}"


def read_objectives(texts: Sequence[str]) -> list[Objective]:
    """Objectives from texts such as "accuracy max 0.4", "macs min" or "latency"; one must be accuracy."""
    objectives = [_objective(text) for text in texts]
    names = [objective.name for objective in objectives]
    if "accuracy" not in names or len(set(names)) < len(names):
        raise UserError(f"--objectives: {', '.join(names) or 'none'}: name accuracy, and each objective once")
    return objectives


def _objective(text: str) -> Objective:
    name, *rest = text.split()
    if name not in USUAL_DIRECTIONS:
        raise UserError(f"--objectives: {name!r} is not one of {', '.join(USUAL_DIRECTIONS)}")
    direction = rest.pop(0) if rest and rest[0] in ("min", "max") else USUAL_DIRECTIONS[name]
    try:
        weight = float(rest.pop(0)) if rest else 1.0
    except ValueError:
        weight = 0.0
    if rest or not (0 < weight < math.inf):
        raise UserError(f"--objectives: {text!r} is not a name, min or max, and a positive weight: macs min 0.4")
    return Objective(name, direction, weight)


def values_of(objectives: Sequence[Objective], figures: Mapping[str, np.ndarray]) -> np.ndarray:
    """Values to minimise, float64 of shape (N, objectives), from arrays of (N,) by name."""
    return np.stack([objective.sign * np.asarray(figures[objective.name], float) for objective in objectives], axis=1)


class Costs:
    """Figures of a network that need no measuring: MACs, params, and latency if there is a table.

    Args:
        input_size: Side of the images in pixels; 0 for the space's own.
        num_classes: Outputs of the classifier; 0 for the space's own.
        latency_table: table.json of scarlet-search latency, or its folder; empty for none.
    """

    def __init__(self, space: SearchSpace, input_size: int = 0, num_classes: int = 0, latency_table: str = "") -> None:
        self.space = space
        self.table = space.cost_table(input_size or None, num_classes or None)
        self.latency = None
        self.names = ["macs", "params"]
        if latency_table:
            from scarlet_models.search.latency.table import LatencyTable

            self.latency = LatencyTable.load(latency_table, space)
            self.names.append("latency")

    def of(self, genotypes: np.ndarray) -> dict[str, np.ndarray]:
        """MACs and params (int64) and latency (float64, milliseconds), each (N,), of genotypes (N, layers)."""
        macs, params = self.table.sum(genotypes)
        costs = {"macs": macs, "params": params}
        return costs if self.latency is None else {**costs, "latency": self.latency.sum(genotypes)}

    def additive(self, name: str) -> tuple[np.ndarray, float]:
        """A cost of each choice in each layer (layers, choices), and that of stem and head."""
        if self.latency is not None and name == "latency":
            return self.latency.blocks, self.latency.base
        return getattr(self.table, name), float(getattr(self.table.base, name))

    def range(self, name: str) -> Range:
        """The least and the most of a cost in the space."""
        if name != "latency":
            return float(getattr(self.table.smallest, name)), float(getattr(self.table.largest, name))
        assert self.latency is not None
        return self.latency.range


def wants_latency(options: Any) -> bool:
    """Whether latency is an objective or has a limit among a command's options."""
    limited = options.min_latency is not None or options.max_latency is not None
    return limited or any(text.split()[:1] == ["latency"] for text in options.objectives)
