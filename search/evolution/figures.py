"""Figures of a search, for its folder and for reports: its front against others, and the hypervolume's growth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Record = Mapping[str, Any]  # a network as plain data: `ScoredNetwork.record`

COSTS = {"macs": ("MACs (millions)", 1e6), "latency": ("latency (ms)", 1.0)}


@dataclass(frozen=True)
class Palette:
    """Colours of a figure.

    Args:
        lines: Of the search, and of what it is compared with.
        mark: Of released networks.
        ramp: Part of the colour map viridis for the generations.
    """

    lines: tuple[str, ...] = ("black", "0.55", "tab:blue", "tab:orange")
    mark: str = "tab:red"
    ramp: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class Mark:
    """A released network to mark by the last letter of its name; a line at its MACs if its score is not known."""

    name: str
    macs: int
    accuracy: float | None = None


STYLES = ("-", "--", "-.", ":")
PALETTE = Palette()


def draw_fronts(
    generations: Sequence[Sequence[Record]],
    fronts: Mapping[str, Sequence[Record]],
    marks: Sequence[Mark] = (),
    cost: str = "macs",
    palette: Palette = PALETTE,
    size: tuple[float, float] = (7.0, 5.0),
) -> Figure:
    """Accuracy against a cost: every network that the search scored, and fronts as steps.

    Args:
        generations: The networks that each generation scored; their colour is the generation.
        fronts: Fronts by label; the first is the search's.
        marks: Released networks; drawn if the cost is MACs.
        cost: "macs" or "latency".
        palette: Colours.
        size: Width and height in inches.
    """
    title, unit = COSTS[cost]
    figure, axes = _axes(size, title, "top-1 by the search's scores (%)")
    born = [number for number, records in enumerate(generations, 1) for _ in records]
    x, y = ([record[key] for records in generations for record in records] for key in (cost, "accuracy"))
    colours = ListedColormap(colormaps["viridis"](np.linspace(*palette.ramp, 256)).tolist())
    points = axes.scatter(np.array(x) / unit, y, s=12, c=born, cmap=colours, linewidths=0)
    for (label, records), colour, style in zip(fronts.items(), palette.lines, STYLES, strict=False):
        axes.step(*_steps(records, cost, unit), where="post", color=colour, ls=style, marker=".", lw=1.3, label=label)
    if cost == "macs":
        _draw_marks(axes, marks, palette.mark)
    axes.margins(x=0.05, y=0.1)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    if len(generations) > 1:
        bar = figure.colorbar(points, label="generation", ticks=MaxNLocator(integer=True, nbins=6), aspect=30)
        bar.outline.set_visible(False)
    return figure


def draw_hypervolume(
    curves: Mapping[str, Sequence[Sequence[float]]],
    palette: Palette = PALETTE,
    size: tuple[float, float] = (7.0, 5.0),
) -> Figure:
    """Hypervolume by the number of networks scored: a line of such pairs by label, the search's first."""
    figure, axes = _axes(size, "networks scored", "hypervolume of the front")
    for (label, curve), colour, style in zip(curves.items(), palette.lines, STYLES, strict=False):
        if len(curve):
            axes.plot(*np.array(curve).T, color=colour, ls=style, marker=".", label=label)
    axes.legend(fontsize=8, loc="lower right")
    return figure


def _axes(size: tuple[float, float], x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    return figure, axes


def _steps(records: Sequence[Record], cost: str, unit: float) -> tuple[list[float], list[float]]:
    """Cost and accuracy of the networks that are best in these two, in order of cost."""
    x: list[float] = []
    y: list[float] = []
    for record in sorted(records, key=lambda record: (record[cost], -record["accuracy"])):
        if not y or record["accuracy"] > y[-1]:
            x.append(record[cost] / unit)
            y.append(record["accuracy"])
    return x, y


def _draw_marks(axes: Axes, marks: Sequence[Mark], colour: str) -> None:
    for mark in marks:
        x, letter = mark.macs / 1e6, mark.name[-1].upper()
        style: dict[str, Any] = {"color": colour, "weight": "bold", "ha": "center", "va": "bottom", "zorder": 7}
        style |= {"xytext": (0, 5), "textcoords": "offset points"}
        if mark.accuracy is None:
            axes.axvline(x, color=colour, lw=1, ls=":")
            axes.annotate(letter, (x, 1), xycoords=("data", "axes fraction"), **style)
        else:
            axes.plot([x], [mark.accuracy], "*", color=colour, ms=12, zorder=6)
            axes.annotate(letter, (x, mark.accuracy), **style)
