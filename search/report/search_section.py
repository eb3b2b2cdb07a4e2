"""What a report says of an evolutionary search: its figures in words, its fronts, and the networks on the last one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from scarlet_models.inspection.drawing import TIMES
from scarlet_models.space.released import GENOTYPES
from scarlet_models.space.space import Genotype, SearchSpace

from . import figures
from .context import Context, Setting
from .fronts import Fronts, Mark
from .parts import Figure, Listing, Section, amount
from .runs import Run

DRAWN = 50  # generations whose fronts are drawn, at most

Records = list[dict[str, Any]]


def search_section(run: Run, context: Context) -> Section:
    """The section of a run of evolve."""
    found, front, setting, picked = run.json("search.json") or {}, run.front(), context.settings[run], None
    if front:
        picked = context.picked(run)
    return Section(
        "The search",
        run.label,
        list(_text(run, found)),
        list(_figures(run, found, front, setting, picked)) if front else [],
        _listing(front, setting, context, picked) if front else None,
    )


def _text(run: Run, found: Mapping[str, Any]) -> Iterator[str]:
    options, generations = run.config(), len(run.generations())
    if not generations:
        yield "No generation is done yet."
        return
    if not found:
        yield f"In progress, or stopped: generation {generations} of {options.get('generations', '?')}."
    yield (
        f"NSGA-II scored {run.generation(-1)['evaluations']:,} distinct networks in {generations} generations. "
        f"Objectives: {', '.join(options.get('objectives', [])) or 'not on record'} (the numbers weigh the crowding "
        "distance)."
    )
    ranks = run.table("metrics.csv").get("surrogate_kendall", np.empty(0))
    if np.isfinite(ranks).any():
        yield (
            f"A regressor on the scores screened {options['surrogate']} networks for each generation; Kendall's tau of "
            f"its predictions to what was then measured is {np.nanmean(ranks):.2f} on average."
        )
    if limits := [_limit(name, *ends) for name, ends in found.get("limits", {}).items()]:
        yield f"Limits: {', '.join(limits)}."
    if found.get("random"):
        own, chance = found["hypervolume"][-1][1], found["random"]["hypervolume"][-1][1]
        yield f"Hypervolume {own:.4f}, of as many random networks within the same limits {chance:.4f}."
    for name, regret in (found.get("regret") or {}).items():
        if regret:
            yield (
                f"By known accuracies, {'the search' if name == 'evolution' else 'random search'}: its most accurate "
                f"network is {regret['best']:.2f} points below the best, its front {regret['front']:.2f} on average; "
                f"hypervolume {regret['hypervolume']:.3f} of the best possible."
            )


def _limit(name: str, low: float | None, high: float | None) -> str:
    ends = [amount(name, end) for end in (low, high)]
    what = {"macs": "MACs"}.get(name, name)
    if all(ends):
        return f"{what} from {ends[0]} to {ends[1]}"
    return f"{what} at least {ends[0]}" if ends[0] else f"{what} at most {ends[1]}"


def _figures(
    run: Run, found: Mapping[str, Any], front: Records, setting: Setting | None, picked: Mapping[str, Any] | None
) -> Iterator[Figure]:
    chance, marks = found.get("random") or {}, _marks(found, setting)
    count = len(run.generations())
    drawn = np.unique(np.linspace(0, count - 1, min(count, DRAWN)).round().astype(int)).tolist()
    history = {number + 1: run.generation(number)["front"] for number in drawn}
    fronts = Fronts(history, front, chance.get("front", ()), marks, picked)
    for cost in ("macs", "latency"):
        if cost in front[0]:
            caption = "The most accurate networks for their cost: of each generation, of the whole search"
            caption += ", and of as many random networks" if chance else ""
            caption += f" ({len(drawn)} of {count} generations)" if len(drawn) < count else ""
            caption += ". Small points are on the front for another objective."
            caption += " The ring is the network that was picked." if picked else ""
            if marks and cost == "macs":
                caption += (
                    " A, B and C are the released networks: a star where one was scored, else a line at its MACs."
                )
            yield Figure.drawn(f"{run.slug}_front_{cost}", fronts.draw(cost), caption)
    volume = (
        "How much of the objectives' range, cut by the limits, the front covers, by the number of networks scored: "
        "1 would be the best of everything."
    )
    draw = figures.hypervolume(run.table("metrics.csv"), chance.get("hypervolume", ()))
    yield Figure.drawn(f"{run.slug}_hypervolume", draw, volume)
    if setting:
        yield _choices(run, front, setting.space)


def _choices(run: Run, front: Records, space: SearchSpace) -> Figure:
    allowed = np.array([[choice in layer.choices for choice in range(len(space.choices))] for layer in space.layers])
    chosen = np.array([Genotype.parse(record["genotype"], space).choices for record in front])
    draw = figures.choice_frequency(chosen, allowed, [str(choice) for choice in space.choices])
    caption = (
        f"What the {len(front)} networks of the front choose in each layer, in percent; {TIMES}: not allowed there. "
        "Identities of a stage are counted in its last layers, as their order makes no difference."
    )
    return Figure.drawn(f"{run.slug}_choices", draw, caption, wide=len(space.layers) > 7)


def _marks(found: Mapping[str, Any], setting: Setting | None) -> list[Mark]:
    """The released networks, if the search is in their space, with the accuracy of those that it scored."""
    if setting is None or setting.space != SearchSpace.load("scarlet"):
        return []
    scored = found.get("released", {})
    return [Mark(name, setting.cost(text).macs, scored.get(name)) for name, text in GENOTYPES.items()]


def _listing(front: Records, setting: Setting | None, context: Context, picked: Mapping[str, Any] | None) -> Listing:
    """The front, with the picked network where random search found it."""
    records: list[Mapping[str, Any]] = list(front)
    if picked and picked["genotype"] not in {record["genotype"] for record in front}:
        records.insert(0, picked)
    known = [key for key in ("latency", "true_accuracy") if any(key in record for record in records)]
    headings = {"latency": ">latency", "true_accuracy": ">known accuracy %"}
    rows = []
    for record in records:
        numbers = [amount(key, record.get(key)) for key in ("accuracy", "macs", "params", *known)]
        mark = " (trained)" if setting and setting.key(record["genotype"]) in context.trained else ""
        if picked and record["genotype"] == picked["genotype"]:
            mark = " (picked)" if record is not picked else f" (picked; found by {picked['found_by']})"
        rows.append([*numbers, record["genotype"] + mark])
    return Listing([">accuracy %", ">MACs", ">params", *(headings[key] for key in known), "genotype"], rows)
