"""The networks of this package: every model and tag, its cost, and whether its weights are here.

Cost is that of the tag's own image size and number of classes. Genotypes of a search space need no name:
`scarlet-models info 2,4,1,...`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from scarlet_models.options import option

EXAMPLE = """  scarlet-models list
  scarlet-models list --json"""


@dataclass
class Options:
    """Options of list.

    Args:
        json: Print one JSON list.
    """

    json: bool = option(False, once=True)


def main(options: Options) -> None:
    """Print a table of models and tags."""
    from scarlet_models.terminal import console, short, table

    rows = models()
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    shown = table("model", ">px", ">classes", ">params", ">MACs", "weights")
    for row in rows:
        cost = (short(row["params"]), short(row["macs"]))
        shown.add_row(row["model"], str(row["input_size"]), str(row["num_classes"]), *cost, row["weights"] or "-")
    console().print(shown)


def models() -> list[dict[str, Any]]:
    """Every model and tag: its cost, and the file of its weights (None where there is none here)."""
    import timm
    from timm.models import get_pretrained_cfg

    from scarlet_models.inspection.counting import count
    from scarlet_models.networks import create_on_meta, genotype_of
    from scarlet_models.weights.store import find

    rows = []
    for name in timm.list_models("scarlet_*", include_tags=True, exclude_filters="scarlet_net*"):
        cfg: Any = get_pretrained_cfg(name)
        architecture, _, tag = name.partition(".")
        size, genotype = cfg.input_size[-1], genotype_of(name)
        weights = find(architecture, tag) if tag else None
        cost = genotype.cost(size, cfg.num_classes) if genotype else count(create_on_meta(name), size)
        rows.append(
            {
                "model": name,
                "input_size": size,
                "num_classes": cfg.num_classes,
                "params": cost.params,
                "macs": cost.macs,
                "weights": str(weights) if weights else None,
            }
        )
    return rows
