"""Ten anchors on NAS-Bench-Macro: how well a supernet's corrected scores rank the other networks.

For each of the nine supernets of docs/stabilizer.md, anchors are drawn at random from its 500 scored networks, and
Kendall's tau-b is taken over all others. Beside the raw scores stand regressions on the same anchors without a
supernet: the same one, and ridge regressions on other features of the genotype. The difference to the best of them is
paired by draw; its interval is the 95% percentile interval of a bootstrap that resamples supernets and draws (10,000
times). Exploratory: features and models were chosen on these scores. The scores on file have no losses. Nothing is
trained; about ten minutes on a core. Output: docs/results/anchors.txt.

python benchmarks/anchors.py
python benchmarks/anchors.py --anchors 20 --batch-norm running
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from scipy.special import logit
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scarlet_models.search.scoring.anchors import Anchors
from scarlet_models.search.scoring.baselines import label_free
from scarlet_models.search.scoring.ranking import kendall
from scarlet_models.search.scoring.score_cache import Score
from scarlet_models.space.space import Genotype, SearchSpace

SAME = "the same without the supernet"
RESULTS = Path(__file__).parents[1] / "docs/results/stabilizer/rankings.csv"


def read_scores(path: Path, batch_norm: str) -> tuple[list[Genotype], np.ndarray, dict[str, np.ndarray]]:
    """The networks, their known accuracies, and the top-1 (N,) by supernet."""
    space, rows = SearchSpace.load("nas_bench_macro"), dict[str, dict[str, dict[str, str]]]()
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["batch_norm"] == batch_norm:
                rows.setdefault(f"{row['variant']}_s{row['seed']}", {})[row["genotype"]] = row
    first = next(iter(rows.values()))
    scores = {name: np.array([float(own[text]["predicted"]) for text in first]) for name, own in rows.items()}
    known = np.array([float(row["known"]) for row in first.values()])
    return [Genotype.parse(text, space) for text in first], known, scores


def plain_features(genotypes: list[Genotype]) -> dict[str, np.ndarray]:
    """Features (N, F) of the genotype alone by what they are."""
    rows, (single, combined) = np.array([g.choices for g in genotypes]), label_free(genotypes)
    one_hot = (rows[:, :, None] == np.arange(len(genotypes[0].space.choices))).reshape(len(rows), -1).astype(float)
    at_reductions = combined["blocks at reductions, then MACs"] // (len(rows) + 1)
    depth = single["blocks"][:, None]
    return {
        "one-hot": one_hot,
        "depth + one-hot": np.concatenate([depth, one_hot], axis=1),
        "depth + MACs + blocks at reductions": np.stack([single["blocks"], single["MACs"], at_reductions], axis=1),
    }


def ridge(features: np.ndarray, accuracy: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Predictions of a ridge regression on log-odds, its strength by leave-one-out."""
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))
    return np.asarray(model.fit(features, logit(accuracy / 100)).predict(others))


def interval(differences: np.ndarray, samples: int = 10_000) -> tuple[float, float]:
    """The 95% percentile interval of the mean of (supernets, draws) over resampled supernets and draws."""
    rng = np.random.default_rng(0)
    rows, columns = (rng.integers(size, size=(samples, size)) for size in differences.shape)
    means = [differences[np.ix_(row, column)].mean() for row, column in zip(rows, columns, strict=True)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


class Trials:
    """Kendall's tau-b of each way to predict, over draws of anchors.

    Attributes:
        with_supernet: By name, (supernets, draws).
        without: By name, (draws,).
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.genotypes, self.known, self.scores = read_scores(options.rankings, options.batch_norm)
        self.rows, self.plain = np.array([g.choices for g in self.genotypes]), plain_features(self.genotypes)
        shape = len(self.scores), options.draws
        self.with_supernet = {name: np.empty(shape) for name in ("raw score", "anchored", "as evolve uses it")}
        self.without = {name: np.empty(options.draws) for name in (SAME, *self.plain)}
        for draw in range(options.draws):
            drawn = np.random.default_rng(draw).permutation(len(self.rows))
            self._run(draw, drawn[: options.anchors], drawn[options.anchors :])

    def _run(self, draw: int, chosen: np.ndarray, others: np.ndarray) -> None:
        known = self.known[others]
        for name, features in self.plain.items():
            self.without[name][draw] = kendall(ridge(features[chosen], self.known[chosen], features[others]), known)
        for number, top1 in enumerate(self.scores.values()):
            scores = [Score(float(value), 0.0, 1) for value in top1]
            anchors = Anchors({self.genotypes[i]: self.known[i] for i in chosen}, [scores[i] for i in chosen])
            anchored = anchors.predict(self.rows[others], [scores[i] for i in others])
            used = anchored if anchors.better else top1[others]
            for values, predicted in zip(self.with_supernet.values(), (top1[others], anchored, used), strict=True):
                values[number, draw] = kendall(predicted, known)
        self.without[SAME][draw] = kendall(anchors.predict_without(self.rows[others]), known)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rankings", type=Path, default=RESULTS)
    parser.add_argument("--batch-norm", default="recalibrated", choices=["recalibrated", "running"])
    parser.add_argument("--anchors", type=int, default=10)
    parser.add_argument("--draws", type=int, default=30)
    options = parser.parse_args()
    trials = Trials(options)
    print(f"{len(trials.scores)} supernets, {options.batch_norm}; {options.anchors} anchors, {options.draws} draws")
    for name, values in (trials.with_supernet | trials.without).items():
        print(f"{name:37} tau {values.mean():.3f}  deviation over draws {values.std(axis=-1, ddof=1).mean():.3f}")
    best = max(trials.without, key=lambda name: trials.without[name].mean())
    differences = trials.with_supernet["anchored"] - trials.without[best]
    low, high = interval(differences)
    print(f"anchored minus {best!r}, the best of those: {differences.mean():+.3f}  95% [{low:+.3f}, {high:+.3f}]")


if __name__ == "__main__":
    main()
