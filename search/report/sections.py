"""What a report says of each run: sentences, figures and tables, for the page to lay out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from scarlet_models.inspection import drawing
from scarlet_models.inspection.layout import layout
from scarlet_models.models import GENOTYPES, scarlet_net
from scarlet_models.search.pipeline.run import pick
from scarlet_models.search.scoring.ranking import Estimate
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.terminal import short

from . import figures
from .figures import Draw, Image, Mark
from .runs import Run, Setting, find_setting, network_of, readable


@dataclass(frozen=True)
class Figure:
    """An image with the stem of its PNG's name and a caption. A wide one gets a row of its own."""

    name: str
    image: Image
    caption: str
    wide: bool = False

    @property
    def alt(self) -> str:
        """For who cannot see it."""
        return self.caption or self.name


@dataclass(frozen=True)
class Listing:
    """A table. A column whose heading starts with ">" is right-aligned, as in `terminal.table`."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    source: str
    text: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    listing: Listing | None = None
    code: str = ""


def section_of(run: Run, runs: Sequence[Run]) -> Section:
    """What there is to say of a run among all of them."""
    makers = {
        "train": _training,
        "rank": _ranking,
        "latency": _timing,
        "evolve": _search,
        "retrain": _retraining,
        "export": _export,
    }
    with readable(run.path, f"run of {run.kind}"):
        return makers[run.kind](run, runs)


def _figure(run: Run, name: str, draw: Draw, caption: str) -> Figure:
    return Figure(f"{run.slug}_{name}", figures.render(draw), caption)


def _training(run: Run, _: Sequence[Run]) -> Section:
    table, info = run.table("metrics.csv"), run.json("supernet.json")
    steps = len(table.get("step", ()))
    text = [f"In progress, or stopped: {steps:,} steps so far."]
    if info:
        stabilizer = "with plain skips" if info["stabilizer"] == "skip" else "with stabilizers in place of skips"
        sampling = "strictly fair steps" if info["sampling"] == "fair" else "batches of uniformly drawn paths"
        text = [
            f"A supernet of space {info['space']['name']}, {stabilizer}, trained for {info['steps']:,} {sampling} of "
            f"paths on images of {info['image_size']} px. {info['holdout']:.0%} of the training split are held out."
        ]
    drawn = []
    if steps:
        loss = "Mean cross-entropy over the paths of a step; the strong line is a running mean."
        top1 = "Mean top-1 over the paths of a step, with their standard deviation as the band."
        if "holdout_top1" in table:
            top1 += (
                " Held out: a fixed fair step of paths on images that training never sees, by batch "
                "statistics; bars are deviations."
            )
        drawn = [
            _figure(run, "loss", figures.supernet_loss(table), loss),
            _figure(run, "top1", figures.supernet_top1(table), top1),
        ]
    return Section("The supernet", run.label, text, drawn)


def _ranking(run: Run, _: Sequence[Run]) -> Section:
    text, drawn, rows = [], [], []
    for path in sorted(run.path.glob("rank_*.csv")):
        report, kind = run.json(f"{path.stem}.json"), path.stem.removeprefix("rank_")
        if report is None:  # it is written after the CSV
            continue
        text.append(
            f"{report['networks']:,} networks of known accuracy, {kind} batch norm: Kendall's tau "
            f"{Estimate(**report['kendall_tau'])}, Spearman {Estimate(**report['spearman'])} "
            "(brackets: 95% bootstrap intervals)."
        )
        drawn.append(
            _figure(
                run,
                path.stem,
                figures.ranking(run.table(path.name), report),
                f"Known accuracy of {report['networks']:,} networks against that of their paths in the supernet, "
                f"{kind} batch norm. Colour: blocks that are not identities.",
            )
        )
        for row in report["top_k"]:
            numbers = [f"{row[key]:.2f}" for key in ("best", "regret", "mean", "mean_regret")]
            rows.append([f"{kind}, top {row['k']}", *numbers])
    columns = ("supernet's best", ">best of them", ">regret", ">their mean", ">regret of the mean")
    return Section("Ranking", run.label, text, drawn, Listing(columns, rows))


def _timing(run: Run, _: Sequence[Run]) -> Section:
    table = run.json("table.json")
    facts, said = table["facts"], table["validation"]
    text = [
        f"Each block of space {table['space']['name']} was timed with {facts['runtime']} on {facts['device']} "
        f"({facts['processor']}), {facts['threads'] or 'its own number of'} thread(s), {facts['image_size']} px, "
        f"batches of {facts['batch_size']}. Stem and head take {table['base']:.3f} ms."
    ]
    if not said:
        return Section("Latency", run.label, [*text, "The sums were not compared with whole networks."])
    text.append(
        f"The table's sums against {said['networks']} whole networks: Spearman {Estimate(**said['spearman'])}, where "
        f"MACs alone give {Estimate(**said['spearman_of_macs'])}; mean error {said['mape']:.1f}%, "
        f"{said['mape_scaled']:.1f}% after a scale of {said['scale']:.3f}."
    )
    caption = f"{said['networks']} whole networks, spread over the range of MACs and measured in turns."
    return Section("Latency", run.label, text, [_figure(run, "latency", figures.latency_check(said), caption)])


def _search(run: Run, runs: Sequence[Run]) -> Section:
    found, generations, front = run.json("search.json") or {}, run.generations(), run.front()
    setting = find_setting(run, runs)
    drawn = list(_search_figures(run, found, generations, front, setting)) if front else []
    retrained = {network[1].key(network[0]) for other in runs if (network := network_of(other))}
    return Section(
        "The search",
        run.label,
        list(_search_text(run, found, generations)),
        drawn,
        _front_listing(front, retrained, setting) if front else None,
    )


def _search_text(run: Run, found: Mapping[str, Any], generations: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    options = run.config()
    if not generations:
        yield "No generation is done yet."
        return
    last = generations[-1]
    if not found:
        yield f"In progress, or stopped: generation {len(generations)} of {options.get('generations', '?')}."
    yield (
        f"NSGA-II scored {last['evaluations']:,} distinct networks in {len(generations)} generations. Objectives: "
        f"{', '.join(options.get('objectives', [])) or 'not on record'} (the numbers weigh the crowding distance)."
    )
    ranks = run.table("metrics.csv").get("surrogate_kendall", np.empty(0))
    if np.isfinite(ranks).any():
        yield (
            f"A regressor on the scores screened {options['surrogate']} networks for each generation; Kendall's tau of "
            f"its predictions to what was then measured is {np.nanmean(ranks):.2f} on average."
        )
    limits = [_limit(name, *ends) for name, ends in found.get("limits", {}).items()]
    if limits:
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
    ends = [None if end is None else _amount(name, end) for end in (low, high)]
    what = {"macs": "MACs"}.get(name, name)
    if None not in ends:
        return f"{what} from {ends[0]} to {ends[1]}"
    return f"{what} at most {ends[1]}" if ends[0] is None else f"{what} at least {ends[0]}"


def _amount(name: str, value: float) -> str:
    """A figure of a network as people write it."""
    if name in ("macs", "params"):
        return short(int(value))
    return f"{value:.2f} ms" if name == "latency" else f"{value:.2f}"


def _search_figures(
    run: Run,
    found: Mapping[str, Any],
    generations: Sequence[Mapping[str, Any]],
    front: Sequence[Mapping[str, Any]],
    setting: Setting | None,
) -> Iterator[Figure]:
    chance, marks = found.get("random") or {}, _marks(generations, setting)
    for cost in ("macs", "latency"):
        if cost in front[0]:
            caption = "The most accurate networks for their cost: of each generation, of the whole search"
            caption += ", and of as many random networks" if chance else ""
            caption += ". Small points are on the front for another objective."
            if marks and cost == "macs":
                caption += (
                    " A, B and C are the released networks: a star where one was scored, else a line at its MACs."
                )
            draw = figures.fronts(generations, front, chance.get("front", ()), marks, cost)
            yield _figure(run, f"front_{cost}", draw, caption)
    volume = (
        "How much of the objectives' range, cut by the limits, the front covers, by the number of networks scored: "
        "1 would be the best of everything."
    )
    draw = figures.hypervolume(run.table("metrics.csv"), chance.get("hypervolume", ()))
    yield _figure(run, "hypervolume", draw, volume)
    if setting:
        space = setting.space
        allowed = np.array(
            [[choice in layer.choices for choice in range(len(space.choices))] for layer in space.layers]
        )
        chosen = np.array([Genotype.parse(record["genotype"], space).choices for record in front])
        draw = figures.choice_frequency(chosen, allowed, [str(choice) for choice in space.choices])
        caption = (
            f"What the {len(front)} networks of the front choose in each layer, in percent; {drawing.TIMES}: not "
            "allowed there. Identities of a stage are counted in its last layers, as their order makes no difference."
        )
        yield Figure(f"{run.slug}_choices", figures.render(draw), caption, wide=len(space.layers) > 7)


def _marks(generations: Sequence[Mapping[str, Any]], setting: Setting | None) -> list[Mark]:
    """The released networks, where the search is in their space; accuracies of those in one of its populations."""
    if setting is None or setting.space != SearchSpace.load("scarlet"):
        return []
    records = [record for row in generations for record in [*row["population"], *row["front"]]]
    scores = {record["genotype"]: record["accuracy"] for record in records}
    released = {name: Genotype.parse(text, setting.space) for name, text in GENOTYPES.items()}
    return [Mark(name, setting.cost(g).macs, scores.get(str(g.canonical()))) for name, g in released.items()]


def _front_listing(front: Sequence[Mapping[str, Any]], retrained: set[str], setting: Setting | None) -> Listing:
    known = [key for key in ("latency", "true_accuracy") if any(key in record for record in front)]
    headings = {"latency": ">latency", "true_accuracy": ">known accuracy %"}
    rows = []
    for record in front:
        numbers = [_amount(key, record[key]) for key in ("accuracy", "macs", "params")]
        more = [_amount(key, record[key]) if key in record else "" for key in known]
        mark = " (retrained)" if setting and setting.key(record["genotype"]) in retrained else ""
        rows.append([*numbers, *more, record["genotype"] + mark])
    return Listing([">accuracy %", ">MACs", ">params", *(headings[key] for key in known), "genotype"], rows)


def networks(runs: Sequence[Run]) -> Section | None:
    """Drawings of what was retrained and exported, and of the ends and the knee of each front."""
    drawn: dict[str, Figure] = {}
    for title, caption, genotype, setting in _chosen(runs):
        figure = Figure(f"network_{len(drawn) + 1}", _drawing(title, genotype, setting), caption, wide=True)
        drawn.setdefault(setting.key(genotype), figure)
    return Section("The networks", "", (), list(drawn.values())) if drawn else None


def _chosen(runs: Sequence[Run]) -> Iterator[tuple[str, str, Genotype, Setting]]:
    """Title, caption, genotype and setting of what is worth a drawing; it may come twice."""
    for run in runs:
        if found := network_of(run):
            yield f"{'Retrained' if run.kind == 'retrain' else 'Exported'} network", f"From {run.path}.", *found
    for run in runs:
        if run.kind == "evolve" and (front := run.front()) and (setting := find_setting(run, runs)):
            ends = {
                "Most accurate of the front": pick(front, "accuracy"),
                "Knee of the front": pick(front, "knee"),
                "Fewest MACs of the front": min(front, key=lambda record: record["macs"]),
            }
            for title, record in ends.items():
                caption = f"From {run.path}: top-1 {record['accuracy']:.2f}% by the search's scores."
                yield title, caption, Genotype.parse(record["genotype"], setting.space), setting


def _drawing(title: str, genotype: Genotype, setting: Setting) -> Image:
    """Of a network, on white paper only."""
    with torch.device("meta"):
        model = scarlet_net(genotype=genotype, space=setting.space, num_classes=setting.num_classes)
    cost = setting.cost(genotype)
    facts = [f"{setting.image_size} px", f"{short(cost.macs)} MACs", f"{short(cost.params)} params", str(genotype)]
    blocks = layout(model, setting.image_size, genotype)
    return Image(figures.png(drawing.draw(blocks, title, "   ·   ".join(facts))))


def _retraining(run: Run, _: Sequence[Run]) -> Section:
    table, options = run.table("metrics.csv"), run.config()
    epochs = len(table.get("epoch", ()))
    text = [f"Network {options['genotype']}: {epochs} of {options['epochs']} epochs on its own."]
    if (held := holdout_top1(run)) is not None:
        text.append(f"Top-1 {held:.2f}% of the held-out images after the last epoch.")
    if final := run.json("final.json"):
        text.append(
            f"Top-1 {final['top1']:.2f}%, top-5 {final['top5']:.2f}% of the {final['images']:,} images of split "
            f"{final['split']}, which were looked at once, at the end."
        )
    drawn = []
    if epochs:
        drawn = [
            _figure(run, "loss", figures.retraining_loss(table), "Mean loss of the training images by epoch."),
            _figure(run, "top1", figures.retraining_top1(table), "Top-1 by epoch; training images are distorted."),
        ]
    return Section("Retraining", run.label, text, drawn)


def holdout_top1(run: Run) -> float | None:
    """Of a retrained network after the last epoch: of the weights or their moving average, which does better."""
    table = run.table("metrics.csv")
    last = [values[-1] for key, values in table.items() if key.endswith("holdout_top1") and np.isfinite(values[-1])]
    return float(max(last)) if last else None


def _export(run: Run, _: Sequence[Run]) -> Section:
    files = [(path.name, f"{short(path.stat().st_size)}B") for path in sorted(run.path.iterdir()) if path.is_file()]
    code = f'import scarlet_models, timm\ntimm.create_model("local-dir:{run.path}", pretrained=True)'
    return Section("Export", run.label, listing=Listing(("file", ">size"), files), code=code)
