"""The curves and plots of a report. Each function takes data and returns what draws them in a theme."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from scarlet_models.inspection.drawing import TIMES
from scarlet_models.search.scoring.ranking import Estimate

from .runs import Table
from .theme import LIGHT, WIDTH, Draw, Theme, colour_bar, new_axes


def _present(table: Table, key: str, step: str = "step") -> tuple[np.ndarray, np.ndarray]:
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


def supernet_loss(table: Table) -> Draw:
    """Loss of a supernet's paths over the steps of its training."""

    def draw(theme: Theme) -> Figure:
        figure, axes = new_axes()
        x, y = _present(table, "loss")
        axes.plot(x, y, color=theme.main, alpha=0.25, lw=0.8)
        axes.plot(x, smooth(y, _window(table)), color=theme.main, lw=1.8)
        axes.set(title="Loss of the paths", xlabel="step")
        return figure

    return draw


def supernet_top1(table: Table) -> Draw:
    """Top-1 of a supernet's paths over the steps of its training: means, and their deviation as bands and bars."""

    def draw(theme: Theme) -> Figure:
        figure, axes = new_axes()
        x, y = _present(table, "top1")
        mean, spread = (smooth(values, _window(table)) for values in (y, _present(table, "top1_std")[1]))
        axes.plot(x, mean, color=theme.main, lw=1.8, label="training")
        if len(spread) == len(mean):
            axes.fill_between(x, mean - spread, mean + spread, color=theme.main, alpha=0.18, lw=0)
        x, y = _present(table, "holdout_top1")
        if len(x):
            spread = _present(table, "holdout_top1_std")[1]
            style: dict[str, Any] = {"fmt": "o-", "ms": 3.5, "lw": 1.4, "capsize": 2, "elinewidth": 0.8}
            bars = spread if len(spread) == len(y) else None
            axes.errorbar(x, y, bars, color=theme.second, label="held out", **style)
        axes.set(title="Top-1 of the paths (%)", xlabel="step")
        axes.legend(loc="lower right")
        return figure

    return draw


def _window(table: Table) -> int:
    """Steps that a smooth curve is the mean of."""
    return max(len(table["step"]) // 50, 1)


def epoch_curves(table: Table, title: str, labels: Mapping[str, str]) -> Draw:
    """Columns of a training's metrics over its epochs.

    Args:
        table: metrics.csv.
        title: Title of the figure.
        labels: Up to three columns, each with its label; no legend for a single one.
    """

    def draw(theme: Theme) -> Figure:
        figure, axes = new_axes()
        for (key, label), colour in zip(labels.items(), (theme.main, theme.second, theme.third), strict=False):
            x, y = _present(table, key, "epoch")
            if len(x):
                axes.plot(x, y, ".-", color=colour, lw=1.8, label=label)
        axes.set(title=title, xlabel="epoch")
        if len(labels) > 1:
            axes.legend(loc="lower right")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return figure

    return draw


def hypervolume(table: Table, random_steps: Sequence[Sequence[float]]) -> Draw:
    """Hypervolume over the number of networks that were scored, of the search and of random search."""

    def draw(theme: Theme) -> Figure:
        figure, axes = new_axes(height=4.2)
        x, y = _present(table, "hypervolume", "evaluations")
        axes.plot(x, y, "o-", color=theme.main, lw=1.8, ms=4, label="search")
        random = np.array(random_steps, float).reshape(-1, 2)
        if not len(random):
            random = np.stack(_present(table, "random_hypervolume", "evaluations"), axis=1)
        if len(random):
            axes.plot(*random.T, "s--", color=theme.muted, lw=1.4, ms=3, label="random search")
        axes.set(xlabel="distinct networks scored", ylabel="hypervolume of the front")
        axes.legend(loc="lower right")
        return figure

    return draw


def choice_frequency(genotypes: np.ndarray, allowed: np.ndarray, names: Sequence[str]) -> Draw:
    """The share of networks (N, layers), in percent, that have each choice in each layer.

    Args:
        genotypes: The networks.
        allowed: (layers, choices), whether a layer may have the choice.
        names: Names of the choices.
    """
    layers, count = allowed.shape
    share = np.array([np.bincount(column, minlength=count) for column in genotypes.T]) / len(genotypes)
    share = np.where(allowed, 100 * share, np.nan).T

    def draw(theme: Theme) -> Figure:
        figure, axes = new_axes(max(WIDTH, 2.0 + 0.42 * layers), 1.1 + 0.32 * count)
        scale = colormaps[theme.heat].with_extremes(bad=theme.background)
        image = axes.imshow(share, cmap=scale, vmin=0, vmax=100, aspect="auto")
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.set_yticks(range(count), list(names))
        axes.set_xticks(range(layers), list(map(str, range(layers))))
        axes.tick_params(length=0)
        axes.set_xlabel("layer")
        _write_shares(axes, share, theme)
        for choice, layer in zip(*np.nonzero(~allowed.T), strict=True):
            axes.text(layer, choice, TIMES, size=8, color=theme.muted, ha="center", va="center")
        colour_bar(figure, axes, image, "% of the networks", aspect=25)
        return figure

    return draw


def _write_shares(axes: Axes, share: np.ndarray, theme: Theme) -> None:
    for choice, layer in zip(*np.nonzero(share > 0), strict=True):
        value = share[choice, layer]
        dark_text = (value < 55) == (theme is LIGHT)
        colour = "#10202e" if dark_text else "#ffffff"
        axes.text(layer, choice, f"{value:.0f}", size=7.5, color=colour, ha="center", va="center")


def ranking(table: Table, report: Mapping[str, Any]) -> Draw:
    """Known accuracy against what the supernet says, depth as colour."""

    def draw(theme: Theme) -> Figure:
        figure, axes = new_axes(height=4.2)
        depths = np.unique(table["blocks"])
        for depth, colour in zip(depths, theme.colours(len(depths)), strict=True):
            group = table["blocks"] == depth
            style = {"s": 14, "alpha": 0.8, "linewidths": 0, "color": colour}
            axes.scatter(table["predicted"][group], table["known"][group], label=f"{depth:.0f}", **style)
        axes.set(xlabel="top-1 of the supernet's path (%)", ylabel="known accuracy (%)")
        axes.set_title(f"Kendall's tau {Estimate(**report['kendall_tau'])}")
        axes.legend(title="blocks", loc="best", markerscale=1.5)
        return figure

    return draw


def latency_check(validation: Mapping[str, Any]) -> Draw:
    """Measured latency of whole networks against the table's sums, MACs as colour."""
    rows = validation["measured"]
    predicted, measured, macs = (np.array([row[key] for row in rows]) for key in ("predicted", "measured", "macs"))

    def draw(theme: Theme) -> Figure:
        figure, axes = new_axes(height=4.2)
        ends = [min(predicted.min(), measured.min()), max(predicted.max(), measured.max())]
        axes.plot(ends, ends, color=theme.muted, lw=1, ls="--", label="equal")
        points = axes.scatter(predicted, measured, c=macs / 1e6, cmap=theme.scale(), s=22, linewidths=0)
        axes.set(xlabel="sum of the table (ms)", ylabel="measured (ms)")
        axes.set_title(f"Spearman {Estimate(**validation['spearman'])}")
        axes.legend(loc="lower right")
        colour_bar(figure, axes, points, "MACs (millions)")
        return figure

    return draw
