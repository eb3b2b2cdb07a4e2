"""Show a network layer by layer: the choices of its genotype, shapes, exact MACs and params, and feature taps.

MACs are those of convolutions and linear layers for one image. Three counters must agree: the genotype's own sum, which
builds no model, torch's flop counter, and thop.
"""

from dataclasses import dataclass
from typing import Any

from scarlet_models.options import JsonOptions, NetworkOptions
from scarlet_models.terminal import console, output, table

EXAMPLE = """  scarlet-models info scarlet_a
  scarlet-models info scarlet_a4 --input-size 224 --json
  scarlet-models info 0,1,2,3,0 --space mini
  scarlet-models info local-dir:runs/a/exported/a"""


@dataclass
class Options(NetworkOptions, JsonOptions):
    """Options of info."""


def main(options: Options) -> None:
    from scarlet_models.inspection.layout import describe

    output(describe(options.model, options.space, options.input_size), options.json, _show)


def _show(facts: dict[str, Any]) -> None:
    out = console()
    out.print(f"[bold]{facts['model']}[/]  {facts['input_size']} px, {facts['num_classes']} classes")
    if facts["genotype"]:
        out.print(f"genotype  {facts['genotype']}  (space {facts['space']})")
    out.print()
    where = (">layer", ">choice") if facts["genotype"] else ()
    blocks = table(*where, "block", ">stride", ">channels", ">size", ">MACs", ">params", "module")
    for block in facts["blocks"]:
        numbers = ["" if block[key[1:]] is None else str(block[key[1:]]) for key in where]
        channels, sizes = f"{block['in_channels']} → {block['channels']}", f"{block['in_size']} → {block['size']}"
        cost = (f"{block['macs']:,}", f"{block['params']:,}")
        blocks.add_row(*numbers, _title(block), str(block["stride"]), channels, sizes, *cost, block["module"])
    out.print(blocks)
    out.print()
    labels = {"genotype": "from the genotype", "torch": "by torch", "thop": "by thop"}
    costs = {labels[counter]: cost for counter, cost in facts["cost"].items() if cost}
    rows = [(label, f"{cost['macs']:,}", f"{cost['params']:,}") for label, cost in costs.items()]
    out.print(table("counted", ">MACs", ">params", rows=rows))
    out.print("\nfeature taps (features_only=True)")
    taps = [(str(tap["reduction"]), str(tap["channels"]), tap["module"]) for tap in facts["feature_taps"]]
    out.print(table(">reduction", ">channels", "module", rows=taps))


def _title(block: dict[str, Any]) -> str:
    if block["kind"] == "inverted residual":
        return f"e{block['expand']:g} k{block['kernel']}" + (" SE" if block["se"] else "")
    if block["kind"] in ("identity", "classifier"):
        return str(block["kind"])
    return f"{block['kind']} k{block['kernel']}"
