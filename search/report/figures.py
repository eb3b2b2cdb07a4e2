"""Curves and plots of a page."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from scarlet_models.inspection.plotting import TIMES, annotate_cells, new_axes, theme, themed
from scarlet_models.search.scoring.ranking import Estimate

from .runs import Table


def _present(table: Table, key: str, step: str) -> tuple[np.ndarray, np.ndarray]:
    """x and y of a column where it has a value."""
    values = table.get(key, np.empty(0))
    known = np.isfinite(values)
    return table[step][known] if known.any() else np.empty(0), values[known]


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Running mean over the last `window` values, fewer at the start."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return np.asarray((sums[ends] - sums[starts]) / (ends - starts))


@themed
def curves(table: Table, step: str, title: str, y: str, labels: Mapping[str, str]) -> Figure:
    """Columns of a training's metrics over its steps or epochs, each with its label; no legend for a single one.

    Long ones are running means. Where a column's deviation is known, it is a band or bars.
    """
    figure, axes = new_axes(title, step, y)
    for (key, label), colour in zip(labels.items(), theme().colours, strict=False):
        x, values = _present(table, key, step)
        spread, window = _present(table, f"{key}_std", step)[1], len(values) // 50
        look: dict[str, Any] = {"color": colour, "lw": 1.8, "label": label}
        if window > 1:
            mean = smooth(values, window)
            axes.plot(x, mean, **look)
            if len(spread) == len(mean):
                low, high = (mean + side * smooth(spread, window) for side in (-1, 1))
                axes.fill_between(x, low, high, color=colour, alpha=0.18, lw=0)
            else:
                axes.plot(x, values, color=colour, alpha=0.25, lw=0.8)
        elif len(values):
            bars = spread if len(spread) == len(values) else None
            axes.errorbar(x, values, bars, marker="o", ms=3.5, capsize=2, elinewidth=0.8, **look)
    if len(labels) > 1:
        axes.legend(loc="lower right")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


@themed
def choice_frequency(genotypes: np.ndarray, allowed: np.ndarray, names: Sequence[str]) -> Figure:
    """Percent of networks (N, layers) with each choice in each layer; crosses where not `allowed` (layers, choices)."""
    layers, count = allowed.shape
    share = 100 * np.array([np.bincount(column, minlength=count) for column in genotypes.T]).T / len(genotypes)
    figure, axes = new_axes(x="layer", size=(max(5.0, 2.0 + 0.42 * layers), 1.1 + 0.32 * count))
    image = axes.imshow(np.ma.masked_equal(share, 0), vmin=0, vmax=100, aspect="auto")
    axes.spines[:].set_visible(False)
    axes.set_yticks(range(count), list(names))
    axes.set_xticks(range(layers))
    axes.tick_params(length=0)
    annotate_cells(axes, image, ".0f", size=7.5)
    for choice, layer in zip(*np.nonzero(~allowed.T), strict=True):
        axes.text(layer, choice, TIMES, color=theme().muted, size=7.5, ha="center", va="center")
    figure.colorbar(image, label="% of the networks", aspect=25).outline.set_visible(False)
    return figure


@themed
def latency_check(validation: Mapping[str, Any]) -> Figure:
    """Measured latency of whole networks against the table's sums, MACs as colour."""
    rows = validation["measured"]
    predicted, measured, macs = (np.array([row[key] for row in rows]) for key in ("predicted", "measured", "macs"))
    title = f"Spearman {Estimate(**validation['spearman'])}"
    figure, axes = new_axes(title, "sum of the table (ms)", "measured (ms)")
    axes.axline((predicted.min(),) * 2, slope=1, color=theme().muted, lw=1, ls="--", label="equal")
    points = axes.scatter(predicted, measured, c=macs / 1e6, s=22, linewidths=0)
    axes.legend(loc="lower right")
    figure.colorbar(points, label="MACs (millions)").outline.set_visible(False)
    return figure
