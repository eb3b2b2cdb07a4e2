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
    from scarlet_models.search.scoring.ranking import FEWEST, WORTH

    groups = [("all", len(ranking.networks), ranking.tau, ranking.spearman)]
    groups += [(f"{one.blocks} blocks", one.networks, one.kendall_tau, one.spearman) for one in ranking.by_blocks]
    columns = ("networks", ">number", ">Kendall's tau [95%]", ">Spearman [95%]")
    shown = table(*columns, rows=[map(str, group) for group in groups])
    tops = [(f"top {top.k}", *(f"{getattr(top, name):.2f}" for name in WORTH)) for top in ranking.top]
    worth = table("supernet's best", *WORTH.values(), rows=tops)
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
