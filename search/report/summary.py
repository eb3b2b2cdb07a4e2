"""The top of a page: what was searched, on which images, and what came of it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scarlet_models.inspection.plotting import TIMES
from scarlet_models.search.pipeline.networks import pick
from scarlet_models.space.cost import Cost
from scarlet_models.space.space import SearchSpace
from scarlet_models.terminal import short

from .context import Context
from .runs import Run, readable

Tile = tuple[str, str, str]  # what a figure is, the figure, and a remark


def summarize(context: Context) -> tuple[list[Tile], str]:
    """Tiles about the first run of each kind, and the genotype that was trained, else the front's best, else none."""
    first = {run.kind: run for run in reversed(context.runs)}
    search = first.get("evolve")
    setting, front = (context.settings[search], search.front()) if search else (None, [])
    network = next(iter(context.networks.values()), None)
    best = ((search and context.picked(search)) or pick(front, "accuracy")) if front else None
    if network and setting and best:
        key = network[1].key(network[0])
        best = next((record for record in (best, *front) if setting.key(record["genotype"]) == key), None)
    info = (first["train"].json("supernet.json") or {}) if "train" in first else {}
    spaces = [SearchSpace.load(info["space"])] if info else []
    spaces += [known.space for known in (network and network[1], setting) if known]
    tiles = [*_data(spaces, first, info), *_search(search), *_accuracy(first.get("retrain"), best)]
    if network:
        genotype, own = network
        return [*tiles, _cost(own.cost(genotype), f", {own.image_size} px")], str(genotype)
    return ([*tiles, _cost(Cost(best["macs"], best["params"]))], best["genotype"]) if best else (tiles, "")


def _count(number: int) -> str:
    if number < 1e6:
        return f"{number:,}"
    mantissa, exponent = f"{number:.1e}".split("e+")
    raised = exponent.translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa} {TIMES} 10{raised}"


def _data(spaces: Sequence[SearchSpace], first: Mapping[str, Run], info: Mapping[str, Any]) -> Iterator[Tile]:
    for space in spaces[:1]:
        yield "Space", space.name, f"{len(space.layers)} layers, {_count(space.distinct)} distinct networks"
    for run in [first[kind] for kind in ("train", "retrain", "evolve") if kind in first][:1]:
        with readable(run):
            options = run.config()
            remarks = [f"{len(info['classes'])} classes"] if info else []
            if "holdout" in options:
                remarks.append(f"{options['holdout']:.0%} of split {options['train_split']} held out")
            if name := options.get("dataset") or Path(options.get("data_dir") or "").name:
                yield "Images", name, ", ".join(remarks)


def _search(run: Run | None) -> Iterator[Tile]:
    if run and (generations := len(run.generations())):
        found = run.json("search.json") or {}
        remark = f"{generations} generations"
        if found.get("random"):
            own, chance = (side["hypervolume"][-1][1] for side in (found, found["random"]))
            remark += f"; hypervolume {own:.3f}, random {chance:.3f}"
        yield "Networks scored", f"{run.generation(-1)['evaluations']:,}", remark


def _accuracy(run: Run | None, scored: Mapping[str, Any] | None) -> Iterator[Tile]:
    """Top-1 of the best known kind: of test images, of held-out ones, by the search's scores; the others below it."""
    found = {**(scored or {}), **(run.measured() if run else {})}
    kinds = {"test": "test_top1", "held out": "holdout_top1", "by the search's scores": "accuracy"}
    known = [(kind, f"{value:.2f}%") for kind, key in kinds.items() if (value := found.get(key)) is not None]
    if known:
        (kind, value), *others = known
        yield f"Top-1, {kind}", value, "; ".join(map(" ".join, others))


def _cost(cost: Cost, more: str = "") -> Tile:
    return "MACs", short(cost.macs), f"{short(cost.params)} params{more}"
