"""Draws the curves of docs/training: reads every NAME/metrics.csv and writes NAME/curves.png."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

LINES = {
    "train_top1": "training images, varied",
    "holdout_top1": "held out",
    "ema_holdout_top1": "held out, average",
}

for folder in sorted(path.parent for path in (Path(__file__).parents[1] / "docs/training").glob("*/metrics.csv")):
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    epochs = [int(row["epoch"]) for row in rows]
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for key, label in LINES.items():
        axes.plot(epochs, [float(row[key]) for row in rows], marker="o", markersize=3, label=label)
    for before, row in pairwise(rows):
        if row["image_size"] != before["image_size"]:
            axes.axvline(int(row["epoch"]) - 0.5, color="grey", linestyle=":")
            axes.annotate(
                f" {row['image_size']} px", (int(row["epoch"]) - 0.5, 0.02), xycoords=("data", "axes fraction")
            )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(title=folder.name, xlabel="epoch", ylabel="top-1, %")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(folder / "curves.png", dpi=120)
