"""How well a trained supernet ranks networks of known accuracy: Kendall's tau with its interval, and a scatter plot.

Scores the paths of a random sample of the known networks (the seed fixes it; identities stand at the end of their
stage) on held-out images. Reports Kendall's tau-b with its 95% bootstrap interval, beside predictors that need no
supernet (number of blocks, MACs, parameters, and the combination of them that ranks best), over all pairs of networks
and within bands of about equal MACs; then tau and Spearman's correlation among networks of equal depth, and the known
accuracy of the networks of highest score.

Writes rank_running or rank_recalibrated (.csv, .json, .png). Scores go to evaluations.jsonl in groups of 64: no path is
scored twice. If interrupted, run the same command again; it repeats one group at most.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from scarlet_models.search.scoring.options import RankOptions as Options
from scarlet_models.terminal import console, output, table

if TYPE_CHECKING:
    from scarlet_models.search.scoring.rank import Ranking

EXAMPLE = """  scarlet-search rank runs/macro --known nas-bench-macro_cifar10.json --data-dir cifar10
  scarlet-search rank runs/macro --known known.csv --data-dir cifar10 --networks 0 --batch-norm running
  scarlet-search rank runs/macro --known known.csv --data-dir cifar10 --anchors ten.csv"""


def main(options: Options) -> None:
    from scarlet_models.search.scoring.rank import rank_networks

    ranking = rank_networks(options)
    file = ranking.save()
    output(ranking.report(), options.json, lambda _: show(ranking, file))


def show(ranking: Ranking, file: Path) -> None:
    from scarlet_models.search.scoring.ranking import FEWEST

    shown = table("networks", ">number", ">Kendall's tau [95%]", ">Spearman [95%]")
    shown.add_row("all", str(len(ranking.networks)), str(ranking.tau), str(ranking.spearman))
    for group in ranking.by_blocks:
        shown.add_row(f"{group.blocks} blocks", str(group.networks), str(group.kendall_tau), str(group.spearman))
    worth = table("supernet's best", ">best of them", ">regret", ">their mean", ">regret of the mean")
    for top in ranking.top:
        figures = (top.best, top.regret, top.mean, top.mean_regret)
        worth.add_row(f"top {top.k}", *(f"{figure:.2f}" for figure in figures))
    out = console()
    out.print(_predictors(ranking))
    notes = [ranking.anchors.summary()] if ranking.anchors else []
    out.print("\n".join(["", *ranking.baselines.verdict(), *notes, ""]))
    out.print(shown)
    if len(ranking.networks) < FEWEST:
        out.print(f"{len(ranking.networks)} networks are too few for an interval: it takes {FEWEST}")
    out.print()
    out.print(worth)
    out.print(f"\nwritten to {file}, .json and .png")


def _predictors(ranking: Ranking) -> Table:
    baselines = ranking.baselines
    columns = [">Kendall's tau [95%]", ">Δ to best label-free"]
    if baselines.bands > 1:
        columns += [f">within {baselines.bands} bands of MACs", ">Δ to best label-free"]
    shown = table("predictor", *columns)
    for row in baselines.predictors:
        cells = [f"{row.tau}", f"{row.difference:+}", f"{row.within}", f"{row.difference_within:+}"]
        shown.add_row(row.name, *cells[: len(columns)])
    return shown
