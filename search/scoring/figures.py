"""Figures of rankings and similarities."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from scarlet_models.inspection.plotting import annotate_cells, new_axes, ramp, theme, themed


@themed
def draw_ranking(predicted: np.ndarray, known: np.ndarray, blocks: np.ndarray, batch_norm: str, title: str) -> Figure:
    """Scatter plot of the supernet's scores against known accuracies, both (N,) in percent, coloured by depth."""
    figure, axes = new_axes(title, f"top-1 of the path, {batch_norm} batch norm (%)", "known accuracy (%)")
    depths = np.unique(blocks)
    for depth, colour in zip(depths, ramp(len(depths)), strict=True):
        group = blocks == depth
        axes.scatter(predicted[group], known[group], s=14, color=colour, linewidths=0, label=f"{depth:.0f}")
    axes.legend(title="blocks", markerscale=1.5)
    return figure


@themed
def draw_similarity(labels: Sequence[str], tables: Mapping[str, np.ndarray], title: str) -> Figure:
    """Heat maps of one layer's similarities (choices, choices) by supernet, on one colour scale."""
    side = 1.6 + 0.36 * len(labels)
    figure = Figure(figsize=(side * len(tables) + 1, side + 0.4))
    panels = np.atleast_1d(figure.subplots(1, len(tables)))
    low = min(0.0, *(float(table.min()) for table in tables.values()))
    for axes, (name, table) in zip(panels, tables.items(), strict=True):
        image = axes.imshow(table, vmin=low, vmax=1)
        axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=8)
        axes.set_yticks(range(len(labels)), labels, fontsize=8)
        axes.set_title(name)
        annotate_cells(axes, image, ".2f", size=6)
    figure.colorbar(image, ax=list(panels), label="cosine similarity", shrink=0.8)
    figure.suptitle(title, fontsize=11)
    return figure


@themed
def draw_similarity_by_layer(summary: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Mean similarities layer by layer, from what `similarity.summarize` says of each, by supernet."""
    figure, axes = new_axes(x="layer", y="mean cosine similarity", size=(7, 4))
    lines = (("o-", "identity to blocks", "identity_to_blocks"), ("x--", "blocks", "between_blocks"))
    for (name, layers), colour in zip(summary.items(), theme().colours, strict=False):
        for style, label, key in lines:
            means = np.array([layer[key] for layer in layers], float)
            axes.plot(means, style, color=colour, label=f"{name}: {label}")
        axes.set_xticks(range(len(layers)))
    figure.legend(loc="outside lower center", ncols=2)
    return figure
