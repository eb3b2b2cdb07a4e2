"""Rankings that need no training, and what a supernet adds to the best of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import rankdata

from scarlet_models.space.space import Genotype, SearchSpace

from .ranking import FEWEST, Estimate, ResampledTau, equal_bands, estimate, kendall

BAND = 50  # networks in a band of equal MACs, or a quarter of them all if they are fewer than 200
SUPERNET, ANCHORED, ANCHORS_ALONE = "supernet, top-1", "supernet + anchors", "anchors, no supernet"


@dataclass(frozen=True)
class Predictor:
    """Kendall's tau-b of a predictor over all pairs, and over those within a band of MACs.

    The differences are to the best label-free predictor, one that needs neither a supernet nor known accuracies.
    """

    name: str
    label_free: bool
    tau: Estimate
    difference: Estimate
    within: Estimate
    difference_within: Estimate


class Comparison:
    """Compares scores, predictions (N,) by name, with label-free predictors on the same resampled networks.

    `SUPERNET`'s gets the verdict. `best` names the label-free predictor of highest tau; the known accuracies choose it,
    in its favour. `gain` is the tau of the anchored scores minus that of the anchors alone.
    """

    def __init__(
        self, networks: Sequence[Genotype], known: np.ndarray, scores: Mapping[str, np.ndarray], samples: int, seed: int
    ) -> None:
        single, combined = label_free(networks)
        favourite = _highest({name: kendall(values, known) for name, values in combined.items()})
        free = {**single, favourite: combined[favourite]}
        bands = equal_bands(single["MACs"], min(BAND, max(len(known) // 4, FEWEST)))
        self.bands = len(np.unique(bands))
        taus, within = (
            {name: resampled(np.asarray(values, float)) for name, values in {**scores, **free}.items()}
            for resampled in (ResampledTau(known, samples, seed), ResampledTau(known, samples, seed, bands))
        )
        self.best, self.best_within = (_highest({name: draws[name][0] for name in free}) for draws in (taus, within))
        self.gain = estimate(taus[ANCHORED] - taus[ANCHORS_ALONE]) if ANCHORED in scores else Estimate()
        self.predictors = [
            Predictor(name, name in free, *_to_best(taus, name, self.best), *_to_best(within, name, self.best_within))
            for name in taus
        ]

    def __getitem__(self, name: str) -> Predictor:
        return next(predictor for predictor in self.predictors if predictor.name == name)

    def verdict(self) -> list[str]:
        """What the supernet adds to the best label-free predictor, in sentences."""
        supernet = self[SUPERNET]
        if supernet.difference.low is None:
            return ["Too few networks to say whether the supernet adds anything to label-free predictors."]
        sentences = [f"Over all pairs, {_say(supernet.difference, self.best)}"]
        if self.bands > 1 and (within := supernet.difference_within).low is not None:
            sentences.append(f"Among networks of about equal MACs, {_say(within, self.best_within)}")
        if self.gain.low is not None:
            sentences.append(f"With anchors, {_say(self.gain, 'the same regression without it')}")
        return sentences

    def report(self) -> dict[str, Any]:
        """The comparison as plain data."""
        return {
            "predictors": [asdict(predictor) for predictor in self.predictors],
            "best_label_free": self.best,
            "best_label_free_within_bands": self.best_within,
            "bands": self.bands,
            "gain_over_anchors_alone": asdict(self.gain),
            "verdict": self.verdict(),
        }


def _highest(taus: Mapping[str, float]) -> str:
    return max(taus, key=lambda name: np.nan_to_num(taus[name], nan=-1))


def _to_best(draws: Mapping[str, np.ndarray], name: str, best: str) -> tuple[Estimate, Estimate]:
    return estimate(draws[name]), Estimate() if name == best else estimate(draws[name] - draws[best])


def counted(space: SearchSpace, genotypes: np.ndarray) -> dict[str, np.ndarray]:
    """Blocks, blocks at layers that change the shape, MACs and params, each (N,), of genotypes (N, layers)."""
    blocks = genotypes != space.identity
    reductions = blocks[:, [not layer.keeps_shape for layer in space.layers]]
    macs, params = (costs.astype(float) for costs in space.costs(genotypes))
    return {"blocks": blocks.sum(1), "reductions": reductions.sum(1), "MACs": macs, "params": params}


def label_free(genotypes: Sequence[Genotype]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Predictors (N,) by name that need only the genotypes: single ones, and combinations of them.

    A combination adds the ranks of two or three, or breaks the ties of one by another.
    """
    single = counted(genotypes[0].space, np.array([genotype.choices for genotype in genotypes]))
    reductions, macs = single.pop("reductions"), single["MACs"]
    combined = {
        "blocks, then MACs": _with_ties_by(single["blocks"], macs),
        "blocks at reductions, then MACs": _with_ties_by(reductions, macs),
    }
    for count in (2, 3):
        for names in combinations(single, count):
            combined[f"ranks of {' + '.join(names)}"] = np.sum([rankdata(single[name]) for name in names], axis=0)
    return single, combined


def _with_ties_by(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return rankdata(first, "dense") * (len(first) + 1) + rankdata(second, "dense")


def _say(difference: Estimate, best: str) -> str:
    assert difference.low is not None and difference.high is not None
    if difference.low > 0:
        return f"the supernet ranks better than {best}: Δ {difference:+}."
    if difference.high < 0:
        return f"the supernet adds nothing to {best} here: it ranks worse, Δ {difference:+}."
    return f"no difference between the supernet and {best} is shown: Δ {difference:+}."
