"""The tables of docs/stabilizer_details.md as Markdown."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from resampling import Interval, Pairs, bca, holm, markdown, once, p_value
from study import LAST, SMALLEST_GROUP, STATISTICS, TOP, Key, Study

Figure = Callable[[Key], float]


def tables(study: Study) -> str:
    """All tables, each under its caption."""
    parts = [_training(study), _ranking(study), _differences(study), _paths(study), _signals(study)]
    for kind in _kinds(study):
        parts += [_by_depth(study, kind), _cells(study, kind)]
    return "\n".join(parts)


def _kinds(study: Study) -> list[str]:
    return [kind for kind in STATISTICS if study.scores[kind]]


def summary(values: list[float], digits: int = 2) -> str:
    """Mean and standard deviation over seeds; the value alone where there is one."""
    if not values or np.isnan(values).all():
        return "-"
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.{digits}f}"


def _training(study: Study) -> str:
    header = ["variant", "seeds", "top-1, %", "s.d. over fair steps", "s.d. over the paths of a fair step"]
    rows = []
    for variant in study.variants:
        keys = [(variant, seed) for seed in study.seeds(variant)]
        figures = (study.training, study.wobble, study.spread)
        rows.append([variant, str(len(keys)), *(summary([figure(key) for key in keys]) for figure in figures)])
    return markdown(f"Training, last {LAST} fair steps", header, rows)


def _ranking(study: Study) -> str:
    """Kendall's tau of the variants' supernets, and of what needs no training."""
    header = ["ranked by", "seeds"]
    header += [f"{what}, {kind}" for kind in _kinds(study) for what in ("tau", "within depths")]
    rows = []
    for variant in study.variants:
        cells = [variant, str(len(study.seeds(variant)))]
        for kind in _kinds(study):
            keys = [key for key in study.scores[kind] if key[0] == variant]
            cells += [summary([figure(kind, key) for key in keys], 3) for figure in (study.tau, study.within)]
        rows.append(cells)
    sample = once(len(study.known))
    for name, label in study.labels().items():
        pairs = Pairs(label, study.known)
        within = "-"
        if name != "block count":
            within = f"{pairs.tau_within(sample, study.blocks, SMALLEST_GROUP)[0]:.3f}"
        rows.append([f"{name} (no training)", "", *[f"{pairs.tau(sample)[0]:.3f}", within] * len(_kinds(study))])
    return markdown("Ranking, Kendall's tau-b", header, rows)


def differences(study: Study) -> dict[str, dict[str, Interval]]:
    """What was tested: difference of each variant to plain skips, by the name of the figure.

    With one seed there is no test, and only differences of tau have an interval, over networks.
    """
    variants = [variant for variant in study.variants if variant != "skip" and "skip" in study.variants]
    several = all(len(study.seeds(variant)) > 1 for variant in variants)
    found: dict[str, dict[str, Interval]] = {}
    if several:
        found["top-1 in training"] = {variant: study.difference(study.training, variant) for variant in variants}
    for kind in _kinds(study):
        for within, what in ((False, "tau"), (True, "tau within depths")):
            found[f"{what}, {kind}"] = {v: study.difference_of_taus(kind, v, within) for v in variants}
        if several:
            accuracy, deviation = _of(study.accuracy, kind), _of(study.deviation, kind)
            found[f"paths' top-1, {kind}"] = {v: study.difference(accuracy, v) for v in variants}
            found[f"s.d. over paths, {kind}"] = {v: study.difference(deviation, v) for v in variants}
    return found


def _of(figure: Callable[[str, Key], float], kind: str) -> Figure:
    return lambda key: figure(kind, key)


def _differences(study: Study) -> str:
    found = differences(study)
    variants = list(next(iter(found.values())))
    tested = [(name, variant) for name in found for variant in variants if not np.isnan(found[name][variant].p)]
    adjusted = dict(zip(tested, holm([found[name][variant].p for name, variant in tested]), strict=True))
    header, rows = [""], []
    for variant in variants:
        header += [f"{variant}: Δ [95% CI]", *["p", "Holm"] * bool(tested)]
    for name, intervals in found.items():
        row = [name]
        for variant in variants:
            row.append(f"{intervals[variant]:{'+.3f' if 'tau' in name else '+.2f'}}")
            if tested:
                row += [p_value(intervals[variant].p), p_value(adjusted[name, variant])]
        rows.append(row)
    return markdown("Differences to plain skips (Δ)", header, rows)


def _paths(study: Study) -> str:
    header = ["variant"]
    for kind in _kinds(study):
        header += [f"{what}, {kind}" for what in ("top-1, %", "s.d. over paths", f"top-{TOP} regret")]
    rows = []
    for variant in study.variants:
        cells = [variant]
        for kind in _kinds(study):
            keys = [key for key in study.scores[kind] if key[0] == variant]
            figures = (study.accuracy, study.deviation, study.regret)
            cells += [summary([figure(kind, key) for key in keys]) for figure in figures]
        rows.append(cells)
    return markdown("Paths on held-out images", header, rows)


def _signals(study: Study) -> str:
    header = ["variant", "cosine identity-block", "cosine block-block"]
    header += ["stabilizer's cosine to I", "its gain", "s.d. of log variance", "s.d. of score shift"]
    rows = []
    for variant in study.variants:
        keys = [key for key in study.similarity if key[0] == variant]
        cells = [summary([study.alike_where_kept(key, identity) for key in keys]) for identity in (True, False)]
        learnt = [key for key in keys if key in study.stabilizers]
        cells += [summary([study.weights(key, what) for key in learnt]) for what in ("cosine", "gain")]
        cells.append(summary([study.misfit(key) for key in keys if key in study.batch_norms]))
        cells.append(summary([study.moved(key) for key in keys if key in study.scores["running"]]))
        rows.append([variant, *cells])
    return markdown("Signals", header, rows)


def _by_depth(study: Study, kind: str) -> str:
    """Tau among networks of equal depth, mean and standard deviation over seeds."""
    depths, counts = np.unique(study.blocks, return_counts=True)
    large = [int(depth) for depth, count in zip(depths, counts, strict=True) if count >= SMALLEST_GROUP]
    rows = []
    for variant in study.variants:
        keys = [key for key in study.scores[kind] if key[0] == variant]
        rows.append([variant, *(summary([study.tau_at(kind, key, depth) for key in keys], 3) for depth in large)])
    return markdown(f"Tau by depth, {kind}", ["variant", *(f"{n} blocks" for n in large)], rows)


def _cells(study: Study, kind: str) -> str:
    """Each supernet's tau with BCa intervals over networks."""
    rows = []
    for (variant, seed), scores in study.scores[kind].items():
        intervals = [bca(statistic(scores), len(scores)) for statistic in (study.taus, study.taus_within)]
        rows.append([f"{variant}, seed {seed}", *(f"{interval:.3f}" for interval in intervals)])
    header = ["supernet", "Kendall's tau [95% CI]", "within depths [95% CI]"]
    return markdown(f"Each supernet, {kind}", header, rows)
