"""The figures of a report, each drawn for light and for dark paper."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from scarlet_models.inspection.drawing import TIMES
from scarlet_models.search.scoring.ranking import Estimate

from .runs import Table

DPI = 150
WIDTH = 5.0  # inches: so narrow that a telephone shows the text at a legible size


@dataclass(frozen=True)
class Paper:
    """Colours that go with a background."""

    name: str
    background: str
    ink: str
    muted: str
    main: str
    second: str
    third: str
    ramp: tuple[float, float]  # the part of viridis that stands out from the background

    def settings(self) -> Any:
        """matplotlib's; its stubs list every key, so that no dictionary made here has the type."""
        inked = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.titlecolor")
        return {
            **dict.fromkeys(inked, self.ink),
            **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), self.background),
            "axes.edgecolor": self.muted,
            "grid.color": self.muted,
            "grid.alpha": 0.25,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "legend.frameon": False,
            "legend.fontsize": 8.5,
            "legend.title_fontsize": 8.5,
            "font.size": 9.5,
        }

    def colours(self, count: int) -> np.ndarray:
        """As many colours in order, from early to late."""
        return np.asarray(colormaps["viridis"](np.linspace(*self.ramp, max(count, 1))))


LIGHT = Paper("light", "#ffffff", "#1f2a35", "#75828f", "#1f6fb2", "#d9730d", "#3d9a50", (0.0, 0.9))
DARK = Paper("dark", "#161b22", "#e6edf3", "#8b98a5", "#58a6ff", "#f0a04b", "#56c271", (0.25, 1.0))

Draw = Callable[[Paper], Figure]


@dataclass(frozen=True)
class Image:
    """A figure as PNG files: on light paper, and on dark, where there is one of its own."""

    light: bytes
    dark: bytes | None = None

    @property
    def width(self) -> int:
        """In CSS pixels, 96 to an inch; a PNG's header has its own at byte 16."""
        return int.from_bytes(self.light[16:20], "big") * 96 // DPI


def render(draw: Draw) -> Image:
    """The figure as images; the same figure gives the same bytes."""
    pages = []
    for paper in (LIGHT, DARK):
        with matplotlib.rc_context(paper.settings()):
            pages.append(png(draw(paper)))
    return Image(*pages)


def png(figure: Figure) -> bytes:
    """The figure's file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
    return file.getvalue()


def _axes(width: float = WIDTH, height: float = 3.5) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


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

    def draw(paper: Paper) -> Figure:
        figure, axes = _axes()
        x, y = _present(table, "loss")
        axes.plot(x, y, color=paper.main, alpha=0.25, lw=0.8)
        axes.plot(x, smooth(y, _window(table)), color=paper.main, lw=1.8)
        axes.set(title="Loss of the paths", xlabel="step")
        return figure

    return draw


def supernet_top1(table: Table) -> Draw:
    """Top-1 of a supernet's paths over the steps of its training: means, and their deviation as bands and bars."""

    def draw(paper: Paper) -> Figure:
        figure, axes = _axes()
        x, y = _present(table, "top1")
        mean, spread = (smooth(values, _window(table)) for values in (y, _present(table, "top1_std")[1]))
        axes.plot(x, mean, color=paper.main, lw=1.8, label="training")
        if len(spread) == len(mean):
            axes.fill_between(x, mean - spread, mean + spread, color=paper.main, alpha=0.18, lw=0)
        x, y = _present(table, "holdout_top1")
        if len(x):
            spread = _present(table, "holdout_top1_std")[1]
            style: dict[str, Any] = {"fmt": "o-", "ms": 3.5, "lw": 1.4, "capsize": 2, "elinewidth": 0.8}
            bars = spread if len(spread) == len(y) else None
            axes.errorbar(x, y, bars, color=paper.second, label="held out", **style)
        axes.set(title="Top-1 of the paths (%)", xlabel="step")
        axes.legend(loc="lower right")
        return figure

    return draw


def _window(table: Table) -> int:
    """Steps that a smooth curve is the mean of."""
    return max(len(table["step"]) // 50, 1)


def retraining_loss(table: Table) -> Draw:
    """Loss of a network over the epochs of its training."""

    def draw(paper: Paper) -> Figure:
        figure, axes = _axes()
        axes.plot(*_present(table, "train_loss", "epoch"), ".-", color=paper.main, lw=1.8)
        axes.set(title="Training loss", xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return figure

    return draw


def retraining_top1(table: Table) -> Draw:
    """Top-1 of a network over the epochs of its training."""

    def draw(paper: Paper) -> Figure:
        figure, axes = _axes()
        lines = {
            "train_top1": ("training", paper.main),
            "holdout_top1": ("held out", paper.second),
            "ema_holdout_top1": ("held out, moving average", paper.third),
        }
        for key, (label, colour) in lines.items():
            x, y = _present(table, key, "epoch")
            if len(x):
                axes.plot(x, y, ".-", color=colour, lw=1.8, label=label)
        axes.set(title="Top-1 (%)", xlabel="epoch")
        axes.legend(loc="lower right")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return figure

    return draw


COSTS = {"macs": ("MACs (millions)", 1e6), "latency": ("latency (ms)", 1.0)}


@dataclass(frozen=True)
class Mark:
    """A released network on a plot of fronts; its accuracy may not be known."""

    name: str
    macs: int
    accuracy: float | None


def fronts(
    generations: Sequence[Mapping[str, Any]],
    front: Sequence[Mapping[str, Any]],
    random_front: Sequence[Mapping[str, Any]],
    marks: Sequence[Mark],
    cost: str,
) -> Draw:
    """Accuracy against a cost: fronts by generation, the last one, random search's, and the released networks."""

    def draw(paper: Paper) -> Figure:
        figure, axes = _axes(height=4.2)
        title, unit = COSTS[cost]
        for generation, colour in zip(generations, paper.colours(len(generations)), strict=True):
            axes.plot(*_line(generation["front"], cost, unit), color=colour, alpha=0.7, lw=1, ds="steps-post")
        if random_front:
            line = _line(random_front, cost, unit)
            axes.plot(*line, "s--", color=paper.muted, lw=1.3, ms=3.5, ds="steps-post", label="random, same budget")
        x, y = ([record[key] / by for record in front] for key, by in ((cost, unit), ("accuracy", 1.0)))
        axes.plot(x, y, "o", color=paper.second, ms=3, alpha=0.5, mew=0, zorder=4)
        line = _line(front, cost, unit)
        axes.plot(*line, "o-", color=paper.second, lw=1.4, ms=5, ds="steps-post", label="the search", zorder=5)
        if cost == "macs":
            _draw_marks(axes, marks, paper)
        axes.set(xlabel=title, ylabel="top-1 by the search's scores (%)")
        axes.margins(x=0.05, y=0.1)
        figure.legend(loc="outside lower center", ncols=2)
        if len(generations) > 1:
            _generation_bar(figure, axes, paper, [row["generation"] + 1 for row in generations])
        return figure

    return draw


def _line(records: Sequence[Mapping[str, Any]], cost: str, unit: float) -> tuple[list[float], list[float]]:
    """Cost and accuracy of what no other record beats in these two, in order of cost."""
    x: list[float] = []
    y: list[float] = []
    for record in sorted(records, key=lambda record: (record[cost], -record["accuracy"])):
        if not y or record["accuracy"] > y[-1]:
            x.append(record[cost] / unit)
            y.append(record["accuracy"])
    return x, y


def _draw_marks(axes: Axes, marks: Sequence[Mark], paper: Paper) -> None:
    for mark in marks:
        x, letter = mark.macs / 1e6, mark.name[-1].upper()
        if mark.accuracy is None:
            axes.axvline(x, color=paper.third, lw=1, ls=":")
            place: Any = ((x, 1), ("data", "axes fraction"))
        else:
            axes.plot([x], [mark.accuracy], "*", color=paper.third, ms=12, zorder=6)
            place = ((x, mark.accuracy), "data")
        style: dict[str, Any] = {"color": paper.third, "weight": "bold", "ha": "center", "va": "bottom", "zorder": 7}
        axes.annotate(letter, place[0], xycoords=place[1], xytext=(0, 5), textcoords="offset points", **style)


def _generation_bar(figure: Figure, axes: Axes, paper: Paper, numbers: Sequence[int]) -> None:
    """What the colours of the fronts mean."""
    steps: Colormap = ListedColormap(paper.colours(256).tolist())
    scale = ScalarMappable(Normalize(numbers[0], numbers[-1]), steps)
    bar = figure.colorbar(scale, ax=axes, pad=0.02, aspect=30)
    bar.set_label("generation")
    bar.outline.set_visible(False)
    bar.locator = MaxNLocator(integer=True, nbins=6)
    bar.update_ticks()


def hypervolume(table: Table, random_steps: Sequence[Sequence[float]]) -> Draw:
    """Hypervolume over the number of networks that were scored, of the search and of random search."""

    def draw(paper: Paper) -> Figure:
        figure, axes = _axes(height=4.2)
        x, y = _present(table, "hypervolume", "evaluations")
        axes.plot(x, y, "o-", color=paper.main, lw=1.8, ms=4, label="search")
        random = np.array(random_steps, float).reshape(-1, 2)
        if not len(random):
            random = np.stack(_present(table, "random_hypervolume", "evaluations"), axis=1)
        if len(random):
            axes.plot(*random.T, "s--", color=paper.muted, lw=1.4, ms=3, label="random search")
        axes.set(xlabel="distinct networks scored", ylabel="hypervolume of the front")
        axes.legend(loc="lower right")
        return figure

    return draw


def choice_frequency(genotypes: np.ndarray, allowed: np.ndarray, names: Sequence[str]) -> Draw:
    """How many percent of networks (N, layers) have each choice in each layer.

    Args:
        allowed: (layers, choices), whether a layer may have the choice.
        names: Of the choices.
    """
    layers, count = allowed.shape
    share = np.array([np.bincount(column, minlength=count) for column in genotypes.T]) / len(genotypes)
    share = np.where(allowed, 100 * share, np.nan).T

    def draw(paper: Paper) -> Figure:
        figure, axes = _axes(max(WIDTH, 2.0 + 0.42 * layers), 1.1 + 0.32 * count)
        scale = colormaps["Blues" if paper is LIGHT else "cividis"].with_extremes(bad=paper.background)
        image = axes.imshow(share, cmap=scale, vmin=0, vmax=100, aspect="auto")
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.set_yticks(range(count), list(names))
        axes.set_xticks(range(layers), list(map(str, range(layers))))
        axes.tick_params(length=0)
        axes.set_xlabel("layer")
        for choice, layer in zip(*np.nonzero(share > 0), strict=True):
            value = share[choice, layer]
            dark_text = (value < 55) == (paper is LIGHT)
            colour = "#10202e" if dark_text else "#ffffff"
            axes.text(layer, choice, f"{value:.0f}", size=7.5, color=colour, ha="center", va="center")
        for choice, layer in zip(*np.nonzero(~allowed.T), strict=True):
            axes.text(layer, choice, TIMES, size=8, color=paper.muted, ha="center", va="center")
        bar = figure.colorbar(image, ax=axes, pad=0.02, aspect=25)
        bar.set_label("% of the networks")
        bar.outline.set_visible(False)
        return figure

    return draw


def ranking(table: Table, report: Mapping[str, Any]) -> Draw:
    """Known accuracy against what the supernet says, depth as colour."""

    def draw(paper: Paper) -> Figure:
        figure, axes = _axes(height=4.2)
        depths = np.unique(table["blocks"])
        for depth, colour in zip(depths, paper.colours(len(depths)), strict=True):
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

    def draw(paper: Paper) -> Figure:
        figure, axes = _axes(height=4.2)
        rows = validation["measured"]
        predicted, measured, macs = (np.array([row[key] for row in rows]) for key in ("predicted", "measured", "macs"))
        ends = [min(predicted.min(), measured.min()), max(predicted.max(), measured.max())]
        axes.plot(ends, ends, color=paper.muted, lw=1, ls="--", label="equal")
        steps: Colormap = ListedColormap(paper.colours(256).tolist())
        points = axes.scatter(predicted, measured, c=macs / 1e6, cmap=steps, s=22, linewidths=0)
        axes.set(xlabel="sum of the table (ms)", ylabel="measured (ms)")
        axes.set_title(f"Spearman {Estimate(**validation['spearman'])}")
        axes.legend(loc="lower right")
        bar = figure.colorbar(points, ax=axes, pad=0.02, aspect=30)
        bar.set_label("MACs (millions)")
        bar.outline.set_visible(False)
        return figure

    return draw
