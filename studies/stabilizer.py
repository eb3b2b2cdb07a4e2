"""Tables and figures of docs/stabilizer.md.

python studies/stabilizer.py collect runs/ablation  # what scarlet-search ablate left, as CSV in docs/results/stabilizer
python studies/stabilizer.py                        # figures and tables from these files
python studies/stabilizer.py collect runs/variants stabilizer_variants  # another study, in a folder beside the first
python studies/stabilizer.py draw stabilizer_variants
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scarlet_models.search import SearchSpace
from scarlet_models.search.ablation.cells import BATCH_NORMS, VARIANTS, Cell, find_cells
from scarlet_models.search.scoring.ranking import Estimate, bootstrap, kendall, top_k
from scarlet_models.search.supernet.file import load_supernet
from scarlet_models.search.supernet.stabilizer import Stabilizer

HERE = Path(__file__).parents[1] / "docs"
NAME = "stabilizer"
FIGURES = HERE / "figures"
LAST = 50  # fair steps at the end whose mean is the training accuracy
SMOOTH = 25  # fair steps whose mean the curves show
SAMPLES = 2000  # of each bootstrap
TOP = 10
SPACE = SearchSpace.load("nas_bench_macro")
LAYERS = len(SPACE.layers)
STABILIZED = [layer.index for layer in SPACE.layers if layer.keeps_shape]
SMALLEST_GROUP = 20  # networks of equal depth, to be ranked among themselves

Rows = list[dict[str, str]]
Key = tuple[str, int]  # variant and seed


def read(path: Path) -> Rows:
    """A CSV's rows; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def results(name: str) -> Path:
    """A study's folder."""
    return HERE / "results" / name


def collect(runs: Path, name: str = NAME) -> None:
    """Copies what a study needs of each finished cell into its results: curves, rankings, similarities.

    Cells that are in the results already, perhaps from another machine, stay; those of the same name are replaced.
    """
    results(name).mkdir(parents=True, exist_ok=True)
    cells = find_cells(runs)
    write(results(name) / "curves.csv", cells, _curve)
    write(results(name) / "rankings.csv", cells, _rankings)
    write(
        results(name) / "similarity.csv",
        cells,
        lambda cell: read(cell.folder / "similarity.csv") if cell.compared() else [],
    )
    write(results(name) / "stabilizers.csv", cells, _stabilizers)


def _curve(cell: Cell) -> Iterator[dict[str, str]]:
    for row in read(cell.folder / "metrics.csv"):
        yield {key: row[key] for key in ("step", "loss", "top1", "top1_std")}


def _rankings(cell: Cell) -> Iterator[dict[str, str]]:
    for batch_norm in BATCH_NORMS:
        for row in read(cell.folder / f"rank_{batch_norm}.csv") if cell.ranked(batch_norm) else ():
            yield {"batch_norm": batch_norm, **{key: row[key] for key in ("genotype", "blocks", "known", "predicted")}}


def _stabilizers(cell: Cell) -> Iterator[dict[str, str]]:
    """Of each matrix W in a skip's place: cosine to the identity, as vectors, and the root of the mean squared gain."""
    net, _ = load_supernet(cell.folder)
    for name, module in net.named_modules():
        if isinstance(module, Stabilizer):
            weight = module.weight.detach()[:, :, 0, 0]
            gain = float(weight.norm() / len(weight) ** 0.5)
            cosine = float(weight.trace() / (gain * len(weight)))
            yield {"module": name, "channels": str(len(weight)), "cosine": f"{cosine:.4f}", "gain": f"{gain:.4f}"}


def write(path: Path, cells: list[Cell], rows_of: Callable[[Cell], Iterable[dict[str, str]]]) -> None:
    new = {(cell.variant, str(cell.seed)) for cell in cells}
    rows = [row for row in read(path) if (row["variant"], row["seed"]) not in new]
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
    """A study's results as arrays."""

    def __init__(self, name: str = NAME) -> None:
        folder = results(name)
        curves = group(read(folder / "curves.csv"))
        self.curves = {key: columns(rows, "step", "top1", "top1_std") for key, rows in curves.items()}
        rankings = read(folder / "rankings.csv")
        self.ranks = {
            kind: {
                key: columns(rows, "blocks", "known", "predicted")
                for key, rows in group([row for row in rankings if row["batch_norm"] == kind]).items()
            }
            for kind in BATCH_NORMS
        }
        self.similarity = group(read(folder / "similarity.csv"))
        self.stabilizers = group(read(folder / "stabilizers.csv"))
        self.batch_norms = group(read(folder / "batch_norms.csv"))
        self.variants = list(dict.fromkeys(variant for variant, _ in self.curves))

    def seeds(self, variant: str) -> list[int]:
        """Those with a curve."""
        return [seed for name, seed in self.curves if name == variant]

    def training(self, key: Key) -> float:
        """One-shot training accuracy: mean over the last fair steps."""
        return float(self.curves[key][1][-LAST:].mean())

    def wobble(self, key: Key) -> float:
        """Standard deviation over the last fair steps of a fair step's mean accuracy."""
        return float(self.curves[key][1][-LAST:].std(ddof=1))

    def spread(self, key: Key) -> float:
        """Standard deviation over the paths of a fair step, mean over the last fair steps."""
        return float(self.curves[key][2][-LAST:].mean())

    def tau(self, kind: str, key: Key) -> float:
        """Kendall's tau over all networks of the sample."""
        _, known, predicted = self.ranks[kind][key]
        return kendall(predicted, known)

    def tau_within(self, kind: str, key: Key) -> float:
        """Mean of tau within groups of equal depth, weighted by their numbers of networks."""
        blocks, known, predicted = self.ranks[kind][key]
        return tau_within(np.stack([predicted, blocks], axis=1), known)

    def tau_at(self, kind: str, key: Key, depth: int) -> float:
        """Tau over the networks of that many blocks."""
        blocks, known, predicted = self.ranks[kind][key]
        return kendall(predicted[blocks == depth], known[blocks == depth])

    def estimates(self, kind: str, key: Key) -> tuple[Estimate, Estimate]:
        """Tau over all networks and within depths, with intervals over resampled networks."""
        blocks, known, predicted = self.ranks[kind][key]
        with_depth = np.stack([predicted, blocks], axis=1)
        return bootstrap(kendall, predicted, known, SAMPLES), bootstrap(tau_within, with_depth, known, SAMPLES // 4)

    def tau_between(self, kind: str, key: Key) -> float:
        """(Concordant - discordant) / all, over the pairs of networks that differ in depth."""
        blocks, known, predicted = self.ranks[kind][key]
        agree = np.sign(known[:, None] - known) * np.sign(predicted[:, None] - predicted)
        return float(agree[blocks[:, None] != blocks].mean())

    def regret(self, kind: str, key: Key) -> float:
        """Points that the best of the supernet's top networks is below the best of the sample."""
        _, known, predicted = self.ranks[kind][key]
        return top_k(predicted, known, TOP).regret

    def mean_regret(self, kind: str, key: Key) -> float:
        """Points that the mean of the supernet's top networks is below that of the truly best."""
        _, known, predicted = self.ranks[kind][key]
        return top_k(predicted, known, TOP).mean_regret

    def alike(self, key: Key, layer: int, identity: bool) -> float:
        """Mean cosine similarity of a layer's outputs: identity with its blocks, or the blocks with each other."""
        rows = [row for row in self.similarity[key] if int(row["layer"]) == layer and row["a"] < row["b"]]
        found = [float(row["cosine"]) for row in rows if ("identity" in (row["a"], row["b"])) == identity]
        return float(np.mean(found)) if found else float("nan")

    def alike_where_kept(self, key: Key, identity: bool) -> float:
        """The mean of it over the layers whose identity keeps the shape."""
        return float(np.mean([self.alike(key, layer, identity) for layer in STABILIZED]))

    def unlike(self, key: Key, what: str) -> float:
        """Mean cosine or gain of the stabilizers' matrices."""
        return float(np.mean([float(row[what]) for row in self.stabilizers[key]]))

    def misfit(self, key: Key) -> float:
        """Deviation over paths of log(variance of the input / running), mean over the norms right behind the layers
        whose identity keeps the shape."""
        behind = (*(f"layers.{layer + 1}." for layer in STABILIZED), "head.bn2")
        rows = [row for row in self.batch_norms[key] if row["module"].startswith(behind)]
        found = [float(row["deviation"]) for row in rows if row["module"].endswith((".bn1", "head.bn2"))]
        return float(np.mean(found)) if found else float("nan")

    def jitter(self, key: Key) -> float:
        """Points by which running statistics move paths of equal depth: deviation of running less calibrated score."""
        blocks, _, calibrated = self.ranks["calibrated"][key]
        moved = self.ranks["running"][key][2] - calibrated
        return float(np.std(moved - np.array([moved[blocks == n].mean() for n in blocks])))

    def difference(self, kind: str, variant: str, within: bool = False) -> tuple[float, float, float] | None:
        """Mean tau of a variant less that of plain skips on the seeds of both, over all networks or within depths, and
        the 95% interval of a bootstrap that resamples seeds and networks."""
        seeds = [s for v, s in self.ranks[kind] if v == variant and ("skip", s) in self.ranks[kind]]
        if not seeds or variant == "skip":
            return None
        rng, pairs = np.random.default_rng(0), []
        everyone = np.arange(len(self.ranks[kind][variant, seeds[0]][1]))
        for _ in range(SAMPLES // 10):
            networks = rng.choice(everyone, len(everyone))
            deltas = [self._delta(kind, variant, seed, networks, within) for seed in seeds]
            pairs += [float(np.mean(rng.choice(deltas, len(deltas)))) for _ in range(10)]
        mean = float(np.mean([self._delta(kind, variant, seed, everyone, within) for seed in seeds]))
        return mean, *(float(q) for q in np.nanquantile(pairs, [0.025, 0.975]))

    def _delta(self, kind: str, variant: str, seed: int, networks: np.ndarray, within: bool) -> float:
        taus = []
        for name in (variant, "skip"):
            blocks, known, predicted = (column[networks] for column in self.ranks[kind][name, seed])
            with_depth = np.stack([predicted, blocks], axis=1)
            taus.append(tau_within(with_depth, known) if within else kendall(predicted, known))
        return taus[0] - taus[1]


def tau_within(predicted: np.ndarray, known: np.ndarray) -> float:
    """Mean of tau within groups of equal depth, weighted by their numbers of networks; small groups are left out.

    Args:
        predicted: Of each network the prediction and its number of blocks, (N, 2).
        known: (N,).
    """
    groups = [where for n in np.unique(predicted[:, 1]) if (where := predicted[:, 1] == n).sum() >= SMALLEST_GROUP]
    taus = [kendall(predicted[where, 0], known[where]) for where in groups]
    if not groups:
        return float("nan")
    return float(np.average(taus, weights=[where.sum() for where in groups]))


def summary(values: list[float], digits: int = 2) -> str:
    """Mean and standard deviation over seeds; the value alone where there is one."""
    if not values or np.isnan(values).all():
        return "-"
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.{digits}f}"


def tables(study: Study) -> str:
    """The tables as Markdown."""
    parts = [_training_table(study), _signal_table(study)]
    for kind in (kind for kind in BATCH_NORMS if study.ranks[kind]):
        parts += [_ranking_table(study, kind), _depth_table(study, kind), _cell_table(study, kind)]
    return "\n".join(parts)


def _table(caption: str, header: list[str], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]
    return "\n".join([f"{caption}:", "", *lines, ""])


def _training_table(study: Study) -> str:
    header = ["variant", "seeds", "top-1, %", "deviation over fair steps", "over the paths of a fair step"]
    rows = []
    for variant in study.variants:
        keys = [(variant, seed) for seed in study.seeds(variant)]
        figures = (study.training, study.wobble, study.spread)
        rows.append([variant, str(len(keys)), *(summary([figure(key) for key in keys]) for figure in figures)])
    return _table(f"Training, last {LAST} fair steps", header, rows)


def _signal_table(study: Study) -> str:
    header = ["variant", "seeds", "similarity of identity and blocks", "of blocks"]
    header += ["stabilizers' cosine to the identity", "their gain", "deviation of log variance", "of scores"]
    rows = []
    for variant in study.variants:
        keys = [key for key in study.similarity if key[0] == variant]
        figures = [summary([study.alike_where_kept(key, identity) for key in keys]) for identity in (True, False)]
        learnt = [key for key in keys if key in study.stabilizers]
        figures += [summary([study.unlike(key, what) for key in learnt]) for what in ("cosine", "gain")]
        figures.append(summary([study.misfit(key) for key in keys if key in study.batch_norms]))
        figures.append(summary([study.jitter(key) for key in keys if key in study.ranks["running"]]))
        rows.append([variant, str(len(keys)), *figures])
    return _table("Signals", header, rows)


def _ranking_table(study: Study, kind: str) -> str:
    header = ["variant", "seeds", "Kendall's tau", "less skip's [95%]", "within depths", "less skip's [95%]", "between"]
    header += ["paths' top-1, %", "its deviation over paths", f"top-{TOP} regret", "of its mean"]
    found = [(variant, [key for key in study.ranks[kind] if key[0] == variant]) for variant in study.variants]
    rows = [_ranking_row(study, kind, variant, keys) for variant, keys in found if keys]
    return _table(f"Ranking, {kind} batch norm", header, rows)


def _depth_table(study: Study, kind: str) -> str:
    """Tau among networks of equal depth, mean and deviation over seeds."""
    depths, counts = np.unique(next(iter(study.ranks[kind].values()))[0], return_counts=True)
    large = [int(depth) for depth, count in zip(depths, counts, strict=True) if count >= SMALLEST_GROUP]
    rows = []
    for variant in study.variants:
        keys = [key for key in study.ranks[kind] if key[0] == variant]
        rows.append([variant, *(summary([study.tau_at(kind, key, depth) for key in keys], 3) for depth in large)])
    return _table(f"Tau by depth, {kind} batch norm", ["variant", *(f"{n} blocks" for n in large)], rows)


def _cell_table(study: Study, kind: str) -> str:
    """Each supernet's tau with intervals over networks."""
    header = ["supernet", "Kendall's tau [95%]", "within depths [95%]"]
    rows = [[f"{key[0]}, seed {key[1]}", *map(str, study.estimates(kind, key))] for key in study.ranks[kind]]
    return _table(f"Each supernet, {kind} batch norm", header, rows)


def _ranking_row(study: Study, kind: str, variant: str, keys: list[Key]) -> list[str]:
    less = [study.difference(kind, variant, within) for within in (False, True)]
    overall, within = ["-" if d is None else "{:+.3f} [{:+.3f}, {:+.3f}]".format(*d) for d in less]
    scores = [study.ranks[kind][key][2] for key in keys]
    return [
        variant,
        str(len(keys)),
        summary([study.tau(kind, key) for key in keys], 3),
        overall,
        summary([study.tau_within(kind, key) for key in keys], 3),
        within,
        summary([study.tau_between(kind, key) for key in keys], 3),
        summary([float(score.mean()) for score in scores]),
        summary([float(score.std()) for score in scores]),
        summary([study.regret(kind, key) for key in keys]),
        summary([study.mean_regret(kind, key) for key in keys]),
    ]


def draw_curves(study: Study) -> Figure:
    """Training accuracy of the paths of a fair step, and its standard deviation over them, along the training."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    labels = {1: "top-1 of a fair step's paths, %", 2: "deviation of top-1 over a fair step's paths, points"}
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
        axes.set(xlabel="fair_steps", ylabel=label)
        axes.grid(alpha=0.3)
    shade = "; shade: deviation over seeds" if any(len(study.seeds(v)) > 1 for v in study.variants) else ""
    figure.axes[0].legend(title=f"variant (seeds){shade}", fontsize=8, title_fontsize=8)
    figure.suptitle(f"Training, mean of {SMOOTH} fair steps", fontsize=10)
    return figure


def _smooth(values: np.ndarray, window: int) -> np.ndarray:
    return np.convolve(values, np.ones(window) / window, mode="valid")


def draw_scatter(study: Study) -> Figure:
    """Known against predicted accuracy: a column a variant, its first seed, a row a kind of batch norm."""
    variants = [v for v in study.variants if any(key[0] == v for key in study.ranks["calibrated"])]
    kinds = [kind for kind in BATCH_NORMS if study.ranks[kind]]
    size = (2.6 * len(variants) + 1, 2.9 * len(kinds))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(kinds), len(variants), squeeze=False, sharey=True)
    for row, kind in enumerate(kinds):
        for axes, variant in zip(panels[row], variants, strict=True):
            key = next((key for key in study.ranks[kind] if key[0] == variant), None)
            if key is None:
                continue
            blocks, known, predicted = study.ranks[kind][key]
            points = axes.scatter(predicted, known, c=blocks, s=6, cmap="viridis", vmin=0, vmax=LAYERS, linewidths=0)
            axes.set_title(f"{variant}, seed {key[1]}, {kind}: tau {study.tau(kind, key):.3f}", fontsize=8)
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
    for kind, style in zip(BATCH_NORMS, ("o-", "x:"), strict=True):
        for number, variant in enumerate(study.variants):
            found = [value for key, value in study.ranks[kind].items() if key[0] == variant]
            if found:
                predicted = np.mean([accuracy for _, _, accuracy in found], axis=0)
                _plot_depth(paths, found[0][0], predicted, style, f"C{number}", f"{variant}, {kind} batch norm")
                blocks, known_accuracies = found[0][:2]
    _plot_depth(known, blocks, known_accuracies, "o-", "black", "trained alone (NAS-Bench-Macro)")
    paths.set_ylabel("top-1 of the supernet's paths, %")
    known.set_ylabel("known accuracy, %")
    for axes in figure.axes:
        axes.set_xlabel(f"identities among the {LAYERS} layers")
        axes.grid(alpha=0.3)
    paths.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))  # many variants fill the panel
    known.legend(fontsize=8)
    return figure


def _plot_depth(axes: Axes, blocks: np.ndarray, accuracy: np.ndarray, style: str, color: str, label: str) -> None:
    depths = np.unique(blocks)
    means = [accuracy[blocks == n].mean() for n in depths]
    axes.plot(LAYERS - depths, means, style, color=color, markersize=4, label=label)


def draw_similarity(study: Study) -> Figure:
    """How alike the outputs of a layer's choices are, layer by layer, mean over seeds."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for number, variant in enumerate(study.variants):
        keys = [key for key in study.similarity if key[0] == variant]
        for identity, style, label in ((True, "o-", "identity and blocks"), (False, "x:", "blocks")):
            means = (
                [np.mean([study.alike(key, layer, identity) for key in keys]) for layer in STABILIZED] if keys else []
            )
            axes.plot(STABILIZED[: len(means)], means, style, color=f"C{number}", label=f"{variant}: {label}")
    axes.set(xlabel="layer (those whose identity keeps the shape)", ylabel="cosine similarity of outputs")
    axes.set_xticks(STABILIZED)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def draw(name: str = NAME) -> None:
    """Figures, and the tables as Markdown beside the results."""
    study = Study(name)
    for kind, figure in (
        ("curves", draw_curves(study)),
        ("scatter", draw_scatter(study)),
        ("depth", draw_depth(study)),
        ("similarity", draw_similarity(study)),
    ):
        figure.savefig(FIGURES / f"{name}_{kind}.png", dpi=130)
    text = tables(study)
    (results(name) / "tables.md").write_text(text)
    print(text)


def main() -> None:
    match sys.argv[1:]:
        case ["collect", runs, *name]:
            collect(Path(runs), *name)
        case [] | ["draw"]:
            draw()
        case ["draw", name]:
            draw(name)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
