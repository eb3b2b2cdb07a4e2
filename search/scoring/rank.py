"""How well a trained supernet ranks networks of known accuracy: Kendall's tau with its interval, and a scatter plot.

Scores the paths of a fixed random sample of the distinct networks in a table of known accuracies, identities at the
end of their stage, on images that were held out in training. Reports Kendall's tau-b and Spearman's correlation with
bootstrap intervals, over all networks and within groups of equal depth, and what picking the supernet's best networks
is worth. Writes rank_running or rank_calibrated (.csv, .json, .png); scores go to evaluations.jsonl in groups of 64, so
nothing is measured twice and a killed command repeats one group at most.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scarlet_models.errors import UserError
from scarlet_models.files import write_atomically, write_json, write_text
from scarlet_models.options import option
from scarlet_models.search.supernet.file import load_supernet
from scarlet_models.space.space import Genotype
from scarlet_models.training.distributed import World
from scarlet_models.training.progress import log_to_stderr

from .heldout import HeldOut, ScoreOptions, folder_of, one_process
from .known_accuracies import load_known_accuracies
from .ranking import Estimate, bootstrap, kendall, spearman, top_k
from .score_cache import ScoreCache
from .scores import path_evaluator

EXAMPLE = """  scarlet-search rank runs/macro --known nas-bench-macro_cifar10.json --data-dir cifar10
  scarlet-search rank runs/macro --known known.csv --data-dir cifar10 --networks 0 --batch-norm running"""


SMALLEST_GROUP = 10  # networks of one depth below which their order says too little to report


@dataclass(kw_only=True)
class Options(ScoreOptions):
    """Options of rank.

    Args:
        supernet: The folder of a run of train, its supernet.safetensors, or the name of one that ships.
        known: Known accuracies: NAS-Bench-Macro's JSON, or a CSV with the columns genotype and accuracy.
        networks: How many of the known networks to score; 0 for all.
        seed: Which of them, and of the bootstrap.
        bootstrap: Resamples behind each interval; 0 for no intervals.
        top: How many of the supernet's best networks to look at.
        out: Folder for the results; empty for the supernet's own.
        json: Print the result as one JSON object.
    """

    supernet: str = option(positional=True)
    known: str
    networks: int = option(500, least=0)
    seed: int = option(0, least=0, most=2**63 - 1)
    bootstrap: int = option(1000, least=0)
    top: list[int] = field(default_factory=lambda: [1, 5, 10])
    out: str = option("", free=True)
    json: bool = option(False, once=True)


@dataclass(frozen=True)
class Row:
    """A network: its depth in blocks that are not identities, what is known and what the supernet says, in percent."""

    genotype: Genotype
    blocks: int
    known: float
    predicted: float


def main(options: Options) -> None:
    """Score, compare and write.

    Raises:
        UserError: a bad option, or an unreadable supernet, table or data set.
    """
    log_to_stderr()
    _check(options)
    with one_process(options) as device:
        rows = score(options, device)
    report = {**asdict(options), **summarize(rows, options)}
    out = Path(options.out or folder_of(options.supernet))
    write_results(out / f"rank_{options.batch_norm}", rows, report)
    if options.json:
        print(json.dumps(report))
    else:
        _show(report, out)


def _check(options: Options) -> None:
    if any(k < 1 for k in options.top):
        raise UserError(f"--top: {options.top} holds a number below 1")


def score(options: Options, device: torch.device) -> list[Row]:
    """The chosen networks with the top-1 of their paths, those on file included, ordered by genotype."""
    net, info = load_supernet(options.supernet)
    known_accuracies = load_known_accuracies(options.known, net.space)
    networks = choose_networks(list(known_accuracies), options.networks, options.seed)
    held = HeldOut(options, info)
    score_cache = ScoreCache(
        Path(options.out or folder_of(options.supernet)) / "evaluations.jsonl", held.conditions(options)
    )
    if any(score_cache.get(genotype) is None for genotype in networks):
        path_evaluator(net, held, options, World(0, 1, device), score_cache).evaluate(networks)
    return [Row(g, count_blocks(g), known_accuracies[g], score_cache.known[str(g)].top1) for g in networks]


def choose_networks(known: list[Genotype], count: int, seed: int) -> list[Genotype]:
    """A fixed random choice of them, or all, ordered by genotype. A larger choice contains the smaller ones."""
    ordered = sorted(known, key=lambda genotype: genotype.choices)
    chosen = np.random.default_rng(seed).permutation(len(ordered))
    return [ordered[i] for i in sorted(chosen[:count] if count else chosen)]


def count_blocks(genotype: Genotype) -> int:
    """Layers that are not identities, projecting ones included among the identities."""
    return sum(choice != genotype.space.identity for choice in genotype)


def summarize(rows: list[Row], options: Options) -> dict[str, Any]:
    """The statistics of the comparison, as plain data."""
    known, predicted = np.array([row.known for row in rows]), np.array([row.predicted for row in rows])
    blocks = np.array([row.blocks for row in rows])

    def estimates(where: np.ndarray, least: int = 2) -> dict[str, Any]:
        where = where & (where.sum() >= least)  # nobody where they are too few, and then no estimate
        arguments = (predicted[where], known[where], options.bootstrap, options.seed)
        return {
            "kendall_tau": asdict(bootstrap(kendall, *arguments)),
            "spearman": asdict(bootstrap(spearman, *arguments)),
        }

    return {
        "networks": len(rows),
        **estimates(np.ones(len(rows), bool)),
        "by_blocks": [
            {"blocks": int(n), "networks": int((blocks == n).sum()), **estimates(blocks == n, SMALLEST_GROUP)}
            for n in np.unique(blocks)
        ],
        "best_known": float(known.max()),
        "top_k": [asdict(top_k(predicted, known, k)) for k in options.top],
    }


def write_results(stem: Path, rows: list[Row], report: dict[str, Any]) -> None:
    """Writes the networks as CSV, the statistics as JSON and the scatter plot as PNG.

    Raises:
        UserError: the folder cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["genotype", "blocks", "macs", "params", "known", "predicted"])
    for row in rows:
        cost = row.genotype.cost()
        writer.writerow([row.genotype, row.blocks, cost.macs, cost.params, row.known, row.predicted])
    write_text(stem.with_suffix(".csv"), text.getvalue())
    write_json(stem.with_suffix(".json"), report)
    write_atomically(stem.with_suffix(".png"), partial(draw(rows, report).savefig, format="png", dpi=150))


def draw(rows: list[Row], report: dict[str, Any]) -> Any:
    """The scatter plot, a matplotlib figure: what the supernet says against what is known, depth as colour."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.add_subplot()
    depths = sorted({row.blocks for row in rows})
    colors = colormaps["viridis"](np.linspace(0, 0.95, len(depths)))
    for depth, color in zip(depths, colors, strict=True):
        group = [row for row in rows if row.blocks == depth]
        x, y = [row.predicted for row in group], [row.known for row in group]
        axes.scatter(x, y, s=14, color=color, alpha=0.8, linewidths=0, label=str(depth))
    axes.set_xlabel(f"top-1 of the supernet's path, {report['batch_norm']} batch norm (%)")
    axes.set_ylabel("known accuracy (%)")
    tau = Estimate(**report["kendall_tau"])
    axes.set_title(f"{len(rows)} networks, Kendall's tau {tau}", fontsize=11)
    axes.grid(alpha=0.3)
    axes.legend(title="blocks", fontsize=8, title_fontsize=8, loc="best", markerscale=1.5)
    return figure


def _show(report: dict[str, Any], out: Path) -> None:
    from scarlet_models.terminal import console, table

    shown = table("networks", ">number", ">Kendall's tau [95%]", ">Spearman [95%]")
    groups = [("all", report), *((f"{group['blocks']} blocks", group) for group in report["by_blocks"])]
    for name, group in groups:
        estimates = [str(Estimate(**group[key])) for key in ("kendall_tau", "spearman")]
        shown.add_row(name, str(group["networks"]), *estimates)
    worth = table("supernet's best", ">best of them", ">regret", ">their mean", ">regret of the mean")
    for row in report["top_k"]:
        figures = (f"{row[key]:.2f}" for key in ("best", "regret", "mean", "mean_regret"))
        worth.add_row(f"top {row['k']}", *figures)
    printer = console()
    for part in (shown, "", worth, f"\nwritten to {out}/rank_{report['batch_norm']}.csv, .json and .png"):
        printer.print(part)
