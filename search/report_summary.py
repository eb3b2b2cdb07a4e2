"""The top of a report: what was searched, on which pictures, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scarlet_models.space import SearchSpace
from scarlet_models.terminal import short

from .report_runs import Run, Setting, find_setting, network_of
from .report_sections import holdout_top1
from .run import pick


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
    """The summary of the first run of each kind."""
    first = {run.kind: run for run in reversed(runs)}
    setting = find_setting(first["evolve"], runs) if "evolve" in first else None
    trained = [found for kind in ("retrain", "export") if kind in first and (found := network_of(first[kind]))]
    front = first["evolve"].front() if "evolve" in first else []
    best = pick(front, "accuracy") if front else None
    info = (first["train"].json("supernet.json") or {}) if "train" in first else {}
    spaces = [SearchSpace.load(info["space"])] if info else []
    spaces += [known.space for known in (setting, *(pair[1] for pair in trained)) if known]
    tiles = [*_space(spaces), *_data(first, info)]
    if "evolve" in first:
        tiles += _search(first["evolve"])
    tiles += _accuracy(first, best)
    if trained:
        genotype, own = trained[0]
        return Summary([*tiles, _cost(own, str(genotype))], str(genotype))
    if best:
        cost = Tile("MACs", short(best["macs"]), f"{short(best['params'])} params")
        return Summary([*tiles, cost], best["genotype"])
    return Summary(tiles, "")


def _space(spaces: Sequence[SearchSpace]) -> Iterator[Tile]:
    if spaces:
        space = spaces[0]
        yield Tile("Space", space.name, f"{len(space.layers)} layers, {_count(space.distinct)} distinct networks")


def _count(number: int) -> str:
    return f"{number:,}" if number < 1e6 else f"{number:.1e}".replace("e+", " · 10^")


def _data(first: dict[str, Run], info: dict[str, Any]) -> Iterator[Tile]:
    options = next((first[kind].config() for kind in ("train", "retrain", "evolve") if kind in first), {})
    name = options.get("dataset") or Path(options.get("data_dir") or "").name
    if not name:
        return
    remarks = [f"{len(info['classes'])} classes"] if info else []
    remarks += [f"{options['holdout']:.0%} of split {options['train_split']} held out"] if "holdout" in options else []
    yield Tile("Pictures", name, ", ".join(remarks))


def _search(run: Run) -> Iterator[Tile]:
    generations, found = run.generations(), run.json("search.json") or {}
    if generations:
        remark = f"{len(generations)} generations"
        if found.get("random"):
            own, chance = (
                side["hypervolume"][-1][1] for side in ({"hypervolume": found["hypervolume"]}, found["random"])
            )
            remark += f"; hypervolume {own:.3f}, random {chance:.3f}"
        yield Tile("Networks scored", f"{generations[-1]['evaluations']:,}", remark)


def _accuracy(first: dict[str, Run], best: dict[str, Any] | None) -> Iterator[Tile]:
    inherited = f"{best['accuracy']:.2f}% the best with inherited weights" if best else ""
    if "retrain" in first:
        held, final = holdout_top1(first["retrain"]), first["retrain"].json("final.json")
        remarks = [f"{held:.2f}% of the held-out pictures"] if final and held is not None else []
        if final:
            yield Tile("Top-1, test", f"{final['top1']:.2f}%", "; ".join([*remarks, *filter(None, [inherited])]))
            return
        if held is not None:
            yield Tile("Top-1, held out", f"{held:.2f}%", inherited)
            return
    if best:
        yield Tile("Top-1, held out", f"{best['accuracy']:.2f}%", "with inherited weights, the best of the front")


def _cost(setting: Setting, genotype: str) -> Tile:
    cost = setting.cost(genotype)
    return Tile("MACs", short(cost.macs), f"{short(cost.params)} params, {setting.image_size} px")
