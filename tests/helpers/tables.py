"""Latency tables of invented times."""

import numpy as np

from scarlet_models.search.latency.table import LatencyTable, distinct_units
from scarlet_models.space.space import SearchSpace

MINI = SearchSpace.load("mini")


def invented_table(space: SearchSpace = MINI, seed: int = 0) -> LatencyTable:
    """A table of random times."""
    rng = np.random.default_rng(seed)
    times = {unit: float(rng.uniform(0.1, 1)) for unit in distinct_units(space, space.input_size)}
    return LatencyTable.of_units(space, 0.5, times, {"image_size": space.input_size})
