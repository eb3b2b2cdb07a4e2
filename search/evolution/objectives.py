"""Objectives of a search, the costs of a network that need no measuring, and limits on both."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from scarlet_models.errors import UserError, as_user_error
from scarlet_models.options import flag, parse_count
from scarlet_models.search.latency.table import LatencyTable
from scarlet_models.space import sampling
from scarlet_models.space.space import SearchSpace

from .options import CostLimits, Limits

# MoGA (arXiv 1908.01314): what is scarce on a device is compute; more parameters at the same compute help accuracy.
USUAL_DIRECTIONS = {"accuracy": "max", "macs": "min", "params": "max", "latency": "min"}

Range = tuple[float, float]
UNLIMITED: Range = (-math.inf, math.inf)


class Objective(NamedTuple):
    """A figure to raise ("max") or to lower ("min"), and its share of the crowding distance."""

    name: str
    direction: str
    weight: float = 1.0

    @property
    def sign(self) -> int:
        """1 for what is lowered, -1 for what is raised: pymoo minimises."""
        return 1 if self.direction == "min" else -1


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


class Costs:
    """Figures of a network that need no measuring: MACs, params, and latency if there is a table (its file or folder).

    For images of `input_size` px and so many classes; 0 for the space's own. `additive` has, by name, the cost of each
    choice in each layer (layers, choices), and that of stem and head.
    """

    def __init__(self, space: SearchSpace, input_size: int = 0, num_classes: int = 0, latency_table: str = "") -> None:
        self.space, self.table = space, space.cost_table(input_size or None, num_classes or None)
        self.latency = LatencyTable.load(latency_table, space) if latency_table else None
        base = self.table.base
        self.additive = {"macs": (self.table.macs, float(base.macs)), "params": (self.table.params, float(base.params))}
        if self.latency:
            self.additive["latency"] = self.latency.blocks, self.latency.base
        self.names = tuple(self.additive)

    def of(self, genotypes: np.ndarray) -> dict[str, np.ndarray]:
        """MACs and params (int64) and latency (float64, milliseconds), each (N,), of genotypes (N, layers)."""
        macs, params = self.table.sum(genotypes)
        latency = {"latency": self.latency.sum(genotypes)} if self.latency else {}
        return {"macs": macs, "params": params, **latency}

    def range(self, name: str, bounds: Mapping[str, Range] | None = None) -> Range:
        """The least and the most of a cost in the space, cut by its bounds."""
        (costs, base), allowed = self.additive[name], self.table.macs >= 0
        low = base + float(np.where(allowed, costs, np.inf).min(1).sum())
        high = base + float(np.where(allowed, costs, -np.inf).max(1).sum())
        least, most = (bounds or {}).get(name, UNLIMITED)
        return max(low, least), min(high, most)


def read_limits(options: CostLimits) -> sampling.Limits:
    """The limits on MACs and parameters, which are numbers or texts such as 300M; a UserError for anything else."""
    values = {}
    for name in ("min_macs", "max_macs", "min_params", "max_params"):
        value = getattr(options, name)
        with as_user_error(flag(name), UserError):
            values[name] = None if value is None else parse_count(value)
    return sampling.Limits(**values)


def read_bounds(options: Limits) -> dict[str, Range]:
    """The limited figures with their bounds, ends included: macs, params, latency (ms) and accuracy (%)."""
    limits = read_limits(options)
    bounds = dict(zip(("macs", "params"), zip(limits.low.tolist(), limits.high.tolist(), strict=True), strict=True))
    low = -math.inf if options.min_latency is None else parse_milliseconds(options.min_latency, "--min-latency")
    high = math.inf if options.max_latency is None else parse_milliseconds(options.max_latency)
    if low > high:
        raise UserError(f"min latency {low:g} ms is above max latency {high:g} ms")
    bounds["latency"] = (low, high)
    if options.min_accuracy is not None:
        bounds["accuracy"] = (options.min_accuracy, math.inf)
    return {name: ends for name, ends in bounds.items() if ends != UNLIMITED}


def parse_milliseconds(text: str | float, option: str = "--max-latency") -> float:
    """Milliseconds from a number, or from text such as 15ms, 1.5s or 800us; a UserError names the option."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(us|ms|s|)", str(text).strip())
    if not match or not float(match[1]):
        raise UserError(f"{option}: {text!r} is not a time, such as 15ms")
    return float(match[1]) * {"us": 1e-3, "ms": 1.0, "": 1.0, "s": 1e3}[match[2]]


def check_bounds(costs: Costs, bounds: Mapping[str, Range]) -> sampling.Limits:
    """Refuse bounds on a cost that no network of the space meets; return those on MACs and params."""
    ends = (*bounds.get("macs", UNLIMITED), *bounds.get("params", UNLIMITED))
    limits = sampling.Limits(*(int(end) if math.isfinite(end) else None for end in ends))
    sampling.check_reachable(costs.space, limits, costs.table)
    if "latency" in bounds:
        (low, high), (least, most) = bounds["latency"], costs.range("latency")
        if high < least or low > most:
            limit = f"at most {high:g}" if high < least else f"at least {low:g}"
            reach = f"by the table they take from {least:.3g} to {most:.3g} ms"
            raise UserError(f"no network of space {costs.space.name!r} takes {limit} ms: {reach}")
    return limits


def wants_latency(options: Any) -> bool:
    """Whether latency is an objective or has a limit among a command's options."""
    limited = options.min_latency is not None or options.max_latency is not None
    return limited or any(text.split()[:1] == ["latency"] for text in options.objectives)
