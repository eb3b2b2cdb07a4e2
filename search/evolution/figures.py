"""Figures of a search, in the colours of matplotlib's current settings: fronts, and the hypervolume's growth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from scarlet_models.search.scoring.figures import new_axes

Record = Mapping[str, Any]  # a network as plain data: `ScoredNetwork.record`

COSTS = {"macs": ("MACs (millions)", 1e6), "latency": ("latency (ms)", 1.0)}
STYLES = (("C0", "--"), ("C1", "-."), ("C2", ":"))  # of what the search is compared with


@dataclass(frozen=True)
class Mark:
    """A released network to mark by the last letter of its name; a line at its MACs if its score is not known."""

    name: str
    macs: int
    accuracy: float | None = None


def draw_fronts(
    generations: Mapping[int, Sequence[Record]],
    fronts: Mapping[str, Sequence[Record]],
    marks: Sequence[Mark] = (),
    cost: str = "macs",
    picked: Record | None = None,
) -> Figure:
    """Accuracy against a cost: networks by generation, fronts as steps (the first is the search's), the picked ringed.

    Released networks are marked if the cost is MACs.
    """
    title, unit = COSTS[cost]
    figure, axes = new_axes(x=title, y="top-1 by the search's scores (%)")
    born = [number for number, records in generations.items() for _ in records]
    x, y = ([record[key] for records in generations.values() for record in records] for key in (cost, "accuracy"))
    points = axes.scatter(np.array(x) / unit, y, s=12, c=born, linewidths=0)
    for (label, records), (colour, style) in zip(fronts.items(), _lines(), strict=False):
        axes.step(*_steps(records, cost, unit), where="post", color=colour, ls=style, marker=".", lw=1.3, label=label)
    if picked and cost in picked and "accuracy" in picked:
        ring: dict[str, Any] = {"ms": 13, "mfc": "none", "mew": 1.8, "color": rcParams["text.color"], "zorder": 6}
        axes.plot([picked[cost] / unit], [picked["accuracy"]], "o", label="picked", **ring)
    if cost == "macs":
        _draw_marks(axes, marks)
    axes.margins(x=0.05, y=0.1)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    if len(generations) > 1:
        bar = figure.colorbar(points, label="generation", ticks=MaxNLocator(integer=True, nbins=6), aspect=30)
        bar.outline.set_visible(False)
    return figure


def draw_hypervolume(curves: Mapping[str, Sequence[Sequence[float]]]) -> Figure:
    """Hypervolume by the number of networks scored: a line of such pairs by label, the search's first."""
    figure, axes = new_axes(x="networks scored", y="hypervolume of the front")
    for (label, curve), (colour, style) in zip(curves.items(), _lines(), strict=False):
        if len(curve):
            axes.plot(*np.array(curve).T, color=colour, ls=style, marker=".", label=label)
    axes.legend(fontsize=8, loc="lower right")
    return figure


def _lines() -> list[tuple[str, str]]:
    return [(rcParams["text.color"], "-"), *STYLES]


def _steps(records: Sequence[Record], cost: str, unit: float) -> tuple[list[float], list[float]]:
    """Cost and accuracy of the networks that are best in these two, in order of cost."""
    x: list[float] = []
    y: list[float] = []
    for record in sorted(records, key=lambda record: (record[cost], -record["accuracy"])):
        if not y or record["accuracy"] > y[-1]:
            x.append(record[cost] / unit)
            y.append(record["accuracy"])
    return x, y


def _draw_marks(axes: Axes, marks: Sequence[Mark]) -> None:
    style: dict[str, Any] = {"color": "C3", "weight": "bold", "ha": "center", "va": "bottom", "zorder": 7}
    style |= {"xytext": (0, 5), "textcoords": "offset points"}
    for mark in marks:
        x, letter = mark.macs / 1e6, mark.name[-1].upper()
        if mark.accuracy is None:
            axes.axvline(x, color="C3", lw=1, ls=":")
            axes.annotate(letter, (x, 1), xycoords=("data", "axes fraction"), **style)
        else:
            axes.plot([x], [mark.accuracy], "*", color="C3", ms=12, zorder=6)
            axes.annotate(letter, (x, mark.accuracy), **style)
