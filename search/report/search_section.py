"""What a page shows of an evolutionary search: its fronts, its rivals, and the networks that came of it."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from scarlet_models.inspection.drawing import draw as draw_network
from scarlet_models.inspection.layout import layout
from scarlet_models.inspection.plotting import render
from scarlet_models.models import scarlet_net
from scarlet_models.search.evolution.figures import Mark, draw_fronts, draw_hypervolume
from scarlet_models.search.evolution.rivals import LABELS, compare_searches
from scarlet_models.search.pipeline.networks import pick
from scarlet_models.space.released import GENOTYPES
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.terminal import short

from .context import Context, Setting
from .figures import choice_frequency
from .runs import Run
from .sections import Figure, Listing, Section, amount, draw, say

DRAWN = 50  # generations that are drawn, at most

Record = Mapping[str, Any]


def search(run: Run, context: Context) -> Section:
    """The section of a run of evolve."""
    found, front = run.json("search.json") or {}, run.front()
    scored = run.generation(-1)["evaluations"] if run.generations() else 0
    ranks = run.table("metrics.csv").get("surrogate_kendall", np.empty(0))
    screened = float(np.nanmean(ranks)) if np.isfinite(ranks).any() else None
    text = say("search", run.config(), found, len(run.generations()), scored, screened)
    listings = [_listing(run, context)] if front else []
    if found:
        listings.append(Listing(*compare_searches(found)))
    return Section("The search", run.label, text, list(_figures(run, found, context)) if front else [], listings)


def _figures(run: Run, found: Record, context: Context) -> Iterator[Figure]:
    front, setting, picked = run.front(), context.settings[run], context.picked(run)
    sides = {LABELS[key]: (found.get(key) or {}) for key in LABELS if key != "evolution"}
    fronts = {label: side["front"] for label, side in sides.items() if side.get("front")}
    count, marks = len(run.generations()), _marks(found, setting)
    drawn = np.unique(np.linspace(0, count - 1, min(count, DRAWN)).round().astype(int)).tolist()
    asked = {number + 1: run.generation(number)["asked"] for number in drawn}
    images = found.get("images", 0)
    for cost in ("macs", "latency"):
        if cost in front[0]:
            caption = say("fronts", len(drawn), count, bool(picked), bool(marks) and cost == "macs", images)
            data = (asked, {LABELS["evolution"]: front} | fronts, marks, cost, picked, images)
            yield draw(run, f"front_{cost}", caption, draw_fronts, *data)
    table = run.table("metrics.csv")
    own = {LABELS["evolution"]: np.stack([table["evaluations"], table["hypervolume"]], axis=1)}
    curves = own | {label: side.get("hypervolume", ()) for label, side in sides.items()}
    yield draw(run, "hypervolume", say("volume"), draw_hypervolume, curves)
    if setting:
        space, allowed = setting.space, setting.space.cost_table().macs >= 0
        chosen = np.array([Genotype.parse(record["genotype"], space).choices for record in front])
        names, caption = [str(choice) for choice in space.choices], say("choices", len(front))
        yield draw(run, "choices", caption, choice_frequency, chosen, allowed, names, wide=len(space.layers) > 7)


def _marks(found: Mapping[str, Any], setting: Setting | None) -> list[Mark]:
    """The released networks, if the search is in their space, with the accuracy of those that it scored."""
    if setting is None or setting.space != SearchSpace.load("scarlet"):
        return []
    scored = found.get("released", {})
    return [Mark(name, setting.cost(text).macs, scored.get(name)) for name, text in GENOTYPES.items()]


def _listing(run: Run, context: Context) -> Listing:
    """The front, with the picked network where a rival of the search found it."""
    records: list[Record] = list(run.front())
    setting, picked = context.settings[run], context.picked(run)
    if picked and picked["genotype"] not in {record["genotype"] for record in records}:
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


def drawings(context: Context) -> Section | None:
    """Drawings of what was trained and exported, and of the ends and the knee of each front, each once."""
    drawn: dict[str, Figure] = {}
    for title, caption, genotype, setting in _chosen(context):
        if (key := setting.key(genotype)) in drawn:
            continue
        with torch.device("meta"):
            model = scarlet_net(genotype=genotype, space=setting.space, num_classes=setting.num_classes)
        cost = setting.cost(genotype)
        facts = [f"{setting.image_size} px", f"{short(cost.macs)} MACs", f"{short(cost.params)} params", str(genotype)]
        blocks = layout(model, setting.image_size, genotype)
        image = render(draw_network, blocks, title, "   ·   ".join(facts))
        drawn[key] = Figure(f"network_{len(drawn) + 1}", image, caption, wide=True)
    return Section("The networks", "", "", list(drawn.values())) if drawn else None


def _chosen(context: Context) -> Iterator[tuple[str, str, Genotype, Setting]]:
    """Title, caption, genotype and setting of each drawing; a network may come twice."""
    for run, (genotype, setting) in context.networks.items():
        title = "Trained network" if run.kind == "retrain" else "Exported network"
        yield title, f"From {run.path}.", genotype, setting
    for run, found in context.settings.items():
        front = run.front()
        if not front or not found:
            continue
        ends = {
            "Most accurate of the front": pick(front, "accuracy"),
            "Knee of the front": pick(front, "knee"),
            "Fewest MACs of the front": min(front, key=lambda record: record["macs"]),
        }
        for title, record in ends.items():
            caption = f"From {run.path}: top-1 {record['accuracy']:.2f}% by the search's scores."
            yield title, caption, Genotype.parse(record["genotype"], found.space), found
