"""Table and figure of docs/measurements.md on searches over seeds: how good are the networks they find?

python studies/search_seeds.py docs/results/search/seed_*.json --surrogate docs/results/search/surrogate_*.json \\
    --known nas-bench-macro_cifar10.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy import stats
from study import HERE, labels_of

from scarlet_models.inspection.plotting import new_axes, save, theme, themed
from scarlet_models.search.evolution.nsga import nondominated
from scarlet_models.search.scoring.known_accuracies import load_known_accuracies
from scarlet_models.space.space import SearchSpace

NAMES = {"evolution": "the search", "random": "random search, as many networks"}
UNTRAINED = ("block count", "sum of log(1 + choice)")  # labels whose fronts are drawn
FIGURES = {
    "best": "its most accurate network: points below the best of the table",
    "front": "its front: points below the table's best network that costs no more, mean",
    "hypervolume": "hypervolume of its front by known accuracy, share of the table's",
}

Steps = tuple[np.ndarray, np.ndarray]


def best_below(macs: np.ndarray, accuracy: np.ndarray) -> Steps:
    """The fronts' steps: MACs in ascending order, and the best accuracy up to there."""
    order = np.argsort(macs)
    return macs[order], np.maximum.accumulate(accuracy[order])


def table(sides: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Markdown: mean and s.d. over seeds of each side's figures; difference of the first side to each other, paired by
    seed, with Student's 95% interval."""
    first, *others = sides
    differences = [f"Δ to {name} [95% CI]" for name in others]
    lines = [f"| | {' | '.join([*sides, *differences])} |", "|---" * (1 + len(sides) + len(others)) + "|"]
    for key, meaning in FIGURES.items():
        values = {name: np.array([regret[key] for regret in regrets]) for name, regrets in sides.items()}
        cells = [f"{side.mean():.3f} ± {side.std(ddof=1):.3f}" for side in values.values()]
        cells += [_difference(values[first] - values[name]) for name in others]
        lines.append(f"| {meaning} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _difference(values: np.ndarray) -> str:
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    return f"{values.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


@themed
def draw(searches: Sequence[Mapping[str, Any]], known: Steps, untrained: Mapping[str, Steps]) -> Figure:
    """Known accuracy of fronts against MACs: median and range over seeds, labels that need no training, the best."""
    figure, axes = new_axes(x="MACs (millions)", y="known accuracy of the front (%)", size=(7, 5))
    for number, (name, label) in enumerate(NAMES.items()):
        fronts = []
        for search in searches:
            front = (search if name == "evolution" else search["random"])["front"]
            fronts.append(
                best_below(*(np.array([record[key] for record in front]) for key in ("macs", "true_accuracy")))
            )
        grid = np.unique(np.concatenate([macs for macs, _ in fronts]))
        at = np.array([_at(grid, *front) for front in fronts])
        look = {"step": "post", "alpha": 0.2, "lw": 0, "color": f"C{number}"}
        axes.fill_between(grid / 1e6, at.min(0), at.max(0), **look)
        label = f"{label}: median and range of {len(fronts)} seeds"
        axes.step(grid / 1e6, np.median(at, axis=0), where="post", color=f"C{number}", lw=1.8, label=label)
    lines = {f"{name}, no training": front for name, front in untrained.items()} | {"the table's front": known}
    styles = (("C2", "--"), ("C4", "-."), (theme().ink, "-"))
    for (label, (macs, accuracy)), (colour, style) in zip(lines.items(), styles, strict=True):
        axes.step(macs / 1e6, accuracy, where="post", color=colour, ls=style, lw=1.3, label=label)
    axes.set(ylim=(known[1].max() - 8, known[1].max() + 0.5), xlim=(15, None))
    axes.legend(loc="lower right")
    return figure


def _at(grid: np.ndarray, macs: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
    """The steps' height at each place; 0 before the first."""
    return np.concatenate([[0.0], accuracy])[np.searchsorted(macs, grid, side="right")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("searches", nargs="+", type=Path, help="search.json of evolve, one a seed")
    parser.add_argument("--surrogate", nargs="*", default=[], type=Path, help="search.json of its searches, same seeds")
    parser.add_argument("--known", required=True, help="known accuracies, as evolve took them")
    parser.add_argument("--space", default="nas_bench_macro")
    args = parser.parse_args()
    searches = [json.loads(path.read_text()) for path in args.searches]
    space = SearchSpace.load(args.space)
    known_accuracies = load_known_accuracies(args.known, space)
    choices = np.array([genotype.choices for genotype in known_accuracies])
    accuracy, (macs, _) = np.array(list(known_accuracies.values())), space.costs(choices)
    untrained = {}
    for name, label in labels_of(space, choices).items():
        if name in UNTRAINED:
            front = nondominated(np.stack([-label, macs], axis=1))
            untrained[name] = best_below(macs[front], accuracy[front])
    save(draw(searches, best_below(macs, accuracy), untrained), HERE / "figures" / "search_seeds.png")
    sides = {name: [search["regret"][key] for search in searches] for key, name in NAMES.items()}
    if fewer := [json.loads(path.read_text()) for path in args.surrogate]:
        name = f"surrogate, {fewer[0]['evaluations']} networks"
        sides[name] = [search["regret"]["evolution"] for search in fewer]
    print(f"{len(searches)} seeds, {searches[0]['evaluations']} networks each\n\n{table(sides)}")
    if fewer:
        volumes = np.array([[search["hypervolume"][-1][1] for search in group] for group in (fewer, searches)])
        difference = _difference(np.subtract(*volumes))
        print(f"hypervolume by the supernet's scores, surrogate's minus the search's: {difference}")


if __name__ == "__main__":
    main()
