"""What a page shows of an evolutionary search: its fronts, its rivals, and the networks on the last front."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from scarlet_models.search.evolution.figures import Mark, draw_fronts, draw_hypervolume
from scarlet_models.search.evolution.rivals import LABELS, compare_searches
from scarlet_models.space.released import GENOTYPES
from scarlet_models.space.space import Genotype, SearchSpace

from .context import Context, Setting
from .figures import choice_frequency
from .runs import Run
from .sections import Figure, Listing, Section, amount, draw, say

DRAWN = 50  # generations that are drawn, at most

Records = list[dict[str, Any]]


def search(run: Run, context: Context) -> Section:
    """The section of a run of evolve."""
    found, front, setting = run.json("search.json") or {}, run.front(), context.settings[run]
    picked = context.picked(run) if front else None
    scored = run.generation(-1)["evaluations"] if run.generations() else 0
    ranks = run.table("metrics.csv").get("surrogate_kendall", np.empty(0))
    screened = float(np.nanmean(ranks)) if np.isfinite(ranks).any() else None
    text = say("search", run.config(), found, len(run.generations()), scored, screened)
    drawn = list(_figures(run, found, front, setting, picked)) if front else []
    listings = [_listing(front, setting, context, picked)] if front else []
    if found:
        listings.append(Listing(*compare_searches(found)))
    return Section("The search", run.label, text, drawn, listings)


def _figures(
    run: Run, found: Mapping[str, Any], front: Records, setting: Setting | None, picked: Mapping[str, Any] | None
) -> Iterator[Figure]:
    sides = {
        label: front if key == "evolution" else (found.get(key) or {}).get("front") for key, label in LABELS.items()
    }
    fronts = {label: records for label, records in sides.items() if records}
    count, marks = len(run.generations()), _marks(found, setting)
    drawn = np.unique(np.linspace(0, count - 1, min(count, DRAWN)).round().astype(int)).tolist()
    asked = {number + 1: run.generation(number)["asked"] for number in drawn}
    for cost in ("macs", "latency"):
        if cost in front[0]:
            caption = say("fronts", len(drawn), count, bool(picked), bool(marks) and cost == "macs")
            yield draw(run, f"front_{cost}", caption, draw_fronts, asked, fronts, marks, cost, picked)
    curves = {label: (found.get(key) or {}).get("hypervolume", ()) for key, label in LABELS.items()}
    table = run.table("metrics.csv")
    own = np.stack([table["evaluations"], table["hypervolume"]], axis=1)
    yield draw(run, "hypervolume", say("volume"), draw_hypervolume, curves | {LABELS["evolution"]: own})
    if setting:
        yield _choices(run, front, setting.space)


def _choices(run: Run, front: Records, space: SearchSpace) -> Figure:
    allowed = np.array([[choice in layer.choices for choice in range(len(space.choices))] for layer in space.layers])
    chosen = np.array([Genotype.parse(record["genotype"], space).choices for record in front])
    data = (chosen, allowed, [str(choice) for choice in space.choices])
    return draw(run, "choices", say("choices", len(front)), choice_frequency, *data, wide=len(space.layers) > 7)


def _marks(found: Mapping[str, Any], setting: Setting | None) -> list[Mark]:
    """The released networks, if the search is in their space, with the accuracy of those that it scored."""
    if setting is None or setting.space != SearchSpace.load("scarlet"):
        return []
    scored = found.get("released", {})
    return [Mark(name, setting.cost(text).macs, scored.get(name)) for name, text in GENOTYPES.items()]


def _listing(front: Records, setting: Setting | None, context: Context, picked: Mapping[str, Any] | None) -> Listing:
    """The front, with the picked network where a rival of the search found it."""
    records: list[Mapping[str, Any]] = list(front)
    if picked and picked["genotype"] not in {record["genotype"] for record in front}:
        records.insert(0, picked)
    headings = {"accuracy": ">accuracy %", "macs": ">MACs", "params": ">params", "latency": ">latency"}
    headings["true_accuracy"] = ">known accuracy %"
    known = [key for key in headings if any(key in record for record in records)]
    rows = []
    for record in records:
        mark = " (trained)" if setting and setting.key(record["genotype"]) in context.trained else ""
        if picked and record["genotype"] == picked["genotype"]:
            mark = " (picked)" if record is not picked else f" (picked; found by {picked['found_by']})"
        rows.append([*(amount(record.get(key), key) for key in known), record["genotype"] + mark])
    return Listing([*(headings[key] for key in known), "genotype"], rows)
