"""The top of a report: what was searched, on which images, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scarlet_models.inspection.drawing import TIMES
from scarlet_models.search.pipeline.run import pick
from scarlet_models.space.cost import Cost
from scarlet_models.space.space import SearchSpace
from scarlet_models.terminal import short

from .runs import Run, find_setting, network_of
from .sections import holdout_top1

_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Tile:
    """A figure with what it is, and a remark."""

    label: str
    value: str
    remark: str = ""


@dataclass(frozen=True)
class Summary:
    """Tiles, and the genotype of the network that was picked; empty where there is none yet."""

    tiles: Sequence[Tile]
    genotype: str


def summarize(runs: Sequence[Run]) -> Summary:
    """The summary of the first run of each kind: its network is the one that was retrained, else the front's best."""
    first = {run.kind: run for run in reversed(runs)}
    search = first.get("evolve")
    setting, front = (find_setting(search, runs), search.front()) if search else (None, [])
    network = next((found for run in runs if (found := network_of(run))), None)
    best = pick(front, "accuracy") if front else None
    if network and setting:
        key = network[1].key(network[0])
        best = next((record for record in front if setting.key(record["genotype"]) == key), None)
    info = (first["train"].json("supernet.json") or {}) if "train" in first else {}
    spaces = [SearchSpace.load(info["space"])] if info else []
    spaces += [known.space for known in (network and network[1], setting) if known]
    tiles = [*_space(spaces), *_data(first, info), *_search(search), *_accuracy(first.get("retrain"), best)]
    if network:
        genotype, own = network
        return Summary([*tiles, _cost(own.cost(genotype), f", {own.image_size} px")], str(genotype))
    if best:
        return Summary([*tiles, _cost(Cost(best["macs"], best["params"]))], best["genotype"])
    return Summary(tiles, "")


def _space(spaces: Sequence[SearchSpace]) -> Iterator[Tile]:
    for space in spaces[:1]:
        yield Tile("Space", space.name, f"{len(space.layers)} layers, {_count(space.distinct)} distinct networks")


def _count(number: int) -> str:
    if number < 1e6:
        return f"{number:,}"
    mantissa, exponent = f"{number:.1e}".split("e+")
    return f"{mantissa} {TIMES} 10{exponent.translate(_RAISED)}"


def _data(first: dict[str, Run], info: dict[str, Any]) -> Iterator[Tile]:
    options = next((first[kind].config() for kind in ("train", "retrain", "evolve") if kind in first), {})
    name = options.get("dataset") or Path(options.get("data_dir") or "").name
    if not name:
        return
    remarks = [f"{len(info['classes'])} classes"] if info else []
    remarks += [f"{options['holdout']:.0%} of split {options['train_split']} held out"] if "holdout" in options else []
    yield Tile("Images", name, ", ".join(remarks))


def _search(run: Run | None) -> Iterator[Tile]:
    generations = run.generations() if run else []
    if run and generations:
        found = run.json("search.json") or {}
        remark = f"{len(generations)} generations"
        if found.get("random"):
            own, chance = (side["hypervolume"][-1][1] for side in (found, found["random"]))
            remark += f"; hypervolume {own:.3f}, random {chance:.3f}"
        yield Tile("Networks scored", f"{generations[-1]['evaluations']:,}", remark)


def _accuracy(run: Run | None, scored: dict[str, Any] | None) -> Iterator[Tile]:
    """Top-1 of the best known kind: of test images, of held-out ones, by the search's scores; the others below it."""
    figures = {}
    if run:
        final, held = run.json("final.json"), holdout_top1(run)
        figures = {"test": final["top1"]} if final else {}
        figures |= {} if held is None else {"held out": held}
    figures |= {"by the search's scores": scored["accuracy"]} if scored else {}
    if figures:
        (kind, value), *others = figures.items()
        yield Tile(f"Top-1, {kind}", f"{value:.2f}%", "; ".join(f"{key} {other:.2f}%" for key, other in others))


def _cost(cost: Cost, more: str = "") -> Tile:
    return Tile("MACs", short(cost.macs), f"{short(cost.params)} params{more}")
