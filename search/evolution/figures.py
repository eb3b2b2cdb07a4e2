"""A search as figures: its fronts over the generations, and its hypervolume against random search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from scarlet_models.files import write_atomically

from .archive import Archive


def save(figure: Figure, path: Path) -> None:
    """Writes a PNG whole or not at all."""
    write_atomically(path, partial(figure.savefig, format="png", dpi=150))


def draw_front(archive: Archive, baseline: Archive, released: Mapping[str, tuple[int, float]]) -> Figure:
    """Accuracy against MACs of all that was measured, its generation as colour, random search beside it.

    Args:
        archive: Of the search; its front is drawn in black.
        baseline: Of random search; may be empty.
        released: MACs and accuracy of networks to mark by name.
    """
    figure, axes = _axes("MACs (M)", "accuracy by the search's scores (%)")
    x, y = baseline.figures["macs"] / 1e6, baseline.figures["accuracy"]
    if len(baseline):
        axes.scatter(x, y, s=10, color="0.75", linewidths=0, label="random search")
        _steps(axes, baseline, color="0.55", label="its front")
    macs = archive.figures["macs"] / 1e6
    points = axes.scatter(macs, archive.figures["accuracy"], s=12, c=archive.born + 1, cmap="viridis", linewidths=0)
    figure.colorbar(points, label="generation", ticks=MaxNLocator(integer=True))
    _steps(axes, archive, color="black", label="front")
    for name, (count, accuracy) in released.items():
        axes.scatter([count / 1e6], [accuracy], s=120, marker="*", color="tab:red", zorder=3)
        axes.annotate(name, (count / 1e6, accuracy), textcoords="offset points", xytext=(6, -10), fontsize=9)
    if len(archive.front()) or len(baseline):
        axes.legend(fontsize=8, loc="lower right")
    return figure


def draw_hypervolume(curves: Mapping[str, Sequence[tuple[int, float]]]) -> Figure:
    """Hypervolume by the number of networks measured, a line for each search by name."""
    figure, axes = _axes("networks measured", "hypervolume")
    for (name, curve), color in zip(curves.items(), ("black", "0.55"), strict=True):
        if curve:
            axes.plot(*zip(*curve, strict=True), color=color, marker=".", label=name)
    axes.legend(fontsize=8, loc="lower right")
    return figure


def _axes(x: str, y: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    return figure, axes


def _steps(axes: Any, archive: Archive, **style: Any) -> None:
    """A line through the front's networks that are also best in accuracy against MACs alone."""
    points = sorted((archive.figures["macs"][i] / 1e6, archive.figures["accuracy"][i]) for i in archive.front())
    best = [(x, y) for i, (x, y) in enumerate(points) if all(y > other for _, other in points[:i])]
    if best:
        axes.step(*zip(*best, strict=True), where="post", linewidth=1.2, **style)
