"""List the networks of this package: every model and tag, its cost, and where its weights are.

Costs are for the tag's own image size and number of classes. A genotype of a search space needs no name: use
`scarlet-models info 2,4,1,...`.
"""

from typing import Any

from scarlet_models.options import JsonOptions as Options
from scarlet_models.terminal import console, output, short, table

EXAMPLE = """  scarlet-models list
  scarlet-models list --json"""


def main(options: Options) -> None:
    from scarlet_models.inspection.layout import summarise_released

    output(summarise_released(), options.json, _show)


def _show(rows: list[dict[str, Any]]) -> None:
    shown = table("model", ">px", ">classes", ">params", ">MACs", "weights")
    for row in rows:
        cost = (short(row["params"]), short(row["macs"]))
        shown.add_row(row["model"], str(row["input_size"]), str(row["num_classes"]), *cost, row["weights"] or "-")
    console().print(shown)
