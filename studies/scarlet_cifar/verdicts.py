"""The study's verdicts, by criteria that were fixed before any supernet of it was trained.

python studies/stabilizer.py collect runs/scarlet_cifar scarlet_cifar  # what scarlet-search ablate left, as CSV
python studies/scarlet_cifar/verdicts.py                               # writes verdicts.md beside these files

Ground truth is the test accuracy of 40 networks trained alone. Supernets with plain skips (skip) and with stabilizers
(identity) are paired by seed. The criteria are in docs/results/scarlet_cifar/README.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from resampling import Interval, Pairs, Statistic, crossed, holm, markdown, once, p_value, student
from study import Key, Study, read, results

NAME, PLAIN, STABILIZED = "scarlet_cifar", "skip", "identity"


class Verdicts:
    """Tables and sentences of one study.

    Args:
        study: Its results.
        groups: Of each scored network: "spread", or "equal" (alike in MACs).
        epoch: Fair steps of an epoch.
    """

    def __init__(self, study: Study, groups: Sequence[str], epoch: int) -> None:
        self.study, self.epoch = study, epoch
        self.equal = np.array([group == "equal" for group in groups])
        self.seeds = [seed for seed in study.seeds(STABILIZED) if seed in study.seeds(PLAIN)]
        self.identities = (study.choices == study.space.identity).sum(1)

    def text(self) -> str:
        """Everything, as Markdown."""
        return "\n".join([self.primary(), "", self.secondary(), self.baselines(), self.within_equal()])

    def primary(self) -> str:
        """Whether the stabilizer helps the ranking, with recalibrated statistics."""
        over_seeds, over_both = self._taus("recalibrated")
        verdict = judge(over_seeds, over_both)
        return (
            f"**Primary: the stabilizer {verdict}.** Difference in Kendall's tau-b over {len(self.study.known)} "
            f"networks and {len(self.seeds)} paired seeds, recalibrated: {over_seeds:+.3f} (t interval over seeds); "
            f"crossed bootstrap of seeds and networks [{over_both.low:+.3f}, {over_both.high:+.3f}]."
        )

    def secondary(self) -> str:
        """The other differences, with Holm's correction."""
        found = {
            "tau, running statistics": self._taus("running")[0],
            "one-shot top-1, mean over the last epoch": self._difference(lambda key: self._last(key, 1).mean()),
            "its variance over paths, mean over the last epoch": self._difference(
                lambda key: (self._last(key, 2) ** 2).mean()
            ),
            "concordance of pairs that differ in identities": self._difference(self._concordance),
        }
        adjusted = holm([interval.p for interval in found.values()])
        rows = [
            [name, f"{interval:+.3f}", p_value(interval.p), p_value(corrected)]
            for (name, interval), corrected in zip(found.items(), adjusted, strict=True)
        ]
        return markdown("Secondary: stabilized minus plain", ["", "Δ [95% CI]", "p", "Holm"], rows)

    def baselines(self) -> str:
        """Each variant's tau beside the best label that needs no training."""
        sample = once(len(self.study.known))
        labels = {name: Pairs(label, self.study.known) for name, label in self.study.labels().items()}
        best = max(labels, key=lambda name: float(labels[name].tau(sample)[0]))
        rows = [[f"{name} (no training)", f"{pairs.tau(sample)[0]:.3f}", "", ""] for name, pairs in labels.items()]
        for variant in (PLAIN, STABILIZED):
            taus = student([self.study.tau("recalibrated", (variant, seed)) for seed in self.seeds])
            statistics = [
                self._less(self._tau("recalibrated", (variant, seed)), labels[best].tau) for seed in self.seeds
            ]
            gain, both = student([s(sample)[0] for s in statistics]), crossed(statistics, len(self.study.known))
            worth = "yes" if gain.low > 0 and both.low > 0 else "not shown"
            rows.append([f"{variant}, recalibrated", f"{taus:.3f}", f"{gain:+.3f}", worth])
        return markdown(f"Ranking, tau-b; Δ to {best}", ["ranked by", "tau [95% CI]", "Δ [95% CI]", "worth it"], rows)

    def within_equal(self) -> str:
        """Tau within the networks of equal MACs; descriptive."""
        weights = self.equal.astype(float)[None]
        rows = []
        for variant in (PLAIN, STABILIZED):
            taus = [float(self._tau("recalibrated", (variant, seed))(weights)[0]) for seed in self.seeds]
            rows.append([variant, f"{student(taus):.3f}"])
        for name, label in self.study.labels().items():
            rows.append([f"{name} (no training)", f"{Pairs(label, self.study.known).tau(weights)[0]:.3f}"])
        return markdown(f"Within {int(self.equal.sum())} networks of equal MACs", ["ranked by", "tau [95% CI]"], rows)

    def _taus(self, kind: str) -> tuple[Interval, Interval]:
        statistics = [self._less(self._tau(kind, (STABILIZED, s)), self._tau(kind, (PLAIN, s))) for s in self.seeds]
        over_seeds = student([float(statistic(once(len(self.study.known)))[0]) for statistic in statistics])
        return over_seeds, crossed(statistics, len(self.study.known))

    def _tau(self, kind: str, key: Key) -> Statistic:
        return self.study.taus(self.study.scores[kind][key])

    @staticmethod
    def _less(one: Statistic, other: Statistic) -> Statistic:
        return lambda weights: one(weights) - other(weights)

    def _difference(self, figure: Callable[[Key], float]) -> Interval:
        return student([figure((STABILIZED, seed)) - figure((PLAIN, seed)) for seed in self.seeds])

    def _last(self, key: Key, column: int) -> np.ndarray:
        return np.asarray(self.study.curves[key][column][-self.epoch :])

    def _concordance(self, key: Key) -> float:
        pairs = Pairs(self.study.scores["recalibrated"][key], self.study.known)
        differ = np.not_equal.outer(self.identities, self.identities)
        return float(pairs.concordance(once(len(self.study.known)), differ)[0])


def judge(over_seeds: Interval, over_both: Interval) -> str:
    """helps, harms or is unresolved: both intervals must exclude 0 on the same side."""
    if min(over_seeds.low, over_both.low) > 0:
        return "helps"
    return "harms" if max(over_seeds.high, over_both.high) < 0 else "is unresolved"


def main() -> None:
    """Write verdicts.md."""
    group = {row["genotype"]: row["group"] for row in read(results(NAME) / "known_networks.csv")}
    study = Study(NAME, NAME)
    groups = [group[",".join(map(str, choices))] for choices in study.choices]
    text = Verdicts(study, groups, epoch=45_000 // 64).text()
    (results(NAME) / "verdicts.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
