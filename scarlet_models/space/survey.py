"""What a search space holds: its layers, its size, the networks at its ends, and whether limits on cost can be met."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from scarlet_models.errors import UserError

from .released import GENOTYPES
from .sampling import Limits, sample_within
from .space import Genotype, SearchSpace


class Survey:
    """A space with the costs of random networks, and of `named` ones; a size or classes of 0 are the space's own."""

    def __init__(
        self,
        space: SearchSpace,
        input_size: int = 0,
        num_classes: int = 0,
        draws: int = 100_000,
        seed: int = 0,
        named: Mapping[str, Genotype] | None = None,
    ) -> None:
        self.space, self.named = space, dict(named or {})
        self.input_size, self.num_classes = input_size or space.input_size, num_classes or space.num_classes
        self.table = space.cost_table(self.input_size, self.num_classes)
        self.rng = np.random.default_rng(seed)
        self.drawn = space.sample_array(self.rng, draws)
        self.macs, self.params = self.table.sum(self.drawn)

    def report(self, limits: Limits) -> dict[str, Any]:
        """The whole survey as plain data; "limits" is None if there are none to check."""
        space = self.space
        return {
            "space": space.name,
            "input_size": self.input_size,
            "num_classes": self.num_classes,
            "layers": self.layers(),
            "choices": [str(choice) for choice in space.choices],
            "size": {"genotypes": space.size, "as_powers": as_powers(space), "distinct_networks": space.distinct},
            "draws": len(self.drawn),
            "networks": self.networks(),
            "limits": self.check(limits) if limits != Limits() else None,
        }

    def layers(self) -> list[dict[str, Any]]:
        """Shape, choices and range of cost of each layer."""
        rows = []
        for layer, size in zip(self.space.layers, self.space.map_sizes(self.input_size)[1:], strict=True):
            allowed = list(layer.choices)
            macs, params = (t[layer.index, allowed] for t in (self.table.macs, self.table.params))
            ranges = {"macs": [int(macs.min()), int(macs.max())], "params": [int(params.min()), int(params.max())]}
            rows.append({**asdict(layer), "choices": allowed, "size": size, **ranges})
        return rows

    def networks(self) -> list[dict[str, Any]]:
        """The smallest, median and largest network by MACs, and the released ones if the space is theirs."""
        macs = self.table.macs
        middle = np.argsort(self.macs, kind="stable")[len(self.macs) // 2]
        rows: dict[str, Iterable[int]] = {
            "smallest": np.where(macs < 0, macs.max() + 1, macs).argmin(1).tolist(),
            "median": self.drawn[middle].tolist(),
            "largest": macs.argmax(1).tolist(),
        }
        if self.space == SearchSpace.load("scarlet"):
            rows |= {name: Genotype.parse(text).choices for name, text in GENOTYPES.items()}
        rows |= self.named
        return [self._network(name, self.space.validate(choices)) for name, choices in rows.items()]

    def check(self, limits: Limits) -> dict[str, Any]:
        """Whether the limits can be met, by which network, and by what share of the random ones."""
        share = float((limits.excess(np.stack([self.macs, self.params], axis=1)) == 0).mean())
        answer = {"limits": str(limits), "share_of_draws": share}
        try:
            found = self.space.validate(sample_within(self.space, self.rng, limits, self.table))
        except UserError as error:
            return {**answer, "met": False, "why": str(error)}
        return {**answer, "met": True, "example": self._network("example", found)}

    def _network(self, name: str, genotype: Genotype) -> dict[str, Any]:
        (macs,), (params,) = self.table.sum(np.array([genotype.choices]))
        return {
            "network": name,
            "genotype": str(genotype),
            "macs": int(macs),
            "macs_percentile": round(100 * float((self.macs <= macs).mean()), 2),
            "params": int(params),
            "params_percentile": round(100 * float((self.params <= params).mean()), 2),
        }


def as_powers(space: SearchSpace) -> str:
    """The size of a space as a product of powers, such as 12^6 * 13^13."""
    counts = Counter(len(layer.choices) for layer in space.layers)
    return " * ".join(f"{base}^{exponent}" for base, exponent in sorted(counts.items()))
