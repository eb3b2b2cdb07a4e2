"""Draws the curves of docs/detection: reads the metrics.csv of both BCCD runs and writes curves.png."""

from __future__ import annotations

import csv
from pathlib import Path

import matplotlib.pyplot as plt

HERE = Path(__file__).parents[1] / "docs/detection"
RUNS = {"bccd_c10": ("scarlet_a.c10", "#1b4f80"), "bccd_random": ("random weights", "#f08a24")}
PANELS = {"loss": "training loss", "val_AP50": "AP50 on the validation split"}

figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for axes, (column, title) in zip(panels, PANELS.items(), strict=True):
    for run, (label, colour) in RUNS.items():
        with (HERE / run / "metrics.csv").open() as file:
            points = [(int(row["epoch"]), float(row[column])) for row in csv.DictReader(file) if row[column]]
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label, color=colour)
    axes.set(title=title, xlabel="epoch", ylim=(0, None))
    axes.set_xticks(range(0, 21, 4))
    axes.grid(alpha=0.3)
panels[0].legend()
figure.savefig(HERE / "curves.png", dpi=120)
