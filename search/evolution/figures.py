"""Figures of a search: fronts, and the hypervolume's growth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scarlet_models.inspection.plotting import new_axes, ramp, theme, themed

Record = Mapping[str, Any]  # a network as plain data: `ScoredNetwork.record`

COSTS = {"macs": ("MACs (millions)", 1e6), "latency": ("latency (ms)", 1.0)}
STYLES = ("-", "--", "-.", ":")  # of the search and of what it is compared with
GROUPS = 4  # of generations, by colour


@dataclass(frozen=True)
class Mark:
    """A released network to mark by the last letter of its name; a line at its MACs if its score is not known."""

    name: str
    macs: int
    accuracy: float | None = None


@themed
def draw_fronts(
    generations: Mapping[int, Sequence[Record]],
    fronts: Mapping[str, Sequence[Record]],
    marks: Sequence[Mark] = (),
    cost: str = "macs",
    picked: Record | None = None,
    images: int = 0,
) -> Figure:
    """Accuracy against a cost: networks by generation, fronts as steps (the first is the search's), the picked ringed.

    Released networks are marked if the cost is MACs. With the number of images that scored the networks, the search's
    front has bars: 95% intervals of the share that is right.
    """
    (title, unit), colours = COSTS[cost], (theme().ink, *theme().colours)
    figure, axes = new_axes(x=title, y="top-1 by the search's scores (%)", size=(5.0, 5.2))
    for number, ((label, front), colour) in enumerate(zip(fronts.items(), colours, strict=False)):
        x, y = _steps(front, cost, unit)
        axes.step(
            x, y, where="post", color=colour, ls=STYLES[number], marker=".", lw=1.5, label=label, zorder=4 - number / 9
        )
        if images and not number:
            reach = 1.96 * np.sqrt(np.array(y) * (100 - np.array(y)) / images)
            axes.errorbar(x, y, reach, fmt="none", color=colour, elinewidth=0.8, capsize=2, alpha=0.5)
    groups = [group for group in np.array_split(list(generations), GROUPS) if len(group)]
    for group, colour in zip(groups, ramp(len(groups)), strict=True):
        records = [record for number in group for record in generations[int(number)]]
        label = f"generations {group[0]} to {group[-1]}" if len(group) > 1 else f"generation {group[0]}"
        x, y = ([record[key] for record in records] for key in (cost, "accuracy"))
        axes.scatter(np.array(x) / unit, y, s=14, color=colour, linewidths=0, label=label, zorder=2)
    if picked and cost in picked and "accuracy" in picked:
        ring: dict[str, Any] = {"ms": 13, "mfc": "none", "mew": 1.8, "color": theme().ink, "zorder": 6}
        axes.plot([picked[cost] / unit], [picked["accuracy"]], "o", ls="", label="picked", **ring)
    if cost == "macs":
        _draw_marks(axes, marks)
    axes.margins(x=0.05, y=0.1)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@themed
def draw_hypervolume(curves: Mapping[str, Sequence[Sequence[float]]]) -> Figure:
    """Hypervolume by the number of networks scored: a line of such pairs by label, the search's first."""
    colours = (theme().ink, *theme().colours)
    figure, axes = new_axes(x="networks scored", y="hypervolume of the front", size=(5.0, 5.2))
    for (label, curve), colour, style in zip(curves.items(), colours, STYLES, strict=False):
        if len(curve):
            axes.plot(*np.array(curve).T, color=colour, ls=style, marker=".", label=label)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


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
    colour = theme().colours[3]
    style: dict[str, Any] = {"color": colour, "weight": "bold", "ha": "center", "va": "bottom", "zorder": 7}
    style |= {"xytext": (0, 5), "textcoords": "offset points"}
    for mark in marks:
        x, letter = mark.macs / 1e6, mark.name[-1].upper()
        if mark.accuracy is None:
            axes.axvline(x, color=colour, lw=1, ls=":")
            axes.annotate(letter, (x, 1), xycoords=("data", "axes fraction"), **style)
        else:
            axes.plot([x], [mark.accuracy], "*", color=colour, ms=12, zorder=6)
            axes.annotate(letter, (x, mark.accuracy), **style)
