"""What the difference in ranking between plain skips and stabilizers is made of, for docs/stabilizer.md.

NAS-Bench-Macro has two kinds of identity: at layers that keep the shape a skip, which a stabilizer replaces, and at
reductions a 1x1 convolution with batch norm, which it does not. This script splits the pairs of networks by that.

python studies/decomposition.py  # from docs/results/stabilizer/rankings.csv; writes decomposition.csv and .md beside it
"""

from __future__ import annotations

from functools import partial

import numpy as np
from matplotlib.figure import Figure
from resampling import Interval, Pairs, crossed, markdown, once, student
from study import STATISTICS, Rows, Study, figures, results, spelled, write

from scarlet_models.inspection.plotting import save, theme, themed

VARIANTS = ("torch", "identity")  # each is compared with plain skips


def kinds_of_pairs(study: Study) -> dict[str, np.ndarray]:
    """Which pairs of networks belong to a kind, (N, N) each."""
    at_reductions = study.choices[:, study.projecting]
    projecting = (at_reductions == study.space.identity).sum(1)
    same_number = np.equal.outer(projecting, projecting)
    same_choices = (at_reductions[:, None] == at_reductions).all(-1)
    same_depth = np.equal.outer(study.blocks, study.blocks)
    kinds = {
        "all pairs": np.ones_like(same_number),
        "projecting identities differ in number": ~same_number,
        "projecting identities equal in number": same_number,
        "only stabilised layers differ": same_choices,
        "equal depth, projecting identities differ in number": same_depth & ~same_number,
        "equal depth, projecting identities equal in number": same_depth & same_number,
    }
    return {name: which & ~np.eye(len(which), dtype=bool) for name, which in kinds.items()}


class Decomposition:
    """Concordance of predicted and known order over each kind of pair.

    Args:
        study: Its supernets are compared.
    """

    def __init__(self, study: Study) -> None:
        self.study, self.kinds, self.networks = study, kinds_of_pairs(study), len(study.known)
        self.pairs = {}
        for kind in STATISTICS:
            self.pairs |= {(kind, *key): Pairs(scores, study.known) for key, scores in study.scores[kind].items()}

    def concordance(self, kind: str, variant: str, name: str) -> list[float]:
        """Of the variant's supernets, a value a seed."""
        which, sample = self.kinds[name], once(self.networks)
        pairs = [self.pairs[kind, variant, seed] for seed in self.study.seeds(variant)]
        return [float(one.concordance(sample, which)[0]) for one in pairs]

    def of_blocks(self, name: str) -> float:
        """The block count's."""
        pairs = Pairs(self.study.blocks, self.study.known)
        return float(pairs.concordance(once(self.networks), self.kinds[name])[0])

    def over_seeds(self, kind: str, variant: str, name: str) -> Interval:
        """Difference to plain skips, Student's interval over seeds."""
        one, other = (np.array(self.concordance(kind, side, name)) for side in (variant, "skip"))
        return student(list(one - other))

    def over_both(self, kind: str, variant: str, name: str) -> Interval:
        """The same, a bootstrap's interval over seeds and networks."""
        seeds, which = self.study.seeds(variant), self.kinds[name]
        sides = [[self.pairs[kind, side, seed] for seed in seeds] for side in (variant, "skip")]

        def difference(weights: np.ndarray, one: Pairs, other: Pairs) -> np.ndarray:
            return one.concordance(weights, which) - other.concordance(weights, which)

        return crossed([partial(difference, one=a, other=b) for a, b in zip(*sides, strict=True)], self.networks)

    def rows(self) -> Rows:
        """All figures, a row for each kind of statistics, pair and variant."""
        rows = []
        for kind in STATISTICS:
            for name, which in self.kinds.items():
                for variant in VARIANTS:
                    figures = {
                        "block_count": self.of_blocks(name),
                        "skip": np.mean(self.concordance(kind, "skip", name)),
                        "variant_concordance": np.mean(self.concordance(kind, variant, name)),
                    }
                    seeds, both = (over(kind, variant, name) for over in (self.over_seeds, self.over_both))
                    figures |= {"difference": seeds.value, "seeds_low": seeds.low, "seeds_high": seeds.high}
                    figures |= {"both_low": both.low, "both_high": both.high}
                    labels = {"statistics": kind, "pairs": name, "number": str(which.sum() // 2)}
                    rows.append(labels | {"variant": variant} | {key: f"{v:.6f}" for key, v in figures.items()})
        return rows


def tables(rows: Rows) -> str:
    """The page's tables: identity-initialised stabilizers and plain skips, by kind of statistics."""
    header = [
        "pairs",
        "number",
        "block count",
        "skip",
        "identity",
        "Δ [95% CI, seeds]",
        "[seeds, networks]",
    ]
    parts = []
    for statistics in ("running", "recalibrated"):
        shown = [row for row in rows if row["statistics"] == statistics and row["variant"] == "identity"]
        cells = []
        for row in shown:
            label = "-" if row["pairs"].startswith("equal depth") else f"{float(row['block_count']):.3f}"
            means = [f"{float(row[key]):.3f}" for key in ("skip", "variant_concordance")]
            low, high, both_low, both_high = (
                f"{float(row[key]):+.3f}" for key in ("seeds_low", "seeds_high", "both_low", "both_high")
            )
            difference = f"{float(row['difference']):+.3f} [{low}, {high}]"
            number = f"{int(row['number']):,}"
            cells.append([row["pairs"], number, label, *means, difference, f"[{both_low}, {both_high}]"])
        parts.append(markdown(f"Concordance by kind of pair, {statistics} statistics", header, cells))
    return "\n".join(parts)


@themed
def draw(decomposition: Decomposition) -> Figure:
    """Concordance by kind of pair: a point the mean over seeds with its 95% interval, and the block count's."""
    study = decomposition.study
    names = [name for name in decomposition.kinds if not name.startswith("equal depth")]
    wrapped = [name.replace("projecting identities ", "projecting identities\n") for name in names]
    figure = Figure(figsize=(10, 4.2))
    panels = figure.subplots(1, 2, sharey=True, sharex=True)
    for axes, kind in zip(panels, ("running", "recalibrated"), strict=True):
        for number, variant in enumerate(study.variants):
            values = [decomposition.concordance(kind, variant, name) for name in names]
            means = [float(np.mean(seeds)) for seeds in values]
            reach = [student(list(seeds)).high - mean for seeds, mean in zip(values, means, strict=True)]
            places = np.arange(len(names)) + (number - 1) * 0.2
            axes.errorbar(means, places, xerr=reach, fmt="o", color=f"C{number}", capsize=2, label=spelled(variant))
        blocks = [decomposition.of_blocks(name) for name in names]
        axes.plot(blocks, range(len(names)), "D", color=theme().ink, ms=5, label="block count, no training")
        axes.set(title=f"{kind} statistics", xlabel="concordance with known accuracies")
        axes.set_yticks(range(len(names)), wrapped, fontsize=8)
    panels[0].invert_yaxis()
    title = f"mean of {len(study.seeds('skip'))} seeds, bars: 95% interval over seeds"
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, title=title, loc="outside lower center", ncols=4)
    return figure


def main() -> None:
    decomposition = Decomposition(Study())
    rows = decomposition.rows()
    write(results("stabilizer") / "decomposition.csv", rows)
    text = tables(rows)
    (results("stabilizer") / "decomposition.md").write_text(text)
    save(draw(decomposition), figures() / "stabilizer_pairs.png")
    print(text)


if __name__ == "__main__":
    main()
