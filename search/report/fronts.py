"""The figure of a search's fronts: accuracy against a cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .theme import Draw, Theme, colour_bar, new_axes

COSTS = {"macs": ("MACs (millions)", 1e6), "latency": ("latency (ms)", 1.0)}

Records = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Mark:
    """A released network on a plot of fronts; its accuracy may not be known."""

    name: str
    macs: int
    accuracy: float | None


@dataclass(frozen=True)
class Fronts:
    """What the figure shows.

    Args:
        generations: Fronts by the number of their generation, from 1.
        last: Records of the last front.
        random: Records of random search's front.
        marks: The released networks.
        picked: The network that was picked.
    """

    generations: Mapping[int, Records]
    last: Records
    random: Records
    marks: Sequence[Mark]
    picked: Mapping[str, Any] | None

    def draw(self, cost: str) -> Draw:
        """The figure with a cost, "macs" or "latency", as its horizontal axis."""

        def draw(theme: Theme) -> Figure:
            figure, axes = new_axes(height=4.2)
            title, unit = COSTS[cost]
            self._draw_generations(figure, axes, cost, theme)
            if self.random:
                line = _line(self.random, cost)
                style: dict[str, Any] = {"lw": 1.3, "ms": 3.5, "ds": "steps-post", "label": "random, same budget"}
                axes.plot(*line, "s--", color=theme.muted, **style)
            x, y = ([record[key] / by for record in self.last] for key, by in ((cost, unit), ("accuracy", 1.0)))
            axes.plot(x, y, "o", color=theme.second, ms=3, alpha=0.5, mew=0, zorder=4)
            style = {"lw": 1.4, "ms": 5, "ds": "steps-post", "label": "the search", "zorder": 5}
            axes.plot(*_line(self.last, cost), "o-", color=theme.second, **style)
            if self.picked and cost in self.picked and "accuracy" in self.picked:
                style = {"ms": 13, "mfc": "none", "mew": 1.8, "label": "picked", "zorder": 6}
                axes.plot([self.picked[cost] / unit], [self.picked["accuracy"]], "o", color=theme.ink, **style)
            if cost == "macs":
                _draw_marks(axes, self.marks, theme)
            axes.set(xlabel=title, ylabel="top-1 by the search's scores (%)")
            axes.margins(x=0.05, y=0.1)
            figure.legend(loc="outside lower center", ncols=3)
            return figure

        return draw

    def _draw_generations(self, figure: Figure, axes: Axes, cost: str, theme: Theme) -> None:
        """Their fronts, and what the colours mean."""
        if not self.generations:
            return
        numbers = list(self.generations)
        steps = [_steps(*_line(records, cost)) for records in self.generations.values()]
        scale = ScalarMappable(Normalize(numbers[0], max(numbers[-1], numbers[0] + 1)), theme.scale())
        lines = LineCollection(steps, colors=scale.to_rgba(numbers), alpha=0.7, linewidths=1)  # type: ignore[arg-type]
        axes.add_collection(lines)
        if len(numbers) > 1:
            bar = colour_bar(figure, axes, scale, "generation")
            bar.locator = MaxNLocator(integer=True, nbins=6)
            bar.update_ticks()


def _line(records: Records, cost: str) -> tuple[list[float], list[float]]:
    """Cost and accuracy of what no other record beats in these two, in order of cost."""
    unit = COSTS[cost][1]
    x: list[float] = []
    y: list[float] = []
    for record in sorted(records, key=lambda record: (record[cost], -record["accuracy"])):
        if not y or record["accuracy"] > y[-1]:
            x.append(record[cost] / unit)
            y.append(record["accuracy"])
    return x, y


def _steps(x: Sequence[float], y: Sequence[float]) -> list[tuple[float, float]]:
    """The corners of a line that rises at each point."""
    corners = [(x[0], y[0])] if x else []
    for i in range(1, len(x)):
        corners += [(x[i], y[i - 1]), (x[i], y[i])]
    return corners


def _draw_marks(axes: Axes, marks: Sequence[Mark], theme: Theme) -> None:
    for mark in marks:
        x, letter = mark.macs / 1e6, mark.name[-1].upper()
        if mark.accuracy is None:
            axes.axvline(x, color=theme.third, lw=1, ls=":")
            place: Any = ((x, 1), ("data", "axes fraction"))
        else:
            axes.plot([x], [mark.accuracy], "*", color=theme.third, ms=12, zorder=6)
            place = ((x, mark.accuracy), "data")
        style: dict[str, Any] = {"color": theme.third, "weight": "bold", "ha": "center", "va": "bottom", "zorder": 7}
        axes.annotate(letter, place[0], xycoords=place[1], xytext=(0, 5), textcoords="offset points", **style)
