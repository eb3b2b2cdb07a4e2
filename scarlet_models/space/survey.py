"""What a search space holds: its layers, its size, the networks at its ends, and whether limits on cost can be met."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from scarlet_models.errors import UserError

from .cost import CostTable
from .released import GENOTYPES
from .sampling import Limits, sample_within
from .space import Genotype, SearchSpace


def survey(
    space: SearchSpace,
    limits: Limits,
    named: Mapping[str, Genotype],
    input_size: int = 0,
    num_classes: int = 0,
    draws: int = 100_000,
    seed: int = 0,
) -> dict[str, Any]:
    """A space as plain data, with the costs of random networks and of `named` ones; "limits" is None without any.

    A size or classes of 0 are the space's own.
    """
    input_size, num_classes = input_size or space.input_size, num_classes or space.num_classes
    table, rng = space.cost_table(input_size, num_classes), np.random.default_rng(seed)
    drawn = space.sample_array(rng, draws)
    costs = np.stack(table.sum(drawn), axis=1)

    def network(name: str, choices: Iterable[int]) -> dict[str, Any]:
        genotype = space.validate(choices)
        row: dict[str, Any] = {"network": name, "genotype": str(genotype)}
        (cost,) = np.stack(table.sum(np.array([genotype.choices])), axis=1).tolist()
        for kind, value, others in zip(("macs", "params"), cost, costs.T, strict=True):
            row |= {kind: value, f"{kind}_percentile": round(100 * float((others <= value).mean()), 2)}
        return row

    networks: dict[str, Iterable[int]] = {  # by MACs
        "smallest": np.where(table.macs < 0, table.macs.max() + 1, table.macs).argmin(1).tolist(),
        "median": drawn[np.argsort(costs[:, 0], kind="stable")[draws // 2]].tolist(),
        "largest": table.macs.argmax(1).tolist(),
    }
    if space == SearchSpace.load("scarlet"):
        networks |= {name: Genotype.parse(text) for name, text in GENOTYPES.items()}
    counts = sorted(Counter(len(layer.choices) for layer in space.layers).items())
    sizes = {"genotypes": space.size, "as_powers": " * ".join(f"{n}^{times}" for n, times in counts)}
    checked = None
    if limits != Limits():
        checked = {"limits": str(limits), "share_of_draws": float((limits.excess(costs) == 0).mean()), "met": True}
        try:
            checked["example"] = network("example", sample_within(space, rng, limits, table))
        except UserError as error:
            checked |= {"met": False, "why": str(error)}
    return {
        "space": space.name,
        "input_size": input_size,
        "num_classes": num_classes,
        "layers": _layers(space, table, input_size),
        "choices": [str(choice) for choice in space.choices],
        "size": sizes | {"distinct_networks": space.distinct},
        "draws": draws,
        "networks": [network(name, choices) for name, choices in (networks | dict(named)).items()],
        "limits": checked,
    }


def _layers(space: SearchSpace, table: CostTable, input_size: int) -> list[dict[str, Any]]:
    """Shape, choices and range of cost of each layer."""
    rows = []
    for layer, size in zip(space.layers, space.map_sizes(input_size)[1:], strict=True):
        allowed = list(layer.choices)
        macs, params = (costs[layer.index, allowed] for costs in (table.macs, table.params))
        ranges = {"macs": [int(macs.min()), int(macs.max())], "params": [int(params.min()), int(params.max())]}
        rows.append({**asdict(layer), "choices": allowed, "size": size, **ranges})
    return rows
