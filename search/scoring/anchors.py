"""Correct a supernet's scores by a few networks of known accuracy: the anchors.

A regression from a path's score and loss, and from what the genotype tells (depth, MACs, choices), to the known
accuracy. Ridge regression or a Gaussian process, whichever predicts the anchors better in cross-validation.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import expit, logit
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scarlet_models.space.space import Genotype

from .baselines import counted
from .ranking import kendall
from .score_cache import Score

FOLDS = 10  # of the cross-validation, or one an anchor if they are fewer
_KERNEL = ConstantKernel() * DotProduct() + ConstantKernel(0.1) * RBF() + WhiteKernel(0.1)
_REGRESSORS = {
    "ridge": RidgeCV(np.logspace(-2, 4, 13)),
    "Gaussian process": GaussianProcessRegressor(_KERNEL, normalize_y=True),
}


class Anchors:
    """Predicts accuracies from scores and genotypes, and for comparison from one of them alone.

    `better` tells whether the genotypes help: whether the scores alone predict the anchors worse in cross-validation.
    """

    def __init__(self, known: Mapping[Genotype, float], scores: Sequence[Score]) -> None:
        genotypes, accuracy = np.array([genotype.choices for genotype in known]), np.array(list(known.values()))
        self.space = next(iter(known)).space
        self.worst = max((score.loss for score in scores if np.isfinite(score.loss)), default=0.0)
        figures, (scalars, choices) = self._figures(scores), self._features(genotypes)
        self.regressions = {
            "anchored": _Regression(np.hstack([figures, scalars]), choices, accuracy),
            "score": _Regression(figures, choices[:, :0], accuracy),
            "genotype": _Regression(scalars, choices, accuracy),
        }
        self.networks, self.score_tau = len(known), kendall(figures[:, 0], accuracy)
        self.better = self.regressions["anchored"].error < self.regressions["score"].error

    def predict(self, genotypes: np.ndarray, scores: Sequence[Score]) -> np.ndarray:
        """Accuracies (N,) in percent of genotypes (N, layers) and their paths' scores."""
        scalars, choices = self._features(genotypes)
        return self.regressions["anchored"].predict(np.hstack([self._figures(scores), scalars]), choices)

    def predict_without(self, genotypes: np.ndarray) -> np.ndarray:
        """Accuracies (N,) in percent by the regression without the supernet."""
        return self.regressions["genotype"].predict(*self._features(genotypes))

    def report(self) -> dict[str, Any]:
        """What cross-validation says, as plain data; a constant has no tau."""
        found = {
            name: {"model": one.name, "tau": None if np.isnan(one.tau) else one.tau, "error": one.error}
            for name, one in self.regressions.items()
        }
        score_tau = None if np.isnan(self.score_tau) else self.score_tau
        return {"networks": self.networks, "score_tau": score_tau, **found, "better": self.better}

    def summary(self) -> str:
        """What cross-validation says, in sentences."""
        anchored, score, genotype = self.regressions.values()
        use = "The corrected scores predict them better" if self.better else "The raw scores predict them no worse"
        return (
            f"{self.networks} anchors, cross-validated: Kendall's tau {anchored.tau:.3f} with the supernet "
            f"({anchored.name}), {genotype.tau:.3f} without it ({genotype.name}), {self.score_tau:.3f} of its raw "
            f"score. {use}: error in log-odds {anchored.error:.3f}, {score.error:.3f} from scores alone."
        )

    def _figures(self, scores: Sequence[Score]) -> np.ndarray:
        """Top-1 and loss (N, 2). A loss that is not finite counts as the largest finite one of the anchors."""
        return np.array([[score.top1, score.loss if np.isfinite(score.loss) else self.worst] for score in scores])

    def _features(self, genotypes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Depth, logarithm of MACs and blocks at reductions (N, 3); and the choices as 0 and 1.

        The choices are scaled so that all layers together weigh as much as one of the others.
        """
        numbers = counted(self.space, genotypes)
        scalars = np.stack([numbers["blocks"], np.log(numbers["MACs"]), numbers["reductions"]], axis=1)
        choices = (genotypes[:, :, None] == np.arange(len(self.space.choices))).reshape(len(genotypes), -1)
        return scalars, choices / np.sqrt(len(self.space.layers))


class _Regression:
    """The better of two models in cross-validation, on the log-odds of the accuracy.

    It standardises `scalars` (N, A) and takes `others` (N, B) as they are. `tau` is Kendall's tau-b, and `error` the
    root mean squared error in log-odds, of the cross-validated predictions.
    """

    def __init__(self, scalars: np.ndarray, others: np.ndarray, accuracy: np.ndarray) -> None:
        features, target = np.hstack([scalars, others]), logit(np.clip(accuracy, 0.1, 99.9) / 100)
        folds = KFold(min(len(accuracy), FOLDS), shuffle=True, random_state=0)
        scaled = ColumnTransformer([("scaled", StandardScaler(), slice(0, scalars.shape[1]))], remainder="passthrough")
        models = {name: make_pipeline(scaled, regressor) for name, regressor in _REGRESSORS.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a scale at its bound still predicts
            tried = {name: cross_val_predict(model, features, target, cv=folds) for name, model in models.items()}
            errors = {name: float(np.sqrt(((found - target) ** 2).mean())) for name, found in tried.items()}
            self.name = min(errors, key=lambda name: errors[name])
            self.model = clone(models[self.name]).fit(features, target)
        self.error, self.tau = errors[self.name], kendall(tried[self.name], accuracy)

    def predict(self, scalars: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Accuracies (N,) in percent."""
        return np.asarray(100 * expit(self.model.predict(np.hstack([scalars, others]))))
