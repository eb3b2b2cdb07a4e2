"""The search beside its rivals, as rows for terminals and pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LABELS = {  # by key in search.json
    "evolution": "the search",
    "random": "random search",
    "stratified": "random search, stratified by MACs",
    "training_free": "deepest, then largest (no training)",
}
RIVALS = tuple(LABELS)[1:]


def compare_searches(report: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Columns (">" for numbers) and rows that set a search beside its rivals, from what search.json holds.

    Where accuracies are known, the last columns are those of `Regret.compare`.
    """
    columns = ["networks chosen by", ">scored", ">hypervolume"]
    regrets = report.get("regret")
    if regrets:
        columns += [">true: best below best known", ">front below, mean", ">share of best hypervolume"]
    rows = []
    for name, label in LABELS.items():
        side = report if name == "evolution" else report.get(name)
        if side:
            volume = side["hypervolume"][-1][1] if side["hypervolume"] else 0.0
            cells = [label, f"{side['evaluations']:,}", f"{volume:.4f}"]
            if regrets:
                regret = regrets.get(name) or {}
                known = (("best", ".2f"), ("front", ".2f"), ("hypervolume", ".3f"))
                cells += [format(regret[key], form) if key in regret else "-" for key, form in known]
            rows.append(cells)
    return columns, rows
