"""The study's verdicts, by criteria that were fixed before any supernet of it was trained.

python studies/stabilizer.py collect runs/scarlet_cifar scarlet_cifar  # what scarlet-search ablate left, as CSV
python studies/scarlet_cifar/verdicts.py                               # writes verdicts.md, anchors.csv and figures

Ground truth is the test accuracy of 40 networks trained alone. Supernets with plain skips (skip) and with stabilizers
(identity) are paired by seed. The criteria are in docs/results/scarlet_cifar/README.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from known_accuracies import ANCHORS, NAME, Network, draw_anchors, networks, table
from resampling import Interval, Pairs, Statistic, crossed, holm, markdown, once, p_value, student
from stabilizer_figures import draw_curves, draw_one_shot
from study import STATISTICS, Key, Rows, Study, figures, read, results, write

from scarlet_models.inspection.plotting import save
from scarlet_models.search.scoring.anchors import Anchors
from scarlet_models.search.scoring.baselines import label_free
from scarlet_models.search.scoring.score_cache import Score
from scarlet_models.space.space import Genotype

PLAIN, STABILIZED = "skip", "identity"
SEEDS, DRAWS = 5, 30
LAYER = 3  # whose cosines the paper shows


class Verdicts:
    """Tables and sentences of one study.

    Args:
        study: Its results.
        known: Of each scored network, in the order of the study.
        draws: Draws of anchors.
    """

    def __init__(self, study: Study, known: Sequence[Network], draws: int = DRAWS) -> None:
        self.study, self.held_out = study, np.array([network.held_out for network in known])
        self.groups = [network.group for network in known]
        self.seeds = [seed for seed in study.seeds(STABILIZED) if seed in study.seeds(PLAIN)]
        self.identities = (study.choices == study.space.identity).sum(1)
        self.genotypes = [Genotype(tuple(row), study.space) for row in study.choices.tolist()]
        self.drawn = [draw_anchors(self.groups, draw) for draw in range(draws)]
        single, combined = label_free(self.genotypes)
        self.labels = {name: self._tau_of(values) for name, values in {**single, **combined}.items()}
        favourite = self._best({name: self.labels[name] for name in combined})
        self.shown = [*single, favourite]  # as scarlet-search rank does
        self.anchors: Rows = []  # filled by `with_anchors`

    def text(self) -> str:
        """Everything, as Markdown."""
        parts = [self.primary(), "", self.noise(), "", self.secondary(), self.baselines(), self.with_anchors()]
        return "\n".join([*parts, self.within_equal(), self.cosines()])

    def primary(self) -> str:
        """Whether the stabilizer helps the ranking, with recalibrated statistics."""
        over_seeds, over_both = self._over(self._differences("recalibrated"))
        verdict = judge(over_seeds, over_both)
        return (
            f"**Primary: the stabilizer {verdict}.** Difference in Kendall's tau-b over {len(self.study.known)} "
            f"networks and {len(self.seeds)} paired seeds, recalibrated: {over_seeds:+.3f} (t interval over seeds); "
            f"crossed bootstrap of seeds and networks {ends(over_both)}."
        )

    def noise(self) -> str:
        """How far the ground truth depends on the seed of a training; descriptive."""
        tops: dict[str, list[float]] = {}
        for row in read(table()):
            tops.setdefault(row["network"], []).append(float(row["test_top1"]))
        several = [values for values in tops.values() if len(values) > 1]
        within = np.sqrt(np.mean([np.var(values, ddof=1) for values in several])) if several else float("nan")
        return (
            f"Ground truth: s.d. of test top-1 {self.study.known.std(ddof=1):.2f} points over the networks, "
            f"{within:.2f} over seeds of a network ({len(several)} networks)."
        )

    def secondary(self) -> str:
        """The other differences, with Holm's correction."""
        found = {
            "tau, running statistics": self._over(self._differences("running"))[0],
            "one-shot top-1, mean over the last quarter": self._difference(
                lambda key: float(self.study.last_part(key)[0].mean())
            ),
            "its variance over paths, mean over the last quarter": self._difference(
                lambda key: float((self.study.last_part(key)[1] ** 2).mean())
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
        """Each variant's tau beside the best label-free predictor."""
        best = self._best(self.labels)
        rows = [[f"{name} (label-free)", f"{self._value(self.labels[name]):.3f}", "", "", ""] for name in self.shown]
        for variant in (PLAIN, STABILIZED):
            taus = [self._tau("recalibrated", (variant, seed)) for seed in self.seeds]
            rows.append([f"{variant}, recalibrated", *self._compared(taus, self.labels[best])])
        return markdown(f"Ranking, tau-b; Δ to {best}", ["ranked by", *_COLUMNS], rows)

    def with_anchors(self) -> str:
        """The same of scores that anchors correct, over the networks that are no anchors, mean over draws."""
        labels = {name: self._off_anchors([tau] * len(self.drawn)) for name, tau in self.labels.items()}
        best = self._best(labels)
        rows, alone = [[f"{best} (label-free)", f"{self._value(labels[best]):.3f}", "", "", ""]], None
        for variant in (PLAIN, STABILIZED):
            taus, chosen = [], []
            for seed in self.seeds:
                fitted = [self._anchored((variant, seed), drawn) for drawn in self.drawn]
                taus.append(self._off_anchors([self._tau_of(predicted) for predicted, _, _ in fitted]))
                alone = alone or self._off_anchors([self._tau_of(without) for _, without, _ in fitted])
                chosen += [better for _, _, better in fitted]
            rows.append([f"{variant} + {ANCHORS} anchors", *self._compared(taus, labels[best])])
            assert alone
            *cells, _ = self._compared(taus, alone)
            share = f"regression preferred in {np.mean(chosen):.0%} of draws"
            rows.append([f"{variant} + {ANCHORS} anchors, Δ to the anchors alone", *cells, f"descriptive; {share}"])
            figures = zip(self.seeds, taus, strict=True)
            self.anchors += [{"variant": variant, "seed": str(s), "tau": f"{self._value(t):.6f}"} for s, t in figures]
        assert alone
        rows.append([f"{ANCHORS} anchors, no supernet", f"{self._value(alone):.3f}", "", "", "descriptive"])
        caption = f"With anchors, tau-b on the networks that are none, mean of {len(self.drawn)} draws; Δ to {best}"
        return markdown(caption, ["ranked by", *_COLUMNS], rows)

    def within_equal(self) -> str:
        """Tau within the networks of equal MACs; descriptive."""
        weights = np.array([[group == "equal" for group in self.groups]], float)
        rows = []
        for variant in (PLAIN, STABILIZED):
            taus = [float(self._tau("recalibrated", (variant, seed))(weights)[0]) for seed in self.seeds]
            rows.append([variant, f"{student(taus):.3f}"])
        rows += [[f"{name} (label-free)", f"{self.labels[name](weights)[0]:.3f}"] for name in self.shown]
        return markdown(f"Within {int(weights.sum())} networks of equal MACs", ["ranked by", "tau [95% CI]"], rows)

    def cosines(self) -> str:
        """Similarity of the outputs of the six blocks without SE and of the identity; descriptive."""
        rows = []
        for variant in (PLAIN, STABILIZED):
            cells = []
            for identity in (True, False):
                of_layer, of_all = (
                    student([figure((variant, seed), identity) for seed in self.seeds])
                    for figure in (self._cosine, lambda key, identity: self.study.alike_where_kept(key, identity, True))
                )
                cells += [f"{of_layer:.3f}", f"{of_all:.3f}"]
            rows.append([variant, *cells])
        header = [f"{what}, {where}" for what in ("identity-block", "blocks") for where in (f"layer {LAYER}", "all")]
        return markdown("Cosine similarity of outputs [95% CI]; six blocks without SE", ["", *header], rows)

    def _cosine(self, key: Key, identity: bool) -> float:
        return self.study.alike(key, LAYER, identity, plain=True)

    def _anchored(self, key: Key, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
        """Accuracies (N,) by the regression with and without the supernet, and whether it prefers the former."""
        figures = (self.study.scores["recalibrated"][key], self.study.losses["recalibrated"][key])
        scores = [Score(top1, loss, 0) for top1, loss in zip(*(figure.tolist() for figure in figures), strict=True)]
        known = {self.genotypes[i]: float(self.held_out[i]) for i in drawn}
        anchors = Anchors(known, [scores[i] for i in drawn])
        return anchors.predict(self.study.choices, scores), anchors.predict_without(self.study.choices), anchors.better

    def _off_anchors(self, taus: Sequence[Statistic]) -> Statistic:
        """Mean over draws of tau on the networks that are no anchors."""
        left = np.ones((len(self.drawn), len(self.groups)))
        for row, drawn in zip(left, self.drawn, strict=True):
            row[drawn] = 0
        pairs = list(zip(taus, left, strict=True))
        return lambda weights: np.mean([tau(weights * row) for tau, row in pairs], axis=0)

    def _compared(self, taus: Sequence[Statistic], label: Statistic) -> list[str]:
        """Tau, difference to a label with both intervals, and whether both are above 0."""
        gain, both = self._over([_less(tau, label) for tau in taus])
        worth = "yes" if gain.low > 0 and both.low > 0 else "not shown"
        return [f"{student([self._value(tau) for tau in taus]):.3f}", f"{gain:+.3f}", ends(both), worth]

    def _over(self, statistics: Sequence[Statistic]) -> tuple[Interval, Interval]:
        """Mean of a statistic of each seed with Student's interval over seeds, and with that of a crossed bootstrap."""
        return student([self._value(one) for one in statistics]), crossed(statistics, len(self.study.known))

    def _best(self, labels: Mapping[str, Statistic]) -> str:
        return max(labels, key=lambda name: self._value(labels[name]))

    def _value(self, statistic: Statistic) -> float:
        return float(statistic(once(len(self.study.known)))[0])

    def _tau_of(self, values: np.ndarray) -> Statistic:
        """Tau-b of values (N,) as a statistic; that of constant values counts as 0."""
        pairs = Pairs(np.asarray(values, float), self.study.known)
        return lambda weights: np.nan_to_num(pairs.tau(weights))

    def _tau(self, kind: str, key: Key) -> Statistic:
        return self._tau_of(self.study.scores[kind][key])

    def _differences(self, kind: str) -> list[Statistic]:
        return [_less(self._tau(kind, (STABILIZED, seed)), self._tau(kind, (PLAIN, seed))) for seed in self.seeds]

    def _difference(self, figure: Callable[[Key], float]) -> Interval:
        return student([figure((STABILIZED, seed)) - figure((PLAIN, seed)) for seed in self.seeds])

    def _concordance(self, key: Key) -> float:
        pairs = Pairs(self.study.scores["recalibrated"][key], self.study.known)
        differ = np.not_equal.outer(self.identities, self.identities)
        return float(pairs.concordance(once(len(self.study.known)), differ)[0])


_COLUMNS = ("tau [95% CI]", "Δ [95% CI, seeds]", "[seeds, networks]", "worth it")


def _less(one: Statistic, other: Statistic) -> Statistic:
    return lambda weights: one(weights) - other(weights)


def ends(interval: Interval) -> str:
    """An interval's ends."""
    return f"[{interval.low:+.3f}, {interval.high:+.3f}]"


def judge(over_seeds: Interval, over_both: Interval) -> str:
    """helps, harms or is unresolved: both intervals must exclude 0 on the same side."""
    if min(over_seeds.low, over_both.low) > 0:
        return "helps"
    return "harms" if max(over_seeds.high, over_both.high) < 0 else "is unresolved"


def missing(known: Sequence[Network], seeds: int) -> list[str]:
    """What the verdicts need and the study's CSV files lack."""
    expected = {network.genotype: network.test for network in known}
    ranked: dict[tuple[str, ...], dict[str, float]] = {}
    for row in read(results(NAME) / "rankings.csv"):
        cell = ranked.setdefault((row["variant"], row["seed"], row["batch_norm"]), {})
        cell[row["genotype"]] = float(row["known"]) if row.get("loss") else float("nan")
    found = {
        name: {(row["variant"], row["seed"]) for row in read(results(NAME) / f"{name}.csv")}
        for name in ("curves", "similarity")
    }
    lacking = []
    for variant, seed in ((variant, str(seed)) for variant in (PLAIN, STABILIZED) for seed in range(seeds)):
        wrong = [kind for kind in STATISTICS if ranked.get((variant, seed, kind)) != expected]
        lacking += [f"{variant}_s{seed}: ranking of these networks, {kind}" for kind in wrong]
        lacking += [f"{variant}_s{seed}: {name}" for name, cells in found.items() if (variant, seed) not in cells]
    return lacking


def main(seeds: int = SEEDS, draws: int = DRAWS) -> None:
    """Write verdicts.md, anchors.csv and the figures; the program ends if anything is missing."""
    known = networks()
    if lacking := missing(known, seeds):
        sys.exit(f"{len(lacking)} parts are missing, so there is no verdict: {'; '.join(lacking)}")
    study, of = Study(NAME, NAME), {network.genotype: network for network in known}
    verdicts = Verdicts(study, [of[",".join(map(str, choices))] for choices in study.choices], draws)
    text = verdicts.text()
    (results(NAME) / "verdicts.md").write_text(text)
    write(results(NAME) / "anchors.csv", verdicts.anchors)
    for name, figure in (("curves", draw_curves(study)), ("one_shot", draw_one_shot(study))):
        save(figure, figures() / f"{NAME}_{name}.png")
    print(text)


if __name__ == "__main__":
    main()
