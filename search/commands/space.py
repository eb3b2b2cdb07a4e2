"""Show a search space: its layers and choices, its size, the networks at its ends, and whether limits can be met.

Median, percentiles and shares are those of random networks, drawn uniformly. Exits with 2 if no network meets the
limits.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scarlet_models.errors import UserError
from scarlet_models.files import write_text
from scarlet_models.options import JsonOptions, option
from scarlet_models.search.evolution.options import CostLimits
from scarlet_models.terminal import console, output, short, table

EXAMPLE = """  scarlet-search space
  scarlet-search space scarlet --max-macs 300M --min-params 5M
  scarlet-search space own.yaml --input-size 96 --json
  scarlet-search space efficientnet_b0 --add-choices ir_k7_e6,identity --out own.yaml"""


@dataclass
class Options(CostLimits, JsonOptions):
    """Options of space.

    Args:
        space: Name of a space that ships, a YAML file, or a network of timm's EfficientNet family: its blocks are then
            the choices.
        add_choices: Further choices beside such a network's, separated by commas.
        out: YAML file to write the space to.
        input_size: Side of the images in pixels; 0 for the space's own.
        num_classes: Outputs of the classifier; 0 for the space's own.
        draws: Random networks to draw for median and percentiles.
        seed: Seed of these draws.
    """

    space: str = option("scarlet", positional=True)
    add_choices: str = ""
    out: str = option("", free=True)
    input_size: int = option(0, least=0)
    num_classes: int = option(0, least=0)
    draws: int = option(100000, least=1)
    seed: int = option(0, least=0, most=2**63 - 1)


def main(options: Options) -> None:
    from scarlet_models.search.evolution.objectives import read_limits
    from scarlet_models.space.space import SearchSpace
    from scarlet_models.space.survey import survey

    limits, named = read_limits(options), dict[str, Any]()
    if options.add_choices or not (options.space in SearchSpace.names() or Path(options.space).is_file()):
        from scarlet_models.from_timm import load_space  # imports torch

        space, network = load_space(options.space, options.add_choices)
        named |= {options.space: network} if network else {}
    else:
        space = SearchSpace.load(options.space)
    if options.out:
        write_text(Path(options.out), space.to_yaml())
    facts = survey(space, limits, named, options.input_size, options.num_classes, options.draws, options.seed)
    output({**facts, "seed": options.seed}, options.json, _show)
    if facts["limits"] and not facts["limits"]["met"]:
        raise UserError(facts["limits"]["why"])


def _show(facts: dict[str, Any]) -> None:
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
    limits = facts["limits"] or {}
    for row in facts["networks"] + ([limits["example"]] if limits.get("met") else []):
        macs, params = f"{row['macs']:,}", f"{row['params']:,}"
        percentiles = (f"{row['macs_percentile']:.1f}", f"{row['params_percentile']:.1f}")
        networks.add_row(row["network"], macs, percentiles[0], params, percentiles[1], row["genotype"])
    out.print(networks)
    if limits.get("met"):
        share = f"{100 * limits['share_of_draws']:.4g}% of the draws meet them"
        out.print(f"\nlimits    {limits['limits']}: can be met, as by the example; {share}")


def _long(number: int) -> str:
    return f"{number:,}" if math.log10(number) < 9 else f"{number:.3e}"
