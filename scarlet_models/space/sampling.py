"""Random genotypes, with or without limits on their cost.

Under limits, three bounded steps: compare them with the least and most that the cost table can reach; take a uniform
draw that happens to lie inside; else descend from random genotypes to the limits by the best change of two layers at a
time, and from there walk at random inside the limits. The walk proposes symmetric changes, so it tends to the uniform
distribution over what it can reach (Metropolis). Spaces small enough are enumerated instead, which is exact.
"""

from dataclasses import dataclass

import numpy as np

from scarlet_models.errors import UserError

from .cost import CostTable
from .structure import Structure

ENUMERABLE = 20_000  # genotypes of a space that is enumerated
_DRAWS = 2_048  # tries at random
_DESCENTS = 50  # starts of the search that follows when all of them fail
_STEPS = 100  # changes in one descent
_WALK = 20  # random steps a layer after a descent


@dataclass(frozen=True)
class Limits:
    """Allowed costs of a network, ends included; None is no limit."""

    min_macs: int | None = None
    max_macs: int | None = None
    min_params: int | None = None
    max_params: int | None = None

    def __str__(self) -> str:
        named = [(name.replace("_", " "), value) for name, value in vars(self).items() if value is not None]
        return ", ".join(f"{name} {value:,}" for name, value in named) or "no limits"

    @property
    def low(self) -> np.ndarray:
        """Least MACs and params, float64 (2,)."""
        return np.array([-np.inf if v is None else v for v in (self.min_macs, self.min_params)], float)

    @property
    def high(self) -> np.ndarray:
        """Most MACs and params, float64 of shape (2,)."""
        return np.array([np.inf if v is None else v for v in (self.max_macs, self.max_params)], float)

    def excess(self, costs: np.ndarray, scale: np.ndarray | float = 1.0) -> np.ndarray:
        """How far costs (..., 2) lie outside, summed over both after division by the scale; 0 is inside."""
        return (np.maximum(self.low - costs, 0) / scale + np.maximum(costs - self.high, 0) / scale).sum(-1)


def draw(space: Structure, rng: np.random.Generator, count: int) -> np.ndarray:
    """Genotypes drawn uniformly, int64 of shape (count, layers)."""
    columns = [np.array(layer.choices)[rng.integers(len(layer.choices), size=count)] for layer in space.layers]
    return np.stack(columns, axis=1)


def enumerate_genotypes(space: Structure) -> np.ndarray:
    """Every genotype in lexicographic order, int64 of shape (space.size, layers). For small spaces."""
    grid = np.meshgrid(*(layer.choices for layer in space.layers), indexing="ij")
    return np.stack(grid, axis=-1).reshape(-1, len(space.layers))


def sample_within(space: Structure, rng: np.random.Generator, limits: Limits, table: CostTable) -> tuple[int, ...]:
    """A random genotype whose cost by the table lies within the limits; a UserError says what comes nearest to them."""
    check_reachable(space, limits, table)
    exact = space.size <= ENUMERABLE
    candidates = enumerate_genotypes(space) if exact else draw(space, rng, _DRAWS)
    costs = np.stack(table.sum(candidates), axis=1)
    inside = np.flatnonzero(limits.excess(costs) == 0)
    if len(inside):
        return tuple(candidates[rng.choice(inside)].tolist())
    scale = np.maximum([table.largest.macs - table.smallest.macs, table.largest.params - table.smallest.params], 1)
    distances = limits.excess(costs, scale)
    nearest = costs[distances.argmin()]
    if exact:
        raise UserError(f"space {space.name!r} has no network with {limits}; {_name('nearest', nearest)}")
    search = _Search(table, limits, scale, rng)
    for start in candidates[distances.argsort(kind="stable")[:_DESCENTS]]:
        found = search.descend(start)
        cost = search.cost_of(found)
        if not limits.excess(cost):
            return tuple(search.walk(found).tolist())
        nearest = min(nearest, cost, key=lambda cost: float(limits.excess(cost, scale)))
    raise UserError(
        f"found no network of space {space.name!r} with {limits} in {_DRAWS} draws and {_DESCENTS} searches; "
        f"{_name('nearest', nearest)}: widen the limits"
    )


def check_reachable(space: Structure, limits: Limits, table: CostTable) -> None:
    """Refuse limits outside what the space can reach."""
    for name, index in (("macs", 0), ("params", 1)):
        low, high = limits.low[index], limits.high[index]
        least, most = getattr(table.smallest, name), getattr(table.largest, name)
        if low > high:
            raise UserError(f"min {name} {low:,.0f} is above max {name} {high:,.0f}")
        if high < least or low > most:
            raise UserError(
                f"no network of space {space.name!r} has {limits}: its {name} go from {least:,} to {most:,}"
            )
    if not _meet_jointly(limits, table):
        raise UserError(f"no network of space {space.name!r} has {limits}: each can be met, not both together")


def _meet_jointly(limits: Limits, table: CostTable) -> bool:
    """Whether the limits touch the convex hull of all costs: in any direction, its extent sums the layers' extents."""
    least, most = (np.array([c.macs, c.params], float) for c in (table.smallest, table.largest))
    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1) / np.maximum(most - least, 1)
    costs = np.where(table.macs < 0, np.nan, np.stack([table.macs, table.params]))
    extent = np.nanmax(np.tensordot(directions, costs, axes=1), axis=2).sum(1)
    corners = np.where(directions > 0, np.maximum(limits.low, least), np.minimum(limits.high, most))
    needed = (directions * (corners - [table.base.macs, table.base.params])).sum(1)
    rounding = 1e-9 * np.abs(directions * most).sum(1)
    return bool((needed <= extent + rounding).all())


def _name(what: str, cost: np.ndarray) -> str:
    macs, params = cost.tolist()
    return f"{what} is {int(macs):,} MACs, {int(params):,} params"


class _Search:
    """Moves from genotype to genotype by changing one or two layers, knowing nothing but their costs."""

    def __init__(self, table: CostTable, limits: Limits, scale: np.ndarray, rng: np.random.Generator) -> None:
        self.limits, self.scale, self.rng = limits, scale, rng
        self.base = np.array([table.base.macs, table.base.params])
        self.costs = np.stack([table.macs, table.params], axis=-1)  # (layers, choices, 2)
        self.allowed = table.macs >= 0
        self.layers, self.choices = self.allowed.shape
        layer = np.repeat(np.arange(self.layers), self.choices)
        usable = self.allowed.ravel()
        self.barred = (layer[:, None] == layer) | ~usable | ~usable[:, None]  # pairs of changes that do not go together

    def cost_of(self, genotype: np.ndarray) -> np.ndarray:
        """MACs and params, shape (2,)."""
        return np.asarray(self.base + self.costs[np.arange(self.layers), genotype].sum(0))

    def descend(self, genotype: np.ndarray) -> np.ndarray:
        """Takes the change of one layer that lowers the excess most, else of two layers, until it is 0 or none does."""
        excess = float(self.limits.excess(self.cost_of(genotype), self.scale))
        for _ in range(_STEPS):
            if not excess:
                break
            cost = self.cost_of(genotype)
            change = (self.costs - self.costs[np.arange(self.layers), genotype][:, None]).reshape(-1, 2)
            after = np.where(self.allowed.ravel(), self.limits.excess(cost + change, self.scale), np.inf)
            if after.min() >= excess:
                after = self.limits.excess(cost + change[:, None] + change, self.scale)
                after[self.barred] = np.inf
            if after.min() >= excess:
                break
            excess = float(after.min())
            layers, choices = np.divmod(np.unravel_index(after.argmin(), after.shape), self.choices)
            genotype = genotype.copy()
            genotype[layers] = choices
        return genotype

    def walk(self, genotype: np.ndarray) -> np.ndarray:
        """Changes two random layers at random many times, staying inside the limits."""
        for _ in range(_WALK * self.layers):
            layers, choices = self.rng.integers(self.layers, size=2), self.rng.integers(self.choices, size=2)
            after = genotype.copy()
            after[layers] = choices
            if self.allowed[layers, choices].all() and not self.limits.excess(self.cost_of(after)):
                genotype = after
        return genotype
