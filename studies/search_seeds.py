"""Table and figure of docs/measurements.md on searches over seeds: are what they find the truly best networks?

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

from scarlet_models.search.scoring.known_accuracies import load_known_accuracies
from scarlet_models.space.space import SearchSpace

HERE = Path(__file__).parents[1] / "docs"
NAMES = {"evolution": "the search", "random": "random search, as many networks"}
FIGURES = {
    "best": "its most accurate network: points below the best of the table",
    "front": "its front: points below the table's best network that costs no more, mean",
    "hypervolume": "hypervolume of its front by true accuracy, share of the table's",
}

Steps = tuple[np.ndarray, np.ndarray]


def best_below(macs: np.ndarray, accuracy: np.ndarray) -> Steps:
    """The fronts' steps: MACs in ascending order, and the best accuracy up to there."""
    order = np.argsort(macs)
    return macs[order], np.maximum.accumulate(accuracy[order])


def table(sides: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Markdown: mean and deviation over seeds of each side's figures; the first side less each other, paired by seed,
    with Student's 95% interval."""
    first, *others = sides
    differences = [f"less {name} [95%]" for name in others]
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


def draw(searches: Sequence[Mapping[str, Any]], known: Steps) -> Figure:
    """True accuracy of the fronts against MACs, a line a seed, and the table's front."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.add_subplot()
    for (name, label), color in zip(NAMES.items(), ("tab:blue", "0.6"), strict=True):
        for seed, search in enumerate(searches):
            front = (search if name == "evolution" else search["random"])["front"]
            macs, true = (np.array([record[key] for record in front]) for key in ("macs", "true_accuracy"))
            axes.step(
                *_millions(best_below(macs, true)), where="post", color=color, alpha=0.6, label=label * (not seed)
            )
    axes.step(*_millions(known), where="post", color="black", linewidth=1.5, label="the table's front")
    axes.set(xlabel="MACs (M)", ylabel="true accuracy, %", ylim=(known[1].max() - 8, known[1].max() + 0.5))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    return figure


def _millions(steps: Steps) -> Steps:
    return steps[0] / 1e6, steps[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("searches", nargs="+", type=Path, help="search.json of evolve, one a seed")
    parser.add_argument("--surrogate", nargs="*", default=[], type=Path, help="search.json of its searches, same seeds")
    parser.add_argument("--known", required=True, help="known accuracies, as evolve took them")
    parser.add_argument("--space", default="nas_bench_macro")
    args = parser.parse_args()
    searches = [json.loads(path.read_text()) for path in args.searches]
    space = SearchSpace.load(args.space)
    known_accuracies = load_known_accuracies(args.known_accuracies, space)
    macs, _ = space.costs(np.array([genotype.choices for genotype in known_accuracies]))
    known = best_below(macs, np.array(list(known_accuracies.values())))
    draw(searches, known).savefig(HERE / "figures" / "search_seeds.png", dpi=130)
    sides = {name: [search["regret"][key] for search in searches] for key, name in NAMES.items()}
    if fewer := [json.loads(path.read_text()) for path in args.surrogate]:
        name = f"surrogate, {fewer[0]['evaluations']} networks"
        sides[name] = [search["regret"]["evolution"] for search in fewer]
    print(f"{len(searches)} seeds, {searches[0]['evaluations']} networks each\n\n{table(sides)}")
    if fewer:
        volumes = np.array([[search["hypervolume"][-1][1] for search in group] for group in (fewer, searches)])
        print(
            f"hypervolume by the supernet's scores, surrogate's less the search's: {_difference(np.subtract(*volumes))}"
        )


if __name__ == "__main__":
    main()
