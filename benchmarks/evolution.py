"""NSGA-II, its surrogate-assisted mode and random search on a table of known networks: how few measurements do.

The figure is the hypervolume of what was measured, as a share of that of the table's own front. The reference point
lies a tenth of that front's range beyond its nadir; the front's ideal and this point scale the objectives. Differences
are paired by seed (searches of one seed and population size start with the same random networks) and come with
Student's interval over the seeds. Nothing is trained: half a minute on a CPU.

python benchmarks/evolution.py nas-bench-macro_cifar10.json
python benchmarks/evolution.py nas-bench-macro_cifar10.json --objectives accuracy macs params --first-seed 100
"""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np
from scipy import stats

from scarlet_models.search.evolution.archive import Archive
from scarlet_models.search.evolution.candidates import Candidates
from scarlet_models.search.evolution.hypervolume import Hypervolume, against_front
from scarlet_models.search.evolution.nsga import Evolution, nondominated
from scarlet_models.search.evolution.objectives import Costs, read_objectives
from scarlet_models.search.evolution.surrogate import Screening
from scarlet_models.search.scoring.known_accuracies import load_known_accuracies
from scarlet_models.search.scoring.scores import TableScores
from scarlet_models.space.space import SearchSpace


class Bench:
    """The table, its true front, and searches in it by name: each gives the hypervolumes after given evaluations."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, space = options, SearchSpace.load(options.space)
        self.scores, self.costs = TableScores(load_known_accuracies(options.table, space), space), Costs(space)
        self.objectives = read_objectives(options.objectives)
        networks = self.scores.networks
        values, _ = self._archive().judge(networks, self.scores(networks)[0])
        self.front = values[nondominated(values)]
        self.volume: Hypervolume = against_front(self.front)
        self.best = self.volume(self.front)

    def _archive(self) -> Archive:
        return Archive(self.objectives, self.costs, {})

    def share(self, archive: Archive, count: int) -> float:
        """Of the true front's hypervolume, by the first `count` networks."""
        return self.volume(archive.values[:count]) / self.best

    def evolve(self, seed: int, budget: int, population: int, screened: int = 0) -> Archive:
        archive = self._archive()
        evolution = Evolution(
            Candidates(self.costs, {}, self.scores.networks),
            [objective.weight for objective in self.objectives],
            population,
            seed=seed,
            screen=partial(Screening, archive=archive, screened=screened) if screened else None,
        )
        while len(archive) < budget:
            asked = evolution.ask()
            evolution.tell(*archive.add(asked, self.scores(asked)[0], 0))
        return archive

    def draw(self, seed: int, budget: int) -> Archive:
        archive = self._archive()
        drawn = Candidates(self.costs, {}, self.scores.networks).draw(np.random.default_rng([seed, 1]), budget)
        archive.add(drawn, self.scores(drawn)[0], 0)
        return archive


def interval(differences: np.ndarray) -> tuple[float, float]:
    """Student's 95% interval of the mean over seeds."""
    low, high = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", help="NAS-Bench-Macro's JSON, or a CSV of genotype and accuracy of a whole space")
    parser.add_argument("--space", default="nas_bench_macro")
    parser.add_argument("--objectives", nargs="+", default=["accuracy max 0.5", "macs min 0.5"])
    parser.add_argument("--populations", nargs="+", type=int, default=[10, 20, 50], help="of NSGA-II, to take the best")
    parser.add_argument("--population", type=int, default=20, help="of the surrogate's search")
    parser.add_argument("--screened", type=int, default=240, help="networks the surrogate screens for each generation")
    parser.add_argument("--few", type=int, default=100)
    parser.add_argument("--many", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    options = parser.parse_args()
    bench, few, many = Bench(options), options.few, options.many
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    print(f"objectives {', '.join(options.objectives)}; {len(bench.front)} networks on the true front")

    shares: dict[str, np.ndarray] = {}
    for size in options.populations:
        archives = [bench.evolve(seed, many, size) for seed in seeds]
        for count in (few, many):
            name = f"NSGA-II, population {size}, {count} evaluations"
            shares[name] = np.array([bench.share(archive, count) for archive in archives])
    screened = [bench.evolve(seed, few, options.population, options.screened) for seed in seeds]
    surrogate = np.array([bench.share(archive, few) for archive in screened])
    shares[f"surrogate, population {options.population}, {few} evaluations"] = surrogate
    drawn = [bench.draw(seed, many) for seed in seeds]
    for count in (few, many):
        shares[f"random, {count} evaluations"] = np.array([bench.share(archive, count) for archive in drawn])
    for name, values in shares.items():
        print(f"{name:45} {values.mean():.4f}  s.d. {values.std(ddof=1):.4f}  least {values.min():.4f}")
    print(f"\nsurrogate at {few} minus the other, paired by seed, mean in points of the true front's hypervolume:")
    for name, values in shares.items():
        if values is not surrogate:
            differences = 100 * (surrogate - values)
            low, high = interval(differences)
            print(f"{name:45} {differences.mean():+.2f}  95% [{low:+.2f}, {high:+.2f}]")


if __name__ == "__main__":
    main()
