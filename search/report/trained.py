"""The networks that a search picked and trained, side by side."""

from __future__ import annotations

from typing import Any

import numpy as np

from scarlet_models.search.pipeline.networks import NAME

from .context import Context
from .parts import Listing, Section, amount
from .runs import Run

_RULES = {
    "accuracy": "The most accurate network of all that were scored was picked",
    "knee": "The network at the knee of the front of all that were scored was picked",
    "given": "The network was given",
}
_ROLES = {
    "picked": "picked",
    "random": "random, within the same limits",
    "largest": "largest within the same limits",
}


def trained_section(run: Run, context: Context) -> Section:
    """The section of a run of run."""
    content = run.json(NAME)
    networks = content["networks"]
    found_by = networks[0].get("found_by")
    text = f"{_RULES[content['rule']]}{f'; {found_by} found it' if found_by else ''}."
    if len(networks) > 1:
        text += " The other networks were trained with the same recipe, to show what the search is worth."
    rows = [_row(network, run, context) for network in networks]
    columns = ["network", ">MACs", ">params", ">supernet's top-1 %", ">held-out top-1 %", ">test top-1 %", "genotype"]
    title = "The networks side by side" if len(networks) > 1 else "The picked network"
    return Section(title, run.label, [text], listing=Listing(columns, rows))


def _row(network: dict[str, Any], run: Run, context: Context) -> list[str]:
    folder = (run.path / network["stage"]).resolve()
    training = next((other for other in context.of("retrain") if other.path.resolve() == folder), None)
    final = (training.json("final.json") if training else None) or {}
    figures = {**network, "held out": holdout_top1(training) if training else None, "test": final.get("top1")}
    keys = ("macs", "params", "accuracy", "held out", "test")
    return [_ROLES[network["role"]], *(amount(key, figures.get(key)) for key in keys), network["genotype"]]


def holdout_top1(run: Run) -> float | None:
    """Top-1 of a trained network after the last epoch: of its weights or of their moving average, the better one."""
    table = run.table("metrics.csv")
    last = [
        values[-1]
        for key, values in table.items()
        if key.endswith("holdout_top1") and len(values) and np.isfinite(values[-1])
    ]
    return float(max(last)) if last else None
