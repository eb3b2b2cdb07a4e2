"""How similar the outputs of a layer's choices are: cosine similarity, drawn as the heat map of SCARLET-NAS's Figure 1.

The choices of a layer get the same input: the output of the layer before it on random paths (the seed fixes them). The
outputs of two choices for one image are compared as flattened maps; each pair's similarity is the mean over images and
paths. Two supernets, such as one with and one without stabilizers, see the same images and paths and are drawn side by
side. Writes similarity.csv (all layers), similarity.png (one layer) and similarity_layers.png (means of all layers).
"""

from pathlib import Path
from typing import Any

from scarlet_models.search.scoring.options import SimilarityOptions as Options
from scarlet_models.terminal import console, output, table

EXAMPLE = """  scarlet-search similarity runs/macro --data-dir cifar10
  scarlet-search similarity runs/macro runs/plain_skip --data-dir cifar10 --layer 3 --out figures"""


def main(options: Options) -> None:
    from scarlet_models.search.scoring.heldout import folder_of
    from scarlet_models.search.scoring.similarity import compare_choices, write_similarities

    space, tables = compare_choices(options)
    out = Path(options.out) if options.out else folder_of(options.supernets[0])
    output(write_similarities(out, space, tables, options.layer), options.json, show)
    if not options.json:
        print(f"\nwritten to {out}/similarity.csv, similarity.png and similarity_layers.png")


def show(summary: dict[str, list[dict[str, Any]]]) -> None:
    columns = [f">{name}: {what}" for name in summary for what in ("identity to blocks", "between blocks")]
    shown = table(">layer", *columns)
    for rows in zip(*summary.values(), strict=True):
        values = [row[key] for row in rows for key in ("identity_to_blocks", "between_blocks")]
        shown.add_row(str(rows[0]["layer"]), *("-" if value is None else f"{value:.3f}" for value in values))
    console().print(shown)
