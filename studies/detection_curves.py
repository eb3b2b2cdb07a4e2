"""Draws the curves of docs/detection: reads the metrics.csv of both BCCD runs and writes curves.png."""

from __future__ import annotations

from matplotlib.figure import Figure
from study import HERE, columns, read

from scarlet_models.inspection.plotting import save, themed

RUNS = {"bccd_tiny_in": "from scarlet_a.tiny_in", "bccd_random": "from random weights"}
PANELS = {"loss": "training loss (sum of the detector's losses)", "val_AP50": "AP50 on the validation split"}


@themed
def draw() -> Figure:
    """Loss and AP50 by epoch."""
    figure = Figure(figsize=(9, 3.8))
    panels = figure.subplots(1, 2, sharex=True)
    for axes, (column, label) in zip(panels, PANELS.items(), strict=True):
        for number, (run, name) in enumerate(RUNS.items()):
            rows = [row for row in read(HERE / "detection" / run / "metrics.csv") if row[column]]
            axes.plot(*columns(rows, "epoch", column), f"C{number}o-", ms=3, label=name)
        axes.set(xlabel="epoch", ylabel=label, ylim=(0, None), xticks=range(0, 21, 4))
    panels[0].legend()
    return figure


save(draw(), HERE / "detection" / "curves.png")
