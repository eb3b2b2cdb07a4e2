"""The figures of docs/stabilizer.md."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats
from study import LAST_PART, STATISTICS, Study, columns, spelled

from scarlet_models.inspection.plotting import themed

SMOOTH = 25  # fair steps whose mean the curves show


def _panels(titles: Sequence[str], x: str, y: str) -> tuple[Figure, list[Axes]]:
    """Panels side by side, with the same axes."""
    figure = Figure(figsize=(5.5 if len(titles) < 3 else 4) * np.array([len(titles), 0]) + [0, 4.6])
    panels = figure.subplots(1, len(titles), sharex=True, sharey=True)
    for axes, title in zip(panels, titles, strict=True):
        axes.set(title=title, xlabel=x)
    panels[0].set_ylabel(y)
    return figure, list(panels)


def _line(axes: Axes, x: np.ndarray, values: Sequence[np.ndarray], style: str, label: str) -> None:
    """The mean over seeds (seeds, N), with the band of Student's 95% intervals where there are several seeds."""
    mean = np.mean(values, axis=0)
    (line,) = axes.plot(x, mean, style, ms=3.5, lw=1.4, label=label)
    if len(values) > 1:
        reach = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values, axis=0)
        axes.fill_between(x, mean - reach, mean + reach, color=line.get_color(), alpha=0.15, lw=0)


def _key(figure: Figure, study: Study, columns: int = 3) -> None:
    """The legend of the first panel below all, with what the bands are."""
    seeds = max(len(study.seeds(variant)) for variant in study.variants)
    title = f"mean of {seeds} seeds; band: 95% interval over seeds" if seeds > 1 else "one seed"
    handles = figure.axes[0].get_legend_handles_labels()
    figure.legend(*handles, title=title, loc="outside lower center", ncols=columns)


@themed
def draw_curves(study: Study) -> Figure:
    """Training accuracy of the paths of a fair step, and its standard deviation over them, along the training."""
    figure = Figure(figsize=(11, 4.6))
    labels = {1: "top-1 of a fair step's paths (%)", 2: "standard deviation of it over the paths (points)"}
    for panel, (index, label) in zip(figure.subplots(1, 2, sharex=True), labels.items(), strict=True):
        for number, variant in enumerate(study.variants):
            curves = [study.curves[variant, seed] for seed in study.seeds(variant)]
            length = min(len(curve[0]) for curve in curves)
            window = min(SMOOTH, length)
            values = [_smooth(curve[index][:length], window) for curve in curves]
            _line(panel, curves[0][0][window - 1 : length], values, f"C{number}-", spelled(variant))
        panel.set(xlabel=f"fair steps (mean of {SMOOTH})", ylabel=label)
    _key(figure, study)
    return figure


def _smooth(values: np.ndarray, window: int) -> np.ndarray:
    return np.convolve(values, np.ones(window) / window, mode="valid")


@themed
def draw_one_shot(study: Study) -> Figure:
    """Histograms of the paths' one-shot accuracy in the last part of the training, each a variant over all seeds."""
    figure = Figure(figsize=(6.5, 4))
    axes = figure.subplots()
    for variant in study.variants:
        rows = [row for key, found in study.one_shot.items() if key[0] == variant for row in found]
        if rows:
            top1, paths = columns(rows, "top1", "paths")
            mean = np.average(top1, weights=paths)
            deviation = np.average((top1 - mean) ** 2, weights=paths) ** 0.5
            label = f"{spelled(variant)}: {mean:.1f} ± {deviation:.1f}"
            edges = np.arange(-0.5, 66, 2) / 0.64  # two values of a batch of 64 a bin
            axes.hist(top1, edges, weights=paths, density=True, alpha=0.5, label=label)
    axes.set(xlabel="training top-1 of a path on its batch (%)", ylabel="density")
    axes.legend(title=f"last {LAST_PART:.0%} of the fair steps: mean ± s.d.")
    return figure


@themed
def draw_scatter(study: Study) -> Figure:
    """Known against predicted accuracy: a column a variant, its first seed, a row a kind of statistics."""
    kinds = [kind for kind in STATISTICS if study.scores[kind]]
    figure = Figure(figsize=(2.6 * len(study.variants) + 1, 2.9 * len(kinds)))
    panels = figure.subplots(len(kinds), len(study.variants), squeeze=False, sharey=True, sharex=True)
    for row, kind in enumerate(kinds):
        for axes, variant in zip(panels[row], study.variants, strict=True):
            key = next((key for key in study.scores[kind] if key[0] == variant), None)
            if key is None:
                continue
            blocks = {"c": study.blocks, "vmin": study.blocks.min(), "vmax": study.blocks.max()}
            points = axes.scatter(study.scores[kind][key], study.known, s=6, linewidths=0, **blocks)
            tau = f"{kind} statistics: tau {study.tau(kind, key):.3f}"
            axes.set_title(f"{spelled(variant)}\n{tau}", fontsize=8, weight="normal")
        panels[row][0].set_ylabel("known accuracy (%)")
    seeds = ", ".join(map(str, sorted({min(study.seeds(variant)) for variant in study.variants})))
    figure.supxlabel(f"top-1 of the supernet's path (%), seed {seeds}", fontsize=9.5)
    figure.colorbar(points, ax=panels, label="blocks", aspect=40)
    return figure


@themed
def draw_depth(study: Study) -> Figure:
    """Accuracy by the number of layers that are identities: of the supernets' paths, and known."""
    depths, layers = np.unique(study.blocks), len(study.space.layers)

    def means(accuracy: np.ndarray) -> np.ndarray:
        return np.array([accuracy[study.blocks == depth].mean() for depth in depths])

    titles = [*(f"Paths, {kind} statistics" for kind in STATISTICS), "Trained alone (known)"]
    figure, panels = _panels(titles, f"identities among the {layers} layers", "mean top-1 (%)")
    for axes, kind in zip(panels, STATISTICS, strict=False):
        for number, variant in enumerate(study.variants):
            found = [means(scores) for key, scores in study.scores[kind].items() if key[0] == variant]
            if found:
                _line(axes, layers - depths, found, f"C{number}o-", spelled(variant))
    panels[-1].plot(layers - depths, means(study.known), "o-", color="gray", ms=3.5)
    _key(figure, study)
    return figure


@themed
def draw_similarity(study: Study) -> Figure:
    """How alike the outputs of a layer's choices are, layer by layer."""
    titles, layers = ["Identity and blocks", "Blocks with each other"], np.array(study.stabilized)
    figure, panels = _panels(titles, "layer (those whose identity keeps the shape)", "cosine similarity of outputs")
    for axes, identity in zip(panels, (True, False), strict=True):
        for number, variant in enumerate(study.variants):
            keys = [key for key in study.similarity if key[0] == variant]
            values = [np.array([study.alike(key, layer, identity) for layer in layers]) for key in keys]
            if values:
                _line(axes, layers, values, f"C{number}o-", spelled(variant))
        axes.set_xticks(layers)
    _key(figure, study)
    return figure
