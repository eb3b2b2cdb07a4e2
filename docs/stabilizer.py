"""Tables and figures of docs/stabilizer.md.

python docs/stabilizer.py collect runs/ablation  # what scarlet-search ablate left, as CSV in docs/results/stabilizer
python docs/stabilizer.py                        # figures and tables from these files
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scarlet_models.search.cells import BATCH_NORMS, VARIANTS, Cell, find_cells
from scarlet_models.search.ranking import kendall, top_k

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "stabilizer"
FIGURES = HERE / "figures"
LAST = 50  # squares at the end whose mean is the training accuracy
SAMPLES = 2000  # of each bootstrap
TOP = 10

Rows = list[dict[str, str]]
Key = tuple[str, int]  # variant and seed


def read(path: Path) -> Rows:
    """A CSV's rows."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def collect(runs: Path) -> None:
    """Copies what the study needs of each finished cell into the results: curves, rankings, similarities.

    Cells that are in the results already, perhaps from another machine, stay; those of the same name are replaced.
    """
    RESULTS.mkdir(parents=True, exist_ok=True)
    cells = find_cells(runs)
    _write("curves.csv", cells, _curve)
    _write("rankings.csv", cells, _rankings)
    _write("similarity.csv", cells, lambda cell: read(cell.folder / "similarity.csv") if cell.compared() else [])


def _curve(cell: Cell) -> Iterator[dict[str, str]]:
    for row in read(cell.folder / "metrics.csv"):
        yield {key: row[key] for key in ("step", "loss", "top1", "top1_std")}


def _rankings(cell: Cell) -> Iterator[dict[str, str]]:
    for batch_norm in BATCH_NORMS:
        for row in read(cell.folder / f"rank_{batch_norm}.csv") if cell.ranked(batch_norm) else ():
            yield {"batch_norm": batch_norm, **{key: row[key] for key in ("genotype", "blocks", "known", "predicted")}}


def _write(name: str, cells: list[Cell], rows_of: Callable[[Cell], Iterable[dict[str, str]]]) -> None:
    path, new = RESULTS / name, {(cell.variant, str(cell.seed)) for cell in cells}
    rows = [row for row in (read(path) if path.exists() else []) if (row["variant"], row["seed"]) not in new]
    rows += [{"variant": cell.variant, "seed": str(cell.seed), **row} for cell in cells for row in rows_of(cell)]
    if not rows:
        return
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def group(rows: Rows) -> dict[Key, Rows]:
    """Rows by variant, in the order of VARIANTS, and seed."""
    groups: dict[Key, Rows] = {}
    for row in rows:
        groups.setdefault((row["variant"], int(row["seed"])), []).append(row)
    order = list(VARIANTS)
    return dict(sorted(groups.items(), key=lambda item: (order.index(item[0][0]), item[0][1])))


def columns(rows: Rows, *names: str) -> list[np.ndarray]:
    """Columns of numbers."""
    return [np.array([float(row[name]) for row in rows]) for name in names]


class Study:
    """The results as arrays."""

    def __init__(self) -> None:
        curves = group(read(RESULTS / "curves.csv"))
        self.curves = {key: columns(rows, "step", "top1", "top1_std") for key, rows in curves.items()}
        rankings = read(RESULTS / "rankings.csv")
        self.ranks = {
            kind: {
                key: columns(rows, "blocks", "known", "predicted")
                for key, rows in group([row for row in rankings if row["batch_norm"] == kind]).items()
            }
            for kind in BATCH_NORMS
        }
        similarity = RESULTS / "similarity.csv"
        self.similarity = group(read(similarity)) if similarity.exists() else {}
        self.variants = list(dict.fromkeys(variant for variant, _ in self.curves))

    def seeds(self, variant: str) -> list[int]:
        """Those with a curve."""
        return [seed for name, seed in self.curves if name == variant]

    def training(self, key: Key) -> float:
        """One-shot training accuracy: mean over the last squares."""
        return float(self.curves[key][1][-LAST:].mean())

    def wobble(self, key: Key) -> float:
        """Standard deviation over the last squares of a square's mean accuracy."""
        return float(self.curves[key][1][-LAST:].std(ddof=1))

    def spread(self, key: Key) -> float:
        """Standard deviation over the paths of a square, mean over the last squares."""
        return float(self.curves[key][2][-LAST:].mean())

    def tau(self, kind: str, key: Key) -> float:
        """Kendall's tau over all networks of the sample."""
        _, known, predicted = self.ranks[kind][key]
        return kendall(predicted, known)

    def tau_within(self, kind: str, key: Key) -> float:
        """Mean of tau within groups of equal depth, weighted by their numbers of networks."""
        blocks, known, predicted = self.ranks[kind][key]
        groups = [blocks == n for n in np.unique(blocks) if (blocks == n).sum() >= 10]
        taus = [kendall(predicted[where], known[where]) for where in groups]
        return float(np.average(taus, weights=[where.sum() for where in groups]))

    def regret(self, kind: str, key: Key) -> float:
        """Points that the best of the supernet's top networks lacks to the best of the sample."""
        _, known, predicted = self.ranks[kind][key]
        return top_k(predicted, known, TOP).regret

    def mean_regret(self, kind: str, key: Key) -> float:
        """Points that the mean of the supernet's top networks lacks to that of the truly best."""
        _, known, predicted = self.ranks[kind][key]
        return top_k(predicted, known, TOP).mean_regret

    def alike(self, key: Key) -> float:
        """Mean cosine similarity between identity and the blocks of a layer, over the shape-preserving layers."""
        rows = [row for row in self.similarity[key] if "identity" in row["a"] + row["b"] and row["a"] != row["b"]]
        return float(np.mean([float(row["cosine"]) for row in rows])) if rows else float("nan")

    def difference(self, kind: str, variant: str, base: str = "skip") -> tuple[float, float, float] | None:
        """Mean tau of a variant less that of another on the seeds of both, and the 95% interval of a bootstrap that
        resamples seeds and networks."""
        seeds = [s for v, s in self.ranks[kind] if v == variant and (base, s) in self.ranks[kind]]
        if not seeds or variant == base:
            return None
        rng, pairs = np.random.default_rng(0), []
        known = self.ranks[kind][variant, seeds[0]][1]
        for _ in range(SAMPLES // 10):
            networks = rng.integers(len(known), size=len(known))
            deltas = [self._delta(kind, variant, base, seed, networks) for seed in seeds]
            pairs += [float(np.mean(rng.choice(deltas, len(deltas)))) for _ in range(10)]
        mean = float(np.mean([self.tau(kind, (variant, s)) - self.tau(kind, (base, s)) for s in seeds]))
        return mean, *(float(q) for q in np.quantile(pairs, [0.025, 0.975]))

    def _delta(self, kind: str, variant: str, base: str, seed: int, networks: np.ndarray) -> float:
        taus = []
        for name in (variant, base):
            _, known, predicted = self.ranks[kind][name, seed]
            taus.append(kendall(predicted[networks], known[networks]))
        return taus[0] - taus[1]


def summary(values: list[float], digits: int = 2) -> str:
    """Mean and standard deviation over seeds; the value alone where there is one."""
    if not values:
        return "-"
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.{digits}f}"


def tables(study: Study) -> str:
    """The tables as Markdown."""
    lines = [
        "| variant | seeds | training top-1, % | its deviation over squares | over paths | identity's similarity |",
        "|---|---|---|---|---|---|",
    ]
    for variant in study.variants:
        keys = [(variant, seed) for seed in study.seeds(variant)]
        figures = [summary([figure(key) for key in keys]) for figure in (study.training, study.wobble, study.spread)]
        figures.append(summary([study.alike(key) for key in keys if key in study.similarity]))
        lines.append(f"| {variant} | {len(keys)} | " + " | ".join(figures) + " |")
    for kind in BATCH_NORMS:
        lines += [
            "",
            f"Batch norm {kind}:",
            "",
            f"| variant | seeds | Kendall's tau | less skip's [95%] | within depths | top-{TOP} regret | of its mean |",
            "|---|---|---|---|---|---|---|",
        ]
        for variant in study.variants:
            keys = [key for key in study.ranks[kind] if key[0] == variant]
            if keys:
                lines.append(_ranking_row(study, kind, variant, keys))
    return "\n".join(lines) + "\n"


def _ranking_row(study: Study, kind: str, variant: str, keys: list[Key]) -> str:
    difference = study.difference(kind, variant)
    less = "-" if difference is None else "{:+.3f} [{:+.3f}, {:+.3f}]".format(*difference)
    cells = [
        summary([study.tau(kind, key) for key in keys], 3),
        less,
        summary([study.tau_within(kind, key) for key in keys], 3),
        summary([study.regret(kind, key) for key in keys]),
        summary([study.mean_regret(kind, key) for key in keys]),
    ]
    return f"| {variant} | {len(keys)} | " + " | ".join(cells) + " |"


def draw_curves(study: Study) -> Figure:
    """Training accuracy of the paths of a square: mean over seeds and, shaded, over seeds or a square's paths."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    window = 25
    for variant in study.variants:
        curves = [study.curves[variant, seed] for seed in study.seeds(variant)]
        length = min(len(curve[0]) for curve in curves)
        smooth = np.array([_smooth(curve[1][:length], window) for curve in curves])
        steps, mean = curves[0][0][window - 1 : length], smooth.mean(0)
        (line,) = axes.plot(steps, mean, label=f"{variant} ({len(curves)})", linewidth=1.5)
        if len(curves) > 1:
            deviation = smooth.std(0, ddof=1)
            axes.fill_between(steps, mean - deviation, mean + deviation, color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set(xlabel="squares", ylabel="top-1 of a square's paths, %", title=f"Training, mean of {window} squares")
    axes.grid(alpha=0.3)
    axes.legend(title="variant (seeds); shade: deviation over seeds", fontsize=8, title_fontsize=8)
    return figure


def _smooth(values: np.ndarray, window: int) -> np.ndarray:
    return np.convolve(values, np.ones(window) / window, mode="valid")


def draw_scatter(study: Study, kind: str = "calibrated") -> Figure:
    """Known against predicted accuracy, a panel a variant, the first seed of each."""
    variants = [v for v in study.variants if any(key[0] == v for key in study.ranks[kind])]
    figure = Figure(figsize=(2.6 * len(variants) + 0.6, 3.2), layout="constrained")
    for panel, variant in enumerate(variants):
        key = next(key for key in study.ranks[kind] if key[0] == variant)
        blocks, known, predicted = study.ranks[kind][key]
        axes = figure.add_subplot(1, len(variants), panel + 1)
        points = axes.scatter(predicted, known, c=blocks, s=6, cmap="viridis", linewidths=0)
        axes.set_title(f"{variant}, seed {key[1]}: {study.tau(kind, key):.3f}", fontsize=9)
        axes.set_xlabel("supernet's path, %", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
        if panel == 0:
            axes.set_ylabel("known accuracy, %", fontsize=8)
    figure.colorbar(points, ax=figure.axes, label="blocks")
    return figure


def draw_depth(study: Study, kind: str = "calibrated") -> Figure:
    """Accuracy of paths by the number of layers that are identities, mean over networks and seeds."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for variant in study.variants:
        found = [value for key, value in study.ranks[kind].items() if key[0] == variant]
        if not found:
            continue
        depths = np.unique(found[0][0])
        means = [np.mean([p[b == n].mean() for b, _, p in found]) for n in depths]
        axes.plot(8 - depths, means, marker="o", markersize=3, label=variant)
    axes.set(xlabel="identities among the 8 layers", ylabel="top-1 of the supernet's paths, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def main() -> None:
    if sys.argv[1:2] == ["collect"]:
        collect(Path(sys.argv[2]))
        return
    study = Study()
    for name, figure in (
        ("curves", draw_curves(study)),
        ("scatter", draw_scatter(study)),
        ("depth", draw_depth(study)),
    ):
        figure.savefig(FIGURES / f"stabilizer_{name}.png", dpi=130)
    text = tables(study)
    (RESULTS / "tables.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
