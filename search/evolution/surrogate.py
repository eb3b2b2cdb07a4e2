"""Fewer measurements: a regressor predicts accuracy, NSGA-II runs on its predictions, and the best are measured.

Between two measured generations the same NSGA-II runs for a few generations on predicted accuracies and exact costs.
Of all the networks it breeds, the search measures those that together add most hypervolume to the measured front. They
are chosen one by one, each the one that adds most to those before it (greedy maximisation of a submodular function).
"""

import heapq
import warnings
from typing import Any

import numpy as np
from pymoo.core.infill import InfillCriterion
from pymoo.core.mating import Mating
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from scipy import linalg
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from .archive import Archive
from .hypervolume import against_front
from .nsga import nondominated, set_values

_FITTED, _MOST = 256, 2000  # networks that the kernel is fitted to, and those that predict


class Surrogate:
    """Accuracy from a genotype: Gaussian process regression, Matern 5/2 on the choices as 0 and 1, with noise.

    So the covariance of two accuracies is a function of the number of layers that their genotypes differ in. Its scales
    are fitted to at most 256 networks, again when there are twice as many. The newest 2,000 predict: O(N^3).
    """

    def __init__(self, choices: int) -> None:
        self.choices, self.size = np.arange(choices), 0

    def fit(self, genotypes: np.ndarray, accuracy: np.ndarray) -> None:
        """Learn from all measured genotypes (N, layers) and their accuracies (N,)."""
        if len(genotypes) >= 2 * self.size:
            self._fit_kernel(genotypes, accuracy)
        self.known, accuracy = self._encode(genotypes[-_MOST:]), accuracy[-_MOST:]
        self.mean, self.scale = accuracy.mean(), accuracy.std() or 1.0
        covariance = self._covariance(self.known)
        covariance[np.diag_indices_from(covariance)] += self.noise + 1e-10
        factor = linalg.cho_factor(covariance, lower=True, overwrite_a=True, check_finite=False)
        self.weights = linalg.cho_solve(factor, (accuracy - self.mean) / self.scale, check_finite=False)

    def predict(self, genotypes: np.ndarray) -> np.ndarray:
        """Accuracies (N,) of genotypes (N, layers)."""
        return np.asarray(self.mean + self.scale * (self._covariance(self._encode(genotypes)) @ self.weights))

    def _fit_kernel(self, genotypes: np.ndarray, accuracy: np.ndarray) -> None:
        self.size = len(genotypes)
        some = np.linspace(0, self.size - 1, min(self.size, _FITTED)).astype(int)
        kernel = ConstantKernel() * Matern(3.0, nu=2.5) + WhiteKernel(0.01)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a scale at its bound still predicts
            model = GaussianProcessRegressor(kernel, normalize_y=True)
            model.fit(self._encode(genotypes[some]), accuracy[some])
        signal, self.noise = model.kernel_.k1, model.kernel_.k2.noise_level
        equal = np.arange(genotypes.shape[1] + 1)[:, None]
        self.table = signal(np.sqrt(2 * equal[::-1]), np.zeros((1, 1)))[:, 0]  # covariance by layers that are equal

    def _encode(self, genotypes: np.ndarray) -> np.ndarray:
        """The choices as 0 and 1: (N, layers * choices)."""
        return (genotypes[:, :, None] == self.choices).reshape(len(genotypes), -1).astype(np.float32)

    def _covariance(self, encoded: np.ndarray) -> np.ndarray:
        """Covariances (N, known) of encoded genotypes to the known ones."""
        return np.asarray(self.table[(encoded @ self.known.T).round().astype(int)])


class Screening(InfillCriterion):
    """Replaces the mating: breeds `screened` networks on predictions and passes on those worth measuring.

    `predicted` are the predicted accuracies of the networks that it last passed on, in order.
    """

    def __init__(self, mating: Mating, archive: Archive, screened: int) -> None:
        super().__init__()
        self.mating, self.archive, self.screened = mating, archive, screened
        self.surrogate, self.predicted = Surrogate(len(archive.costs.space.choices)), np.empty(0)

    def do(self, problem: Problem, pop: Population, n_offsprings: int, **settings: Any) -> Population:
        archive, surrogate, random_state = self.archive, self.surrogate, settings["random_state"]
        survival = settings["algorithm"].survival
        surrogate.fit(archive.genotypes, archive.figures["accuracy"])
        bred, pool, left = Population.new("X", np.empty((0, problem.n_var), int)), pop, self.screened
        while left > 0:
            brood = self.mating.do(problem, pool, min(len(pop), left), **settings)
            left -= len(pop)
            if len(brood):
                genotypes = brood.get("X").astype(int)
                set_values(problem, brood, *archive.judge(genotypes, surrogate.predict(genotypes)))
                bred = Population.merge(bred, brood)
                both = Population.merge(pool, brood)
                pool = survival.do(problem, both, n_survive=len(pop), random_state=random_state)
        if not len(bred):
            return bred
        bred = bred[np.sort(np.unique(bred.get("X").astype(int), axis=0, return_index=True)[1])]
        ranked = survival.do(problem, bred, n_survive=len(bred), random_state=random_state)
        best = ranked[self._most_gain(ranked.get("F"), ranked.get("CV")[:, 0], n_offsprings)]
        self.predicted = surrogate.predict(best.get("X").astype(int))
        return Population.new("X", best.get("X"))  # without the predicted values

    def _most_gain(self, values: np.ndarray, violations: np.ndarray, count: int) -> list[int]:
        """Rows that add most to the measured front, in the order they are taken; then those that rank first."""
        front = self.archive.values[self.archive.front]
        everything = np.concatenate([front, values[violations <= 0]])
        if not len(everything):
            return list(range(min(count, len(values))))
        volume = against_front(everything)
        base = volume(front) if len(front) else 0.0
        queue = [(-np.inf if bad <= 0 else 0.0, row) for row, bad in enumerate(violations)]
        heapq.heapify(queue)
        taken: list[int] = []
        while queue and len(taken) < count:  # a gain can only shrink: the one that stays first when renewed is largest
            gain, row = heapq.heappop(queue)
            renewed = base - volume(np.concatenate([front, values[[row]]])) if gain < 0 else 0.0
            if queue and (renewed, row) > queue[0]:
                heapq.heappush(queue, (renewed, row))
                continue
            taken.append(row)
            if renewed < 0:
                front = np.concatenate([front, values[[row]]])
                front, base = front[nondominated(front)], base - renewed
        return taken
