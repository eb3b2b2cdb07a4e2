"""Whether a table's sums predict how long whole networks take."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from scarlet_models.errors import UserError
from scarlet_models.search.scoring.ranking import bootstrap, spearman
from scarlet_models.space.space import Genotype, SearchSpace

from .table import LatencyTable

RESAMPLES = 1000  # behind each interval


def stratified(space: SearchSpace, count: int, seed: int) -> list[Genotype]:
    """Distinct networks spread over the range of MACs: one at random from each of `count` equal slices that has one."""
    rng, table = np.random.default_rng(seed), space.cost_table()
    edges = np.linspace(table.smallest.macs, table.largest.macs, count + 1)
    networks: dict[Genotype, None] = {}
    for low, high in itertools.pairwise(edges):
        with contextlib.suppress(UserError):  # a small space has gaps
            networks[space.sample(rng, min_macs=int(low), max_macs=int(high)).canonical()] = None
    return list(networks)


def compare(table: LatencyTable, networks: Sequence[Genotype], measured: np.ndarray, rounds: int) -> dict[str, Any]:
    """What the table predicts against measured milliseconds (N,), as plain data.

    Rank correlations with bootstrap intervals; the one of MACs alone is what a table has to beat. `mape` is the mean
    absolute error in percent of what was measured. `scale` is the median of measured over predicted: the table does not
    use it, and `mape_scaled` is what would remain if it did.
    """
    genotypes = np.array([network.choices for network in networks])
    predicted = table.sum(genotypes)
    macs = table.space.costs(genotypes, table.facts["image_size"])[0]
    scale = float(np.median(measured / predicted))
    errors = [100 * np.abs(factor * predicted / measured - 1) for factor in (1.0, scale)]
    rows = zip(map(str, networks), macs.tolist(), predicted.round(4).tolist(), measured.round(4).tolist(), strict=True)
    return {
        "networks": len(networks),
        "rounds": rounds,
        "spearman": asdict(bootstrap(spearman, predicted, measured, RESAMPLES, 0)),
        "spearman_of_macs": asdict(bootstrap(spearman, macs, measured, RESAMPLES, 0)),
        "mape": float(errors[0].mean()),
        "scale": scale,
        "mape_scaled": float(errors[1].mean()),
        "measured": [dict(zip(("genotype", "macs", "predicted", "measured"), row, strict=True)) for row in rows],
    }
