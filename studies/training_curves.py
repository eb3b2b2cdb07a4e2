"""Draws the curves of docs/training: reads every NAME/metrics.csv and writes NAME/curves.png."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from study import HERE, columns, read

from scarlet_models.inspection.plotting import save, theme, themed

PANELS = {
    "cross-entropy (nats)": {"train_loss": "training images, varied"},
    "top-1 (%)": {
        "train_top1": "training images, varied",
        "holdout_top1": "held out",
        "ema_holdout_top1": "held out, moving average",
    },
}


@themed
def draw(folder: Path) -> Figure:
    """Loss and top-1 by epoch; dotted lines where the images' size changes."""
    rows = read(folder / "metrics.csv")
    (epochs,) = columns(rows, "epoch")
    figure = Figure(figsize=(9, 3.8))
    figure.suptitle(folder.name, fontsize=11, weight="bold")
    for axes, (label, lines) in zip(figure.subplots(1, 2, sharex=True), PANELS.items(), strict=True):
        for number, (key, name) in enumerate(lines.items()):
            axes.plot(epochs, *columns(rows, key), f"C{number}o-", ms=3, label=name)
        for before, row in pairwise(rows):
            if row["image_size"] != before["image_size"]:
                place = float(row["epoch"]) - 0.5
                axes.axvline(place, color=theme().muted, ls=":")
                axes.annotate(f" {row['image_size']} px", (place, 0.02), xycoords=("data", "axes fraction"), size=8)
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return figure


for path in sorted((HERE / "training").glob("*/metrics.csv")):
    save(draw(path.parent), path.with_name("curves.png"))
