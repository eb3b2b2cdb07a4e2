"""Figures of rankings and similarities, drawn by matplotlib."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib import colormaps, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scarlet_models.files import write_atomically
from scarlet_models.space.space import SearchSpace


def save(figure: Figure, path: Path) -> None:
    """Write the figure as a PNG file, whole or not at all."""
    write_atomically(path, partial(figure.savefig, format="png", dpi=150))


def new_axes(title: str = "", x: str = "", y: str = "", size: tuple[float, float] | None = None) -> tuple[Figure, Axes]:
    """A figure of `size` inches with one plot on a faint grid."""
    figure = Figure(size, layout="constrained")
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    return figure, axes


def draw_ranking(predicted: np.ndarray, known: np.ndarray, blocks: np.ndarray, batch_norm: str, title: str) -> Figure:
    """Scatter plot of the supernet's scores against known accuracies, both (N,) in percent, coloured by depth."""
    figure, axes = new_axes(x=f"top-1 of the path, {batch_norm} batch norm (%)", y="known accuracy (%)")
    depths = np.unique(blocks)
    for depth, color in zip(depths, colormaps[rcParams["image.cmap"]](np.linspace(0, 0.95, len(depths))), strict=True):
        group, label = blocks == depth, f"{depth:.0f}"
        axes.scatter(predicted[group], known[group], s=14, color=color, alpha=0.8, linewidths=0, label=label)
    axes.set_title(title, fontsize=11)
    axes.legend(title="blocks", fontsize=8, title_fontsize=8, loc="best", markerscale=1.5)
    return figure


def draw_similarity(labels: Sequence[str], tables: Mapping[str, np.ndarray], title: str) -> Figure:
    """Heat maps of one layer's similarities (choices, choices) by supernet, on one colour scale."""
    side = 1.6 + 0.36 * len(labels)
    figure = Figure(figsize=(side * len(tables) + 1, side + 0.4), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(tables)))
    low = min(0.0, *(float(table.min()) for table in tables.values()))
    for axes, (name, table) in zip(panels, tables.items(), strict=True):
        image = axes.imshow(table, vmin=low, vmax=1, cmap="viridis")
        axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=8)
        axes.set_yticks(range(len(labels)), labels, fontsize=8)
        axes.set_title(name, fontsize=10)
        for (row, column), value in np.ndenumerate(table):
            color = "black" if value > low + 0.6 * (1 - low) else "white"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=6, color=color)
    figure.colorbar(image, ax=list(panels), label="cosine similarity", shrink=0.8)
    figure.suptitle(title, fontsize=11)
    return figure


def draw_similarity_by_layer(space: SearchSpace, lines: Mapping[str, Mapping[str, Sequence[float | None]]]) -> Figure:
    """Mean similarities layer by layer; `lines` has each layer's value, or None, by supernet and label."""
    figure, axes = new_axes(x="layer", y="mean cosine similarity", size=(7, 4))
    for color, (name, values) in zip(("tab:red", "tab:blue"), lines.items(), strict=False):
        for style, (label, means) in zip(("o-", "x--"), values.items(), strict=True):
            points = [(layer, mean) for layer, mean in enumerate(means) if mean is not None]
            if points:
                axes.plot(*zip(*points, strict=True), style, color=color, label=f"{name}: {label}")
    axes.set_xticks(range(len(space.layers)))
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    return figure
