"""A network layer by layer: the choices of its genotype, shapes, exact MACs and params, and feature taps.

MACs are those of convolutions and linear layers for one image. They are counted three ways, which agree: from the
genotype without building the model, by torch's flop counter, and by thop.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from scarlet_models.errors import UserError
from scarlet_models.options import option

EXAMPLE = """  scarlet-models info scarlet_a
  scarlet-models info scarlet_a4 --input-size 224 --json
  scarlet-models info 0,1,2,3,0 --space mini
  scarlet-models info local-dir:runs/a/exported/a"""


@dataclass
class Options:
    """Options of info.

    Args:
        model: A name from `scarlet-models list`, a genotype such as 2,4,1,..., or local-dir:FOLDER.
        space: Search space of a genotype: a name or a YAML file.
        input_size: Side of the images in pixels; 0 for the network's own.
        json: Print one JSON object.
    """

    model: str = option(positional=True)
    space: str = "scarlet"
    input_size: int = option(0, least=0)
    json: bool = option(False, once=True)


def main(options: Options) -> None:
    """Print what is known about a network."""
    facts = describe(options.model, options.space, options.input_size)
    if options.json:
        print(json.dumps(facts, indent=2))
    else:
        _show(facts)


def describe(name: str, space: str = "scarlet", input_size: int = 0) -> dict[str, Any]:
    """Everything `info` says, as plain data. Counts that are not known are None."""
    from scarlet_models.inspection.counting import count, count_with_thop
    from scarlet_models.inspection.layout import feature_taps, layout
    from scarlet_models.networks import create_on_meta, genotype_of, image_size

    if input_size < 0:
        raise UserError(f"--input-size: {input_size} is not a size in pixels")
    genotype = genotype_of(name, space)
    model: Any = create_on_meta(name, space)
    size = input_size or image_size(model)
    return {
        "model": name,
        "genotype": str(genotype) if genotype else None,
        "space": genotype.space.name if genotype else None,
        "input_size": size,
        "num_classes": model.num_classes,
        "blocks": [asdict(block) for block in layout(model, size, genotype)],
        "cost": {
            "genotype": asdict(genotype.cost(size, model.num_classes)) if genotype else None,
            "torch": asdict(count(model, size)),
            "thop": asdict(count_with_thop(model, size)),
        },
        "feature_taps": feature_taps(model),
    }


def _show(facts: dict[str, Any]) -> None:
    from scarlet_models.terminal import console, table

    out = console()
    out.print(f"[bold]{facts['model']}[/]  {facts['input_size']} px, {facts['num_classes']} classes")
    if facts["genotype"]:
        out.print(f"genotype  {facts['genotype']}  (space {facts['space']})")
    out.print()
    where = (">layer", ">choice") if facts["genotype"] else ()
    blocks = table(*where, "block", ">stride", ">channels", ">size", ">MACs", ">params", "module")
    for block in facts["blocks"]:
        place = ["" if block[key[1:]] is None else str(block[key[1:]]) for key in where]
        channels, sizes = f"{block['in_channels']} → {block['channels']}", f"{block['in_size']} → {block['size']}"
        cost = (f"{block['macs']:,}", f"{block['params']:,}")
        blocks.add_row(*place, _title(block), str(block["stride"]), channels, sizes, *cost, block["module"])
    out.print(blocks)
    out.print()
    costs = table("counted", ">MACs", ">params")
    for counter, label in (("genotype", "from the genotype"), ("torch", "by torch"), ("thop", "by thop")):
        if cost := facts["cost"][counter]:
            costs.add_row(label, f"{cost['macs']:,}", f"{cost['params']:,}")
    out.print(costs)
    out.print()
    taps = table(">reduction", ">channels", "module")
    for tap in facts["feature_taps"]:
        taps.add_row(str(tap["reduction"]), str(tap["channels"]), tap["module"])
    out.print("feature taps, for features_only=True")
    out.print(taps)


def _title(block: dict[str, Any]) -> str:
    if block["kind"] == "inverted residual":
        return f"e{block['expand']:g} k{block['kernel']}" + (" SE" if block["se"] else "")
    if block["kind"] in ("identity", "classifier"):
        return str(block["kind"])
    return f"{block['kind']} k{block['kernel']}"
