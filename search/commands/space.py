"""A search space: its layers and choices, its size, the networks at its ends, and whether limits on cost can be met.

Median, percentiles and shares are those of random networks, drawn uniformly from the seed.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scarlet_models.search.evolution.limits import read_limits
from scarlet_models.search.evolution.options import CostLimits

from scarlet_models.errors import UserError
from scarlet_models.options import option
from scarlet_models.space.sampling import Limits, sample_within
from scarlet_models.space.space import Genotype, SearchSpace

EXAMPLE = """  scarlet-search space
  scarlet-search space scarlet --max-macs 300M --min-params 5M
  scarlet-search space own.yaml --input-size 96 --json"""


@dataclass
class Options(CostLimits):
    """Options of space.

    Args:
        space: Name of a space that comes with the package, or a YAML file of your own.
        input_size: Side of the images in pixels; 0 for the space's own.
        num_classes: Outputs of the classifier; 0 for the space's own.
        draws: Random networks to draw for median and percentiles.
        seed: Of these draws.
        json: Print one JSON object.
    """

    space: str = option("scarlet", positional=True)
    input_size: int = option(0, least=0)
    num_classes: int = option(0, least=0)
    draws: int = option(100000, least=1)
    seed: int = option(0, least=0, most=2**63 - 1)
    json: bool = option(False, once=True)


def main(options: Options) -> None:
    """Print what is known about a space."""
    facts = describe(options)
    if options.json:
        print(json.dumps(facts, indent=2))
    else:
        _show(facts)


def describe(options: Options) -> dict[str, Any]:
    """Everything that the command says, as plain data.

    Raises:
        UserError: no such space, or a bad option.
    """
    space, limits = SearchSpace.load(options.space), read_limits(options)
    survey = _Survey(space, options)
    return {
        "space": space.name,
        "input_size": options.input_size or space.input_size,
        "num_classes": options.num_classes or space.num_classes,
        "layers": survey.layers(),
        "choices": [str(choice) for choice in space.choices],
        "size": {"genotypes": space.size, "as_powers": as_powers(space), "distinct_networks": space.distinct},
        "draws": options.draws,
        "seed": options.seed,
        "networks": survey.networks(),
        "limits": survey.answer(limits) if limits != Limits() else None,
    }


def as_powers(space: SearchSpace) -> str:
    """The size of a space as a product of powers, such as 12^6 * 13^13."""
    counts = Counter(len(layer.choices) for layer in space.layers)
    return " * ".join(f"{base}^{exponent}" for base, exponent in sorted(counts.items()))


class _Survey:
    """A space's cost table, and the costs of networks drawn from it at random."""

    def __init__(self, space: SearchSpace, options: Options) -> None:
        self.space, self.options = space, options
        self.table = space.cost_table(options.input_size or None, options.num_classes or None)
        self.rng = np.random.default_rng(options.seed)
        self.drawn = space.sample_array(self.rng, options.draws)
        self.macs, self.params = self.table.sum(self.drawn)

    def layers(self) -> list[dict[str, Any]]:
        """Shape, choices and range of cost of each layer."""
        sizes = self.space.map_sizes(self.options.input_size or self.space.input_size)[1:]
        rows = []
        for layer, size in zip(self.space.layers, sizes, strict=True):
            allowed = list(layer.choices)
            macs, params = (t[layer.index, allowed] for t in (self.table.macs, self.table.params))
            ranges = {"macs": [int(macs.min()), int(macs.max())], "params": [int(params.min()), int(params.max())]}
            rows.append({**asdict(layer), "choices": allowed, "size": size, **ranges})
        return rows

    def networks(self) -> list[dict[str, Any]]:
        """The smallest, median and largest network by MACs, and the released ones where the space is theirs."""
        macs = self.table.macs
        middle = np.argsort(self.macs, kind="stable")[len(self.macs) // 2]
        rows = {
            "smallest": np.where(macs < 0, macs.max() + 1, macs).argmin(1).tolist(),
            "median": self.drawn[middle].tolist(),
            "largest": macs.argmax(1).tolist(),
        }
        if self.space == SearchSpace.load("scarlet"):
            from scarlet_models.models import GENOTYPES

            rows |= {name: Genotype.parse(text).choices for name, text in GENOTYPES.items()}
        return [self._network(name, self.space.validate(choices)) for name, choices in rows.items()]

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

    def answer(self, limits: Limits) -> dict[str, Any]:
        """Whether the limits can be met, by which network, and by what share of random ones."""
        share = float((limits.excess(np.stack([self.macs, self.params], axis=1)) == 0).mean())
        answer = {"limits": str(limits), "share_of_draws": share}
        try:
            found = self.space.validate(sample_within(self.space, self.rng, limits, self.table))
        except UserError as error:
            return {**answer, "met": False, "why": str(error)}
        return {**answer, "met": True, "example": self._network("example", found)}


def _show(facts: dict[str, Any]) -> None:
    from scarlet_models.terminal import console, short, table

    out = console()
    out.print(f"[bold]{facts['space']}[/]  {facts['input_size']} px, {facts['num_classes']} classes\n")
    layers = table(">layer", ">stage", ">stride", ">channels", ">size", ">choices", ">MACs", ">params")
    for row in facts["layers"]:
        ranges = [f"{short(row[key][0])} - {short(row[key][1])}" for key in ("macs", "params")]
        channels = f"{row['in_channels']} → {row['out_channels']}"
        place = (str(row["index"]), str(row["stage"]), str(row["stride"]), channels, str(row["size"]))
        layers.add_row(*place, str(len(row["choices"])), *ranges)
    out.print(layers)
    out.print("\n" + "  ".join(f"[bold]{index}[/] {choice}" for index, choice in enumerate(facts["choices"])))
    size = facts["size"]
    out.print(f"\nsize      {size['as_powers']} = {_long(size['genotypes'])} genotypes")
    out.print(f"          {_long(size['distinct_networks'])} distinct networks: orders of identity in a stage are one")
    out.print(f"draws     {facts['draws']:,} random networks, seed {facts['seed']}\n")
    networks = table("network", ">MACs", ">percentile", ">params", ">percentile", "genotype")
    example = [facts["limits"]["example"]] if facts["limits"] and facts["limits"]["met"] else []
    for row in facts["networks"] + example:
        macs, params = f"{row['macs']:,}", f"{row['params']:,}"
        percentiles = (f"{row['macs_percentile']:.1f}", f"{row['params_percentile']:.1f}")
        networks.add_row(row["network"], macs, percentiles[0], params, percentiles[1], row["genotype"])
    out.print(networks)
    if limits := facts["limits"]:
        share = f"{100 * limits['share_of_draws']:.4g}% of the draws meet them"
        verdict = f"can be met, as by the example; {share}" if limits["met"] else limits["why"]
        out.print(f"\nlimits    {limits['limits']}: {verdict}")


def _long(number: int) -> str:
    return f"{number:,}" if math.log10(number) < 9 else f"{number:.3e}"
