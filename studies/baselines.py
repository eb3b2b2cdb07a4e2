"""What a supernet and a search add to what needs no training, for docs/measurements.md and docs/worth.md.

python studies/baselines.py nasbench_macro_cifar10.json  # NAS-Bench-Macro's table; writes docs/results/baselines
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from anchors import NUMBERS, anchored, anchors_table, best_of
from matplotlib.figure import Figure
from resampling import Interval, Pairs, bca, crossed, holm, markdown, once, p_value, student
from study import HERE, STATISTICS, Rows, Study, figures, labels_of, results, spelled, write

from scarlet_models.inspection.plotting import new_axes, save, theme, themed
from scarlet_models.search.evolution.hypervolume import against_front
from scarlet_models.search.evolution.nsga import nondominated
from scarlet_models.search.scoring.known_accuracies import load_known_accuracies

FOLDER = "baselines"
ANCHORS = {"target": "log of error", "penalty": "leave-one-out"}  # what the figure shows
FIGURES = {"best": 2, "front": 2, "hypervolume": 3}  # of a front, and the digits that are shown
COMPARED = ("block count", "sum of log(1 + choice)")  # labels that NSGA-II's figures are compared with
SEARCHES = {"NSGA-II, 300 networks": "seed_*", "surrogate, 100 networks": "surrogate_*"}


class Table:
    """All networks of known accuracy, and what a front of some of them is worth, as `evolve` says it.

    Args:
        choices: (N, layers).
        macs: (N,).
        known: (N,), in percent.
    """

    def __init__(self, choices: np.ndarray, macs: np.ndarray, known: np.ndarray) -> None:
        self.choices, self.macs, self.known = choices, macs, known
        values = np.stack([-known, macs], axis=1)
        self.best = values[nondominated(values)]
        self.volume = against_front(self.best)

    def worth(self, scores: np.ndarray) -> dict[str, float]:
        """Of the front by these scores and MACs: points below the best network, points below the best network that
        costs no more (mean over the front), hypervolume as a share of the best, and how many networks it has."""
        front = nondominated(np.stack([-scores, self.macs.astype(float)], axis=1))
        rivals = self.macs <= self.macs[front][:, None]
        lacking = np.where(rivals, self.known, -np.inf).max(1) - self.known[front]
        own = np.stack([-self.known[front], self.macs[front]], axis=1)
        top = front[np.lexsort((self.macs[front], -scores[front]))[0]]
        return {
            "best": float(self.known.max() - self.known[top]),
            "front": float(lacking.mean()),
            "hypervolume": self.volume(own) / self.volume(self.best),
            "networks": float(len(front)),
        }


def ranking(study: Study, intervals: bool = True) -> Rows:
    """Kendall's tau of each label and each variant's supernets over the study's networks.

    Args:
        study: Its networks and supernets.
        intervals: Also bootstrap, which takes seconds.
    """
    networks = len(study.known)
    rows = []
    for name, label in study.labels().items():
        tau = Pairs(label, study.known).tau
        interval = bca(tau, networks) if intervals else Interval(float(tau(once(networks))[0]))
        rows.append(_row(ranked_by=name, statistics="", seeds="", tau=interval, interval="BCa over networks"))
    blocks = Pairs(study.blocks, study.known)
    for kind in STATISTICS:
        for variant in study.variants:
            pairs = [Pairs(study.scores[kind][variant, seed], study.known) for seed in study.seeds(variant)]
            taus = [float(one.tau(once(networks))[0]) for one in pairs]
            common = {"ranked_by": variant, "statistics": kind, "seeds": str(len(taus))}
            row = _row(**common, tau=student(taus), interval="Student over seeds") | {"best_seed": f"{max(taus):.6f}"}
            row |= _ends("to_blocks", student([tau - float(blocks.tau(once(networks))[0]) for tau in taus]))
            if intervals:
                both = [lambda weights, one=one: one.tau(weights) - blocks.tau(weights) for one in pairs]
                row |= _ends("to_blocks_both", crossed(both, networks))
            rows.append(row)
    return [{key: row.get(key, "") for key in rows[-1]} for row in rows]


def _row(tau: Interval, **labels: str) -> dict[str, str]:
    return labels | _ends("tau", tau)


def _ends(name: str, interval: Interval) -> dict[str, str]:
    ends = {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return {key: f"{value:.6f}" for key, value in ends.items()}


def ranking_table(rows: Rows) -> str:
    """The ranking as Markdown."""
    cells = []
    for row in rows:
        if row["statistics"]:
            both = ", ".join(_number(row[key], "+") for key in ("to_blocks_both_low", "to_blocks_both_high"))
            more = [_number(row["best_seed"], ""), _interval(row, "to_blocks", "+"), f"[{both}]"]
            cells.append([f"{row['ranked_by']}, {row['statistics']}", _interval(row, "tau", ""), *more])
        else:
            cells.append([f"{row['ranked_by']} (no training)", _interval(row, "tau", ""), "-", "-", "-"])
    header = ["ranked by", "tau-b [95% CI]", "best seed", "Δ to block count [95% CI, seeds]", "[seeds, networks]"]
    return markdown("Ranking of 500 networks", header, cells)


def _interval(row: dict[str, str], name: str, sign: str, digits: int = 3) -> str:
    value, low, high = (_number(row[key], sign, digits) for key in (name, f"{name}_low", f"{name}_high"))
    return f"{value} [{low}, {high}]"


def _number(text: str, sign: str, digits: int = 3) -> str:
    return f"{float(text):{sign}.{digits}f}"


def fronts(table: Table, labels: Mapping[str, np.ndarray], searches: Mapping[str, Any]) -> Rows:
    """What each label's front over the whole table is worth, and what the searches' fronts are, mean over seeds."""
    rows = []
    for name, scores in labels.items():
        worth = table.worth(scores)
        rows.append({"by": name, "searches": "0"} | {key: f"{value:.6f}" for key, value in worth.items()})
    for name, found in searches.items():
        row = {"by": name, "searches": str(len(found))}
        for figure in (*FIGURES, "networks"):
            values = [one[figure] for one in found]
            row |= {figure: f"{np.mean(values):.6f}", f"{figure}_sd": f"{np.std(values, ddof=1):.6f}"}
        rows.append(row)
    return [{key: row.get(key, "") for key in rows[-1]} for row in rows]


def comparisons(found: Mapping[str, Sequence[Mapping[str, float]]], labels: Rows) -> Rows:
    """NSGA-II's figures minus those of the other searches, paired by seed, and of labels; Student's intervals over
    seeds, and Holm's correction over all of these tests."""
    name, *others = found
    rivals = {other: found[other] for other in others}
    rivals |= {row["by"]: [{key: float(row[key]) for key in FIGURES}] for row in labels if row["by"] in COMPARED}
    tests = {}
    for other, rival in rivals.items():
        for figure in FIGURES:
            own, theirs = ([side[figure] for side in sides] for sides in (found[name], rival))
            tests[other, figure] = student(list(np.subtract(own, theirs)))
    adjusted = holm([interval.p for interval in tests.values()])
    return [
        {"to": other, "figure": figure, **_ends("difference", interval), "p": f"{interval.p:.6f}", "holm": f"{p:.6f}"}
        for ((other, figure), interval), p in zip(tests.items(), adjusted, strict=True)
    ]


def comparisons_table(rows: Rows) -> str:
    """The comparisons as Markdown."""
    cells: dict[str, list[str]] = {}
    for row in rows:
        difference = _interval(row, "difference", "+", FIGURES[row["figure"]])
        cells.setdefault(row["to"], [row["to"]]).extend([difference, p_value(float(row["holm"]))])
    header = [
        "Δ to",
        "best network [95% CI]",
        "Holm's p",
        "front [95% CI]",
        "Holm's p",
        "hypervolume [95% CI]",
        "Holm's p",
    ]
    return markdown("NSGA-II's figures minus those of the others", header, list(cells.values()))


def searched() -> dict[str, list[dict[str, float]]]:
    """Regrets of the searches on file, one a seed, and of the random searches beside them."""
    found: dict[str, list[dict[str, float]]] = {}
    for name, pattern in SEARCHES.items():
        paths = sorted((HERE / "results" / "search").glob(f"{pattern}.json"))
        reports = [json.loads(path.read_text()) for path in paths]
        found[name] = [_regret(report["regret"]["evolution"], report["front"]) for report in reports]
        randoms = [(report["regret"]["random"], report["random"]["front"]) for report in reports if report["random"]]
        if randoms:
            found["random search, 300 networks"] = [_regret(*one) for one in randoms]
    return found


def _regret(regret: dict[str, float], front: list[Any]) -> dict[str, float]:
    return regret | {"networks": float(len(front))}


def fronts_table(rows: Rows) -> str:
    """The fronts as Markdown."""
    cells = []
    for row in rows:
        name = row["by"] if int(row["searches"]) else f"{row['by']} (no training)"
        cell = [name]
        for key, digits in (*FIGURES.items(), ("networks", 0)):
            sd = f" ± {_number(row[f'{key}_sd'], '', digits)}" if row[f"{key}_sd"] else ""
            cell.append(_number(row[key], "", digits) + sd)
        cells.append(cell)
    header = ["front by", "best network: points below", "front: points below", "hypervolume", "networks on it"]
    return markdown("Fronts in accuracy and MACs, by NAS-Bench-Macro's accuracies", header, cells)


@themed
def draw(rows: Rows, anchors: Rows) -> Figure:
    """Tau of everything that ranks the study's networks."""
    groups: dict[str, list[tuple[str, list[float]]]] = {"no training": [], "supernets": [], "regressions": []}
    for row in rows:
        kind = row["statistics"]
        source = f"{spelled(row['ranked_by'])}; {kind} statistics" if kind else row["ranked_by"]
        ends = [float(row[key]) for key in ("tau", "tau_low", "tau_high")]
        groups["supernets" if kind else "no training"].append((source, ends))
    for number in NUMBERS:
        for score, name in (("no", "without a supernet"), ("yes", "with a supernet")):
            tau = float(best_of(anchors, anchors=str(number), score=score, **ANCHORS)["tau"])
            groups["regressions"].append((f"{number} known accuracies, {name}", [tau] * 3))
    names = [name for bars in groups.values() for name, _ in bars]
    figure, axes = new_axes(
        x="Kendall's tau-b, with 95% interval where there is one", size=(8, 0.27 * len(names) + 1.4)
    )
    place = iter(range(len(names)))
    for number, (group, bars) in enumerate(groups.items()):
        tau, low, high = np.array([ends for _, ends in bars]).T
        places = [next(place) for _ in bars]
        axes.errorbar(tau, places, xerr=[tau - low, high - tau], fmt="o", color=f"C{number}", capsize=2, label=group)
    blocks = next(float(row["tau"]) for row in rows if row["ranked_by"] == "block count")
    axes.axvline(blocks, color=theme().ink, lw=0.9, ls=":", label="block count")
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    study = Study()
    known = load_known_accuracies(Path(sys.argv[1]), study.space)
    choices = np.array([genotype.choices for genotype in known])
    table = Table(choices, study.space.costs(choices)[0], np.array(list(known.values())))
    searches = searched()
    found = {
        "ranking": ranking(study),
        "fronts": fronts(table, labels_of(study.space, choices), searches),
        "anchors": anchored(study),
    }
    found["comparisons"] = comparisons(searches, found["fronts"])
    results(FOLDER).mkdir(exist_ok=True)
    for name, rows in found.items():
        write(results(FOLDER) / f"{name}.csv", rows)
    parts = [ranking_table(found["ranking"]), fronts_table(found["fronts"])]
    parts += [comparisons_table(found["comparisons"]), anchors_table(found["anchors"])]
    (results(FOLDER) / "tables.md").write_text("\n".join(parts))
    save(draw(found["ranking"], found["anchors"]), figures() / "baselines.png")
    print("\n".join(parts))


if __name__ == "__main__":
    main()
