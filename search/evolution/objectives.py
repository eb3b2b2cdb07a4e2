"""What a search wants of a network, and what it may not cost: objectives with direction and weight, and bounds."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scarlet_models.errors import UserError
from scarlet_models.search.commands.space import read_limits
from scarlet_models.space.sampling import Limits, check_reachable
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
    """Objectives from texts such as "accuracy max 0.4", "macs min" or "latency"; accuracy has to be among them.

    Raises:
        UserError: an unknown or repeated name, a bad direction or weight, no accuracy.
    """
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
    """What is known of a network without measuring it: MACs, params, and latency where there is a table of it.

    Args:
        space: Where the networks live.
        input_size: Side of the images in pixels; 0 for the space's own.
        num_classes: Outputs of the classifier; 0 for the space's own.
        latency_table: File that scarlet-search latency has written; empty for none.

    Attributes:
        names: Of the costs.

    Raises:
        UserError: the table cannot be read, or is another space's.
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

    def range(self, name: str) -> Range:
        """The least and the most of a cost in the space."""
        if name != "latency":
            return float(getattr(self.table.smallest, name)), float(getattr(self.table.largest, name))
        assert self.latency is not None
        return self.latency.range


def read_bounds(options: Any) -> dict[str, Range]:
    """The bounds among a command's options by name: macs, params, latency (ms) and accuracy (%), ends included.

    Raises:
        UserError: one is not a number, or no latency is within both of its bounds.
    """
    limits = read_limits(options)
    bounds = {name: (float(limits.low[i]), float(limits.high[i])) for i, name in enumerate(("macs", "params"))}
    bounds["latency"] = _read_latency(options)
    if options.min_accuracy is not None:
        if not 0 <= options.min_accuracy <= 100:
            raise UserError(f"--min-accuracy: {options.min_accuracy} is not a percentage")
        bounds["accuracy"] = (options.min_accuracy, math.inf)
    return {name: ends for name, ends in bounds.items() if ends != (-math.inf, math.inf)}


def _read_latency(options: Any) -> Range:
    low = -math.inf if options.min_latency is None else parse_milliseconds(options.min_latency, "--min-latency")
    high = math.inf if options.max_latency is None else parse_milliseconds(options.max_latency)
    if low > high:
        raise UserError(f"min latency {low:g} ms is above max latency {high:g} ms")
    return low, high


def wants_latency(options: Any) -> bool:
    """Whether latency is an objective or has a bound among a command's options."""
    limited = options.min_latency is not None or options.max_latency is not None
    return limited or any(text.split()[:1] == ["latency"] for text in options.objectives)


def parse_milliseconds(text: str | float, option: str = "--max-latency") -> float:
    """Milliseconds from a number, or from text such as 15ms, 1.5s or 800us.

    Raises:
        UserError: not a time; the message names the option.
    """
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(us|ms|s|)", str(text).strip())
    if not match or not float(match[1]):
        raise UserError(f"{option}: {text!r} is not a time, such as 15ms")
    return float(match[1]) * {"us": 1e-3, "ms": 1.0, "": 1.0, "s": 1e3}[match[2]]


def check_bounds(costs: Costs, limits: Limits, bounds: Mapping[str, Range]) -> None:
    """Compares each bound on a cost with what the space can reach.

    Raises:
        UserError: no network meets one; the message says what can be reached.
    """
    check_reachable(costs.space, limits, costs.table)
    if "latency" not in bounds:
        return
    (low, high), (least, most) = bounds["latency"], costs.range("latency")
    if high < least or low > most:
        limit = f"at most {high:g}" if high < least else f"at least {low:g}"
        raise UserError(
            f"no network of space {costs.space.name!r} takes {limit} ms: "
            f"by the table they take from {least:.3g} to {most:.3g} ms"
        )
