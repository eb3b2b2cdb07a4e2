"""The figures of docs/stabilizer.md."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from study import STATISTICS, Study

SMOOTH = 25  # fair steps whose mean the curves show


def draw_curves(study: Study) -> Figure:
    """Training accuracy of the paths of a fair step, and its standard deviation over them, along the training."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    labels = {1: "top-1 of a fair step's paths, %", 2: "s.d. of top-1 over a fair step's paths, points"}
    for column, (index, label) in enumerate(labels.items()):
        axes = figure.add_subplot(1, 2, column + 1)
        for variant in study.variants:
            curves = [study.curves[variant, seed] for seed in study.seeds(variant)]
            length = min(len(curve[0]) for curve in curves)
            window = min(SMOOTH, length)
            smooth = np.array([_smooth(curve[index][:length], window) for curve in curves])
            steps, mean = curves[0][0][window - 1 : length], smooth.mean(0)
            (line,) = axes.plot(steps, mean, label=f"{variant} ({len(curves)})", linewidth=1.5)
            if len(curves) > 1:
                off = smooth.std(0, ddof=1)
                axes.fill_between(steps, mean - off, mean + off, color=line.get_color(), alpha=0.2, linewidth=0)
        axes.set(xlabel="fair steps", ylabel=label)
        axes.grid(alpha=0.3)
    shade = "; shade: s.d. over seeds" if any(len(study.seeds(v)) > 1 for v in study.variants) else ""
    figure.axes[0].legend(title=f"variant (seeds){shade}", fontsize=8, title_fontsize=8)
    figure.suptitle(f"Training, mean of {SMOOTH} fair steps", fontsize=10)
    return figure


def _smooth(values: np.ndarray, window: int) -> np.ndarray:
    return np.convolve(values, np.ones(window) / window, mode="valid")


def draw_scatter(study: Study) -> Figure:
    """Known against predicted accuracy: a column a variant, its first seed, a row a kind of statistics."""
    kinds = [kind for kind in STATISTICS if study.scores[kind]]
    size = (2.6 * len(study.variants) + 1, 2.9 * len(kinds))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(kinds), len(study.variants), squeeze=False, sharey=True)
    colors = {"c": study.blocks, "cmap": "viridis", "vmin": 0, "vmax": len(study.space.layers)}
    for row, kind in enumerate(kinds):
        for axes, variant in zip(panels[row], study.variants, strict=True):
            key = next((key for key in study.scores[kind] if key[0] == variant), None)
            if key is None:
                continue
            points = axes.scatter(study.scores[kind][key], study.known, s=6, linewidths=0, **colors)
            title = f"{variant}, seed {key[1]}, {kind}: tau {study.tau(kind, key):.3f}"
            axes.set_title(title, fontsize=7)
            axes.tick_params(labelsize=7)
            axes.grid(alpha=0.3)
        panels[row][0].set_ylabel("known accuracy, %", fontsize=8)
    figure.supxlabel("top-1 of the supernet's path, %", fontsize=8)
    figure.colorbar(points, ax=panels, label="blocks")
    return figure


def draw_depth(study: Study) -> Figure:
    """Accuracy by the number of layers that are identities: of the supernets' paths, mean over seeds, and known."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    paths, known = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
    for kind, style in zip(STATISTICS, ("o-", "x:"), strict=True):
        for number, variant in enumerate(study.variants):
            found = [scores for key, scores in study.scores[kind].items() if key[0] == variant]
            if found:
                label = f"{variant}, {kind} statistics"
                _plot_depth(paths, study, np.mean(found, axis=0), style, f"C{number}", label)
    _plot_depth(known, study, study.known, "o-", "black", "trained alone")
    paths.set_ylabel("top-1 of the supernet's paths, %")
    known.set_ylabel("known accuracy, %")
    for axes in figure.axes:
        axes.set_xlabel(f"identities among the {len(study.space.layers)} layers")
        axes.grid(alpha=0.3)
    paths.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))  # many variants fill the panel
    known.legend(fontsize=8)
    return figure


def _plot_depth(axes: Axes, study: Study, accuracy: np.ndarray, style: str, color: str, label: str) -> None:
    depths = np.unique(study.blocks)
    means = [accuracy[study.blocks == n].mean() for n in depths]
    axes.plot(len(study.space.layers) - depths, means, style, color=color, markersize=4, label=label)


def draw_similarity(study: Study) -> Figure:
    """How alike the outputs of a layer's choices are, layer by layer, mean over seeds."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for number, variant in enumerate(study.variants):
        keys = [key for key in study.similarity if key[0] == variant]
        for identity, style, label in ((True, "o-", "identity and blocks"), (False, "x:", "blocks")):
            layers = study.stabilized if keys else []
            means = [np.mean([study.alike(key, layer, identity) for key in keys]) for layer in layers]
            axes.plot(layers, means, style, color=f"C{number}", label=f"{variant}: {label}")
    axes.set(xlabel="layer (those whose identity keeps the shape)", ylabel="cosine similarity of outputs")
    axes.set_xticks(study.stabilized)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    return figure
