"""What a network may cost: limits among a command's options, and whether a space can meet them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from scarlet_models.errors import UserError
from scarlet_models.options import flag
from scarlet_models.space import sampling
from scarlet_models.values import parse_count

from .objectives import Costs, Range
from .options import CostLimits, Limits

UNLIMITED = (-math.inf, math.inf)


def read_limits(options: CostLimits) -> sampling.Limits:
    """The limits on MACs and parameters, which are numbers or texts such as 300M; a UserError for anything else."""
    values = {}
    for name in ("min_macs", "max_macs", "min_params", "max_params"):
        value = getattr(options, name)
        try:
            values[name] = None if value is None else parse_count(value)
        except UserError as error:
            raise UserError(f"{flag(name)}: {error}") from None
    return sampling.Limits(**values)


def read_bounds(options: Limits) -> dict[str, Range]:
    """The limited figures with their bounds, ends included: macs, params, latency (ms) and accuracy (%)."""
    limits = read_limits(options)
    bounds = {name: (float(limits.low[i]), float(limits.high[i])) for i, name in enumerate(("macs", "params"))}
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


def as_limits(bounds: Mapping[str, Range]) -> sampling.Limits:
    """The bounds on MACs and parameters, as `sampling` takes them."""
    ends = {}
    for name in ("macs", "params"):
        low, high = bounds.get(name, UNLIMITED)
        ends[f"min_{name}"] = None if low == -math.inf else int(low)
        ends[f"max_{name}"] = None if high == math.inf else int(high)
    return sampling.Limits(**ends)


def check_bounds(costs: Costs, bounds: Mapping[str, Range]) -> None:
    """Refuse bounds on a cost that no network of the space meets, and say what it can reach."""
    sampling.check_reachable(costs.space, as_limits(bounds), costs.table)
    if "latency" not in bounds:
        return
    (low, high), (least, most) = bounds["latency"], costs.range("latency")
    if high < least or low > most:
        limit = f"at most {high:g}" if high < least else f"at least {low:g}"
        reach = f"by the table they take from {least:.3g} to {most:.3g} ms"
        raise UserError(f"no network of space {costs.space.name!r} takes {limit} ms: {reach}")
