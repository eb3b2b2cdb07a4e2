"""What docs/results holds of a study of the stabilizer, as arrays, and the figures that its tables and plots show."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from resampling import Interval, Pairs, bca, once, student

from scarlet_models.files import write_text
from scarlet_models.search.ablation.study import VARIANTS
from scarlet_models.space.space import SearchSpace

HERE = Path(__file__).parents[1] / "docs"
NAME = "stabilizer"
STATISTICS = ("recalibrated", "running")  # of batch norm
LAST_PART = 0.25  # of the fair steps: the part that stands for the last epoch where a training has less than one
LAST = 50  # fair steps at the end whose mean is the training accuracy
TOP = 10
SMALLEST_GROUP = 20  # networks of equal depth, to be ranked among themselves

NAMES = {  # of variants, as figures say them
    "skip": "plain skips",
    "torch": "stabilizers, random initialisation",
    "identity": "stabilizers, identity initialisation",
    "orthogonal": "stabilizers, orthogonal initialisation",
    "identity_noise": "stabilizers, identity with noise",
    "bn": "stabilizers with batch norm",
    "relu": "stabilizers with batch norm and ReLU",
    "uniform": "stabilizers, uniform sampling",
    "skip_uniform": "plain skips, uniform sampling",
}

Rows = list[dict[str, str]]
Key = tuple[str, int]  # variant and seed


def results(name: str) -> Path:
    """A study's folder."""
    return HERE / "results" / name


def figures() -> Path:
    """Where plots go."""
    return HERE / "figures"


def spelled(variant: str) -> str:
    """A variant's name in words."""
    return NAMES.get(variant, variant)


def read(path: Path) -> Rows:
    """A CSV's rows; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Rows as CSV. Its columns are those of all rows; cells that a row lacks are empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def append(path: Path, row: Mapping[str, object]) -> None:
    """A row at the end of a CSV, which begins with a header; the program ends if the header has other columns."""
    with path.open("a+", newline="") as file:
        file.seek(0)
        header, writer = next(csv.reader(file), None), csv.DictWriter(file, list(row), lineterminator="\n")
        if header is None:
            writer.writeheader()
        elif header != list(row):
            sys.exit(f"{path}: its columns are {', '.join(header)}, not {', '.join(row)}; rename or mend the file")
        writer.writerow(row)


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
    """A study's results as arrays. Every supernet of a study scored the same networks.

    Args:
        name: The folder in docs/results.
        space: The space of its networks.
    """

    def __init__(self, name: str = NAME, space: str = "nas_bench_macro") -> None:
        self.space = SearchSpace.load(space)
        self.stabilized = [layer.index for layer in self.space.layers if layer.keeps_shape]
        self.projecting = [layer.index for layer in self.space.layers if not layer.keeps_shape]
        folder = results(name)
        curves = group(read(folder / "curves.csv"))
        self.curves = {key: columns(rows, "step", "top1", "top1_std") for key, rows in curves.items()}
        self.variants = list(dict.fromkeys(variant for variant, _ in self.curves))
        rankings = read(folder / "rankings.csv")
        ranked = {kind: group([row for row in rankings if row["batch_norm"] == kind]) for kind in STATISTICS}
        self.scores = {
            kind: {key: columns(rows, "predicted")[0] for key, rows in cells.items()} for kind, cells in ranked.items()
        }
        self.losses = {
            kind: {key: columns(rows, "loss")[0] for key, rows in cells.items() if all(row.get("loss") for row in rows)}
            for kind, cells in ranked.items()
        }
        networks = next(iter(next(cells for cells in ranked.values() if cells).values()))
        self.choices = np.array([[int(choice) for choice in row["genotype"].split(",")] for row in networks])
        self.blocks, self.known = columns(networks, "blocks", "known")
        self.similarity = group(read(folder / "similarity.csv"))
        self.one_shot = group(read(folder / "one_shot.csv"))
        self.stabilizers = group(read(folder / "stabilizers.csv"))
        self.batch_norms = group(read(folder / "batch_norms.csv"))

    def seeds(self, variant: str) -> list[int]:
        """Those with a curve."""
        return [seed for name, seed in self.curves if name == variant]

    def labels(self) -> dict[str, np.ndarray]:
        """What ranks the networks without any training (N,)."""
        return labels_of(self.space, self.choices)

    def training(self, key: Key) -> float:
        """One-shot training accuracy: mean over the last fair steps."""
        return float(self.curves[key][1][-LAST:].mean())

    def last_part(self, key: Key) -> tuple[np.ndarray, np.ndarray]:
        """One-shot training accuracy in the last part of the fair steps: their means, and deviations over paths."""
        steps, top1, deviation = self.curves[key]
        last = steps > (1 - LAST_PART) * steps[-1]
        return top1[last], deviation[last]

    def wobble(self, key: Key) -> float:
        """Standard deviation over the last fair steps of a fair step's mean accuracy."""
        return float(self.curves[key][1][-LAST:].std(ddof=1))

    def spread(self, key: Key) -> float:
        """Standard deviation over the paths of a fair step, mean over the last fair steps."""
        return float(self.curves[key][2][-LAST:].mean())

    def accuracy(self, kind: str, key: Key) -> float:
        """Mean top-1 of the scored paths."""
        return float(self.scores[kind][key].mean())

    def deviation(self, kind: str, key: Key) -> float:
        """Standard deviation of top-1 over the scored paths."""
        return float(self.scores[kind][key].std())

    def tau(self, kind: str, key: Key) -> float:
        """Kendall's tau-b over all networks."""
        return float(self.taus(self.scores[kind][key])(once(len(self.known)))[0])

    def within(self, kind: str, key: Key) -> float:
        """Mean of tau-b within groups of equal depth, weighted by their numbers of networks."""
        return float(self.taus_within(self.scores[kind][key])(once(len(self.known)))[0])

    def taus(self, scores: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """Tau-b of scores as a statistic of weights."""
        return Pairs(scores, self.known).tau

    def taus_within(self, scores: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """Tau-b within depths as a statistic of weights."""
        pairs = Pairs(scores, self.known)
        return lambda weights: pairs.tau_within(weights, self.blocks, SMALLEST_GROUP)

    def tau_at(self, kind: str, key: Key, depth: int) -> float:
        """Tau-b over the networks of that many blocks."""
        weights = (self.blocks == depth).astype(float)[None]
        return float(self.taus(self.scores[kind][key])(weights)[0])

    def regret(self, kind: str, key: Key) -> float:
        """Points by which the best of the supernet's top networks is below the best of the sample."""
        taken = np.argsort(-self.scores[kind][key], kind="stable")[:TOP]
        return float(self.known.max() - self.known[taken].max())

    def difference(self, figure: Callable[[Key], float], variant: str) -> Interval:
        """A figure of a variant minus that of plain skips, mean over the seeds of both, with Student's interval."""
        return student([figure((variant, seed)) - figure(("skip", seed)) for seed in self.seeds(variant)])

    def difference_of_taus(self, kind: str, variant: str, within: bool = False) -> Interval:
        """The same of tau; where there is one seed, with the BCa interval over networks."""
        seeds = self.seeds(variant)
        if len(seeds) > 1:
            figure = self.within if within else self.tau
            return self.difference(lambda key: figure(kind, key), variant)
        statistic = self.taus_within if within else self.taus
        one, other = (statistic(self.scores[kind][name, seeds[0]]) for name in (variant, "skip"))
        return bca(lambda weights: one(weights) - other(weights), len(self.known))

    def alike(self, key: Key, layer: int, identity: bool, plain: bool = False) -> float:
        """Mean cosine similarity of a layer's outputs: identity with its blocks, or the blocks with each other.

        `plain` leaves out the blocks with SE.
        """
        rows = [row for row in self.similarity[key] if int(row["layer"]) == layer and row["a"] < row["b"]]
        rows = [row for row in rows if not (plain and any(row[name].endswith(" se") for name in ("a", "b")))]
        found = [float(row["cosine"]) for row in rows if ("identity" in (row["a"], row["b"])) == identity]
        return float(np.mean(found)) if found else float("nan")

    def alike_where_kept(self, key: Key, identity: bool, plain: bool = False) -> float:
        """The mean of it over the layers whose identity keeps the shape."""
        return float(np.mean([self.alike(key, layer, identity, plain) for layer in self.stabilized]))

    def weights(self, key: Key, what: str) -> float:
        """Mean cosine to the identity, or gain, of the stabilizers' matrices."""
        return float(np.mean([float(row[what]) for row in self.stabilizers[key]]))

    def misfit(self, key: Key) -> float:
        """Standard deviation over paths of log(variance of the input / running variance), mean over the norms right
        behind the layers whose identity keeps the shape."""
        behind = (*(f"layers.{layer + 1}." for layer in self.stabilized), "head.bn2")
        rows = [row for row in self.batch_norms[key] if row["module"].startswith(behind)]
        found = [float(row["deviation"]) for row in rows if row["module"].endswith((".bn1", "head.bn2"))]
        return float(np.mean(found)) if found else float("nan")

    def moved(self, key: Key) -> float:
        """Points by which running statistics move paths of equal depth: standard deviation of running minus
        recalibrated score."""
        moved = self.scores["running"][key] - self.scores["recalibrated"][key]
        return float(np.std(moved - np.array([moved[self.blocks == n].mean() for n in self.blocks])))


def labels_of(space: SearchSpace, choices: np.ndarray) -> dict[str, np.ndarray]:
    """What ranks networks (N, layers) without any training, by name (N,)."""
    macs, params = space.costs(choices)
    blocks = choices != space.identity
    labels = {"block count": blocks.sum(1)}
    at_reductions = blocks[:, [layer.index for layer in space.layers if not layer.keeps_shape]].sum(1)
    if np.ptp(at_reductions):
        labels["blocks at reductions, then MACs"] = at_reductions + macs / (2 * macs.max())
    if space.identity == 0:  # and the other choices are in the order of their size
        # Rounded, so that networks with the same choices tie.
        labels["sum of log(1 + choice)"] = np.log1p(choices).sum(1).round(9)
    labels |= {"MACs": macs, "params": params}
    return {name: label.astype(float) for name, label in labels.items()}
