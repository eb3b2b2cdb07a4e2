"""How far a few known accuracies go, with and without a supernet: ridge regressions on NAS-Bench-Macro's networks.

Exploratory: features, targets and penalties were not fixed beforehand. `baselines.py` runs it.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from resampling import markdown, student
from scipy import stats
from sklearn.linear_model import Ridge, RidgeCV
from study import Rows, Study

NUMBERS, DRAWS = (10, 20, 50), 30
PENALTIES = {"leave-one-out": np.logspace(-3, 3, 13), "10": np.array([10.0])}
TARGETS = {"accuracy": lambda known: known, "log of error": lambda known: -10 * np.log(100 - known)}


def features_of(study: Study) -> dict[str, np.ndarray]:
    """What describes the networks without a supernet: sets of features (networks, features).

    Figures have mean 0 and variance 1; choices are 0 or 1 for each choice of each layer, less their mean.
    """
    labels = study.labels()
    depth, macs = (scaled(labels[name]) for name in ("block count", "MACs"))
    at_reductions = scaled((study.choices[:, study.projecting] != study.space.identity).sum(1))
    numbers = range(len(study.space.choices))
    choices = np.concatenate([study.choices == choice for choice in numbers], axis=1).astype(float)
    choices -= choices.mean(0)
    return {
        "depth": depth,
        "choices": choices,
        "depth, choices": np.hstack([depth, choices]),
        "depth, MACs, blocks at reductions": np.hstack([depth, macs, at_reductions]),
        "depth, MACs, blocks at reductions, choices": np.hstack([depth, macs, at_reductions, choices]),
    }


def scaled(figure: np.ndarray) -> np.ndarray:
    """(N, 1) with mean 0 and variance 1."""
    return ((figure - figure.mean()) / figure.std())[:, None]


def taus(features: np.ndarray, known: np.ndarray, number: int, penalties: np.ndarray) -> np.ndarray:
    """Tau-b on the networks that were not drawn, for each draw of anchors; 0 where the prediction is constant."""
    found = []
    for draw in range(DRAWS):
        order = np.random.default_rng(draw).permutation(len(known))
        drawn, others = order[:number], order[number:]
        model = RidgeCV(penalties) if len(penalties) > 1 else Ridge(penalties[0])
        predicted = model.fit(features[drawn], known[drawn]).predict(features[others])
        found.append(np.nan_to_num(stats.kendalltau(predicted, known[others]).statistic))
    return np.array(found)


def anchored(study: Study) -> Rows:
    """Tau of each regression: mean over draws and, with the recalibrated score of one, over the study's supernets.

    A regression with a score has its difference to the best one without, which is chosen in hindsight, with Student's
    intervals over supernets and over draws.
    """
    plain, rows = features_of(study), []
    scores = [scaled(score) for score in study.scores["recalibrated"].values()]
    for (target, transform), (penalty, grid), number in product(TARGETS.items(), PENALTIES.items(), NUMBERS):
        known = transform(study.known)
        common = {"target": target, "penalty": penalty, "anchors": str(number)}
        without = {name: taus(matrix, known, number, grid) for name, matrix in plain.items()}
        for name, found in without.items():
            rows.append(common | {"score": "no", "features": name, "tau": f"{found.mean():.6f}"})
        best = max(without.values(), key=np.mean)
        for name, matrix in plain.items():
            found = np.array([taus(np.hstack([score, matrix]), known, number, grid) for score in scores])
            supernets, draws = (student(list((found - best).mean(axis))) for axis in (1, 0))
            ends = {"tau": found.mean(), "difference": supernets.value}
            ends |= {"supernets_low": supernets.low, "supernets_high": supernets.high}
            ends |= {"draws_low": draws.low, "draws_high": draws.high}
            row = common | {"score": "yes", "features": name}
            rows.append(row | {key: f"{value:.6f}" for key, value in ends.items()})
    return [{key: row.get(key, "") for key in rows[-1]} for row in rows]


def best_of(rows: Rows, **labels: str) -> dict[str, str]:
    """The row of the highest tau among those with these labels."""
    return max((row for row in rows if labels.items() <= row.items()), key=lambda row: float(row["tau"]))


def anchors_table(rows: Rows) -> str:
    """The best regressions as Markdown."""
    cells = []
    for target, penalty, number in product(TARGETS, PENALTIES, map(str, NUMBERS)):
        labels = {"target": target, "penalty": penalty, "anchors": number}
        without, best = (best_of(rows, score=score, **labels) for score in ("no", "yes"))
        ends = {key: f"{float(best[key]):+.3f}" for key in list(best)[-5:]}
        taus = [f"{float(row['tau']):.3f}" for row in (without, best)]
        difference = f"{ends['difference']} [{ends['supernets_low']}, {ends['supernets_high']}]"
        cells.append([number, target, penalty, *taus, difference, f"[{ends['draws_low']}, {ends['draws_high']}]"])
    header = ["known accuracies", "target", "penalty", "no supernet", "with score", "Δ [95% CI, supernets]", "[draws]"]
    return markdown("Ridge regressions on known accuracies, tau-b on the other networks", header, cells)
