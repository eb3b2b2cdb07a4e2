"""NSGA-II over genotypes: pymoo's algorithm with our sampling, crossover and mutation, and weighted crowding.

Deb, Pratap, Agarwal and Meyarivan: A fast and elitist multiobjective genetic algorithm, NSGA-II (IEEE TEC 6(2), 2002).
"""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2, binary_tournament
from pymoo.core.crossover import Crossover
from pymoo.core.evaluator import Evaluator
from pymoo.core.infill import InfillCriterion
from pymoo.core.mating import Mating
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.termination import NoTermination
from pymoo.operators.selection.tournament import TournamentSelection
from pymoo.operators.survival.rank_and_crowding import RankAndCrowding
from pymoo.operators.survival.rank_and_crowding.metrics import FunctionalDiversity, calc_crowding_distance
from pymoo.problems.static import StaticProblem
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from scarlet_models.space.space import SearchSpace

from .candidates import Candidates, canonicalise, mutate, two_point_crossover


def weighted_crowding(weights: Sequence[float]) -> FunctionalDiversity:
    """Crowding distance that weighs each objective by its share of all weights, as MoGA does (arXiv 1908.01314).

    pymoo's distance is the mean over the objectives of the gap between a point's two neighbours, divided by the
    objective's range; equal weights give the same. The ends of each objective stay infinite. (Friedrich, Kroeger and
    Neumann, 2013, weigh the objective space instead.)
    """
    shares = np.array(weights) / sum(weights)

    def distance(values: np.ndarray, **_: Any) -> np.ndarray:
        return sum(share * calc_crowding_distance(values[:, [i]]) for i, share in enumerate(shares))

    return FunctionalDiversity(distance, filter_out_duplicates=False)


def nondominated(values: np.ndarray) -> np.ndarray:
    """Indices of the rows of (N, objectives), all minimised, that no other row dominates, in order."""
    if not len(values):
        return np.empty(0, int)
    return np.sort(NonDominatedSorting().do(values, only_non_dominated_front=True))


def set_values(problem: Problem, population: Population, values: np.ndarray, violations: np.ndarray) -> None:
    """Give a population its objectives (N, objectives) and, if the problem has a constraint, its violations (N,)."""
    told = {"F": values, "G": violations[:, None]} if problem.has_constraints() else {"F": values}
    Evaluator().eval(StaticProblem(problem, **told), population)


class _Cross(Crossover):
    """Our crossover of two parents, with pymoo's probability of 0.9 (as in Deb et al.)."""

    def _do(self, problem: Problem, x: np.ndarray, *_: Any, random_state: np.random.Generator, **__: Any) -> np.ndarray:
        return np.stack(two_point_crossover(x[0], x[1], random_state))


class _Mutate(Mutation):
    """Changes one layer of a network on average, and makes it canonical."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self.space = space

    def _do(self, problem: Problem, x: np.ndarray, *_: Any, random_state: np.random.Generator, **__: Any) -> np.ndarray:
        return canonicalise(self.space, mutate(self.space, x, random_state, 1 / len(self.space.layers)))


class _Breed(Mating):
    """Mating, topped up with random networks if it breeds too few new ones. So small spaces are used up."""

    def __init__(self, candidates: Candidates) -> None:
        self.candidates = candidates
        selection, mutation = TournamentSelection(func_comp=binary_tournament), _Mutate(candidates.space)
        fresh = SimpleNamespace(do=self._fresh)
        super().__init__(selection, _Cross(2, 2), mutation, eliminate_duplicates=fresh, n_max_iterations=20)

    def _fresh(self, pop: Population, *others: Population) -> Population:
        """Drop networks that were asked for before, in any generation, or lie outside the bounds."""
        return pop[self.candidates.fresh(pop.get("X"), *(other.get("X") for other in others if len(other)))]

    def do(self, problem: Problem, pop: Population, n_offsprings: int, **settings: Any) -> Population:
        bred = super().do(problem, pop, n_offsprings, **settings)
        if len(bred) == n_offsprings:
            return bred
        others = [bred.get("X")] if len(bred) else []
        extra = self.candidates.draw(settings["random_state"], n_offsprings - len(bred), *others)
        return Population.merge(bred, Population.new("X", extra)) if len(extra) else bred


class Evolution:
    """NSGA-II by ask and tell: a pure function of its seed and of what it is told."""

    def __init__(
        self,
        candidates: Candidates,
        weights: Sequence[float],  # of the objectives in the crowding distance
        population: int,
        *,
        first: np.ndarray | None = None,  # canonical genotypes (N, layers) to start with
        constrained: bool = False,  # whether `tell` gets violations
        seed: int = 0,
        screen: Callable[[Mating], InfillCriterion] | None = None,  # makes a mating that knows what was measured
    ) -> None:
        self.candidates, layers = candidates, len(candidates.space.layers)
        mating: InfillCriterion = _Breed(candidates)
        self.problem = Problem(n_var=layers, n_obj=len(weights), n_ieq_constr=int(constrained), vtype=int)
        self.algorithm = NSGA2(
            population,
            survival=RankAndCrowding(crowding_func=weighted_crowding(weights)),
            mating=mating if screen is None else screen(mating),
            eliminate_duplicates=False,
        )
        self.algorithm.setup(self.problem, termination=NoTermination(), seed=seed)
        first = np.empty((0, layers), int) if first is None else first[candidates.fresh(first)][:population]
        drawn = candidates.draw(self.algorithm.random_state, population - len(first), first)
        self.algorithm.initialization.sampling = np.concatenate([first, drawn])
        self.asked: Population | None = None

    @property
    def population(self) -> np.ndarray:
        """Genotypes (N, layers) that survived the last generation."""
        return np.asarray(self.algorithm.pop.get("X"), int)

    def ask(self) -> np.ndarray:
        """Genotypes (N, layers) to measure next; none if the candidates are used up."""
        self.asked = self.algorithm.ask()
        if self.asked is None or not len(self.asked):
            return np.empty((0, self.problem.n_var), int)
        genotypes = np.asarray(self.asked.get("X"), int)
        self.candidates.take(genotypes)
        return genotypes

    def tell(self, values: np.ndarray, violations: np.ndarray) -> None:
        """Take the objectives of what was asked for, (N, objectives), minimised; violations (N,) above 0 are bad."""
        set_values(self.problem, self.asked, values, violations)
        self.algorithm.tell(self.asked)
