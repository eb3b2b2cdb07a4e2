"""Draws docs/figures/folding.png: the three cases in which the neighbours of a stabilizer absorb it.

python studies/folding_figure.py
"""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from scarlet_models.inspection.plotting import LIGHT, save, themed

FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "folding.png"
INK, BLOCK, STABILIZER, CHANGED = LIGHT.ink, LIGHT.line, "#f9c74f", "#90d5a5"

KEY = {"unchanged layer": BLOCK, "stabilizer W": STABILIZER, "layer that absorbs it": CHANGED}

# Each row: (label, colour, has a shortcut), from the input at the top to the output.
Rows = list[tuple[str, str, bool]]
CASES: list[tuple[str, Rows, Rows]] = [
    (
        "Into the block in front",
        [("E, depthwise", BLOCK, False), ("P, batch norm", BLOCK, False), ("W", STABILIZER, False)],
        [("E, depthwise", BLOCK, False), ("W P, batch norm", CHANGED, False)],
    ),
    (
        "Through residual blocks",
        [("P, batch norm", BLOCK, False), ("f: E ... P", BLOCK, True), ("W", STABILIZER, False)],
        [("W P, batch norm", CHANGED, False), ("E W⁻¹ ... W P", CHANGED, True)],
    ),
    (
        "Into the block behind",
        [("W", STABILIZER, False), ("E, depthwise", BLOCK, False), ("P, batch norm", BLOCK, False)],
        [("E W, depthwise", CHANGED, False), ("P, batch norm", BLOCK, False)],
    ),
]


def draw_chain(axes: Axes, x: float, rows: Rows, title: str) -> None:
    """Draw one chain of layers downwards, with its shortcuts."""
    axes.text(x, 0.55, title, ha="center", va="bottom", fontsize=9, color=INK)
    y = 0.0
    axes.annotate("", (x, y - 0.05), (x, y + 0.5), arrowprops={"arrowstyle": "->", "color": INK})
    for label, colour, shortcut in rows:
        box = {"boxstyle": "round,pad=0.45", "fc": colour, "ec": INK, "lw": 0.8}
        axes.text(x, y - 0.35, label, ha="center", va="center", fontsize=10, color=INK, bbox=box)
        end = y - 1.1
        axes.annotate("", (x, end), (x, y - 0.66), arrowprops={"arrowstyle": "->", "color": INK})
        if shortcut:
            axes.plot([x, x + 0.95, x + 0.95, x], [y - 0.0, y - 0.0, end + 0.16, end + 0.16], color=INK, lw=1)
            axes.text(x + 1.0, (y + end) / 2, "+", fontsize=13, color=INK, va="center", ha="left")
        y = end - 0.02


@themed
def draw() -> Figure:
    """A panel a case: the layers in the supernet and in the extracted network."""
    figure = Figure(figsize=(12, 3.9))
    panels = figure.subplots(1, 3)
    for axes, (title, before, after) in zip(panels, CASES, strict=True):
        axes.set_title(title)
        draw_chain(axes, 0.0, before, "supernet")
        draw_chain(axes, 3.0, after, "extracted network")
        axes.text(1.5, -1.2, "=", fontsize=22, ha="center", color=INK)
        axes.set(xlim=(-1.2, 4.3), ylim=(-3.6, 1.1))
        axes.axis("off")
    handles = [Patch(facecolor=colour, edgecolor=INK, label=label) for label, colour in KEY.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


if __name__ == "__main__":
    save(draw(), FIGURE)
