"""What a report says of each run: supernet, ranking, latency table, training and export."""

from __future__ import annotations

from scarlet_models.search.retraining.export import LATENCY
from scarlet_models.search.scoring.ranking import Estimate
from scarlet_models.terminal import short

from . import figures
from .context import Context
from .parts import Figure, Listing, Section
from .runs import Run, readable
from .search_section import search_section
from .trained import holdout_top1, trained_section


def section_of(run: Run, context: Context) -> Section:
    """What there is to say of a run among all of them."""
    makers = {
        "train": _supernet,
        "rank": _ranking,
        "latency": _latency,
        "evolve": search_section,
        "run": trained_section,
        "retrain": _training,
        "export": _export,
    }
    with readable(run.path, f"run of {run.kind}"):
        return makers[run.kind](run, context)


def _supernet(run: Run, _: Context) -> Section:
    table, info = run.table("metrics.csv"), run.json("supernet.json")
    steps = len(table.get("step", ()))
    text = f"In progress, or stopped: {steps:,} steps so far."
    if info:
        stabilizer = "with plain skips" if info["stabilizer"] == "skip" else "with stabilizers in place of skips"
        sampling = "strictly fair steps" if info["sampling"] == "fair" else "batches of uniformly drawn paths"
        text = (
            f"A supernet of space {info['space']['name']}, {stabilizer}, trained for {info['steps']:,} {sampling} of "
            f"paths on images of {info['image_size']} px. {info['holdout']:.0%} of the training split are held out."
        )
    if not steps:
        return Section("The supernet", run.label, [text])
    loss = "Mean cross-entropy over the paths of a step; the strong line is a running mean."
    top1 = "Mean top-1 over the paths of a step; the band is their standard deviation."
    if "holdout_top1" in table:
        top1 += (
            " Held out: a fixed fair step of paths on images that training never sees, by batch "
            "statistics; bars are deviations."
        )
    drawn = [
        Figure.drawn(f"{run.slug}_loss", figures.supernet_loss(table), loss),
        Figure.drawn(f"{run.slug}_top1", figures.supernet_top1(table), top1),
    ]
    return Section("The supernet", run.label, [text], drawn)


def _ranking(run: Run, _: Context) -> Section:
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
        caption = (
            f"Known accuracy of {report['networks']:,} networks against that of their paths in the supernet, {kind} "
            "batch norm. Colour: blocks that are not identities."
        )
        drawn.append(Figure.drawn(f"{run.slug}_{path.stem}", figures.ranking(run.table(path.name), report), caption))
        for row in report["top_k"]:
            numbers = [f"{row[key]:.2f}" for key in ("best", "regret", "mean", "mean_regret")]
            rows.append([f"{kind}, top {row['k']}", *numbers])
    columns = ("supernet's best", ">best of them", ">regret", ">their mean", ">regret of the mean")
    return Section("Ranking", run.label, text, drawn, Listing(columns, rows))


def _latency(run: Run, _: Context) -> Section:
    table = run.json("table.json")
    facts, said = table["facts"], table["validation"]
    text = (
        f"Each block of space {table['space']['name']} was timed with {facts['runtime']} {facts['dtype']} on "
        f"{facts['device']} ({facts['processor']}), {facts['threads'] or 'its own number of'} thread(s), "
        f"{facts['image_size']} px, "
        f"batches of {facts['batch_size']}. Stem and head take {table['base']:.3f} ms."
    )
    if not said:
        return Section("Latency", run.label, [text, "The sums were not compared with whole networks."])
    check = (
        f"The table's sums against {said['networks']} whole networks: Spearman {Estimate(**said['spearman'])}; MACs "
        f"alone give {Estimate(**said['spearman_of_macs'])}. Mean error {said['mape']:.1f}%, "
        f"{said['mape_scaled']:.1f}% after a scale of {said['scale']:.3f}."
    )
    caption = f"{said['networks']} whole networks, spread over the range of MACs and measured in turns."
    figure = Figure.drawn(f"{run.slug}_latency", figures.latency_check(said), caption)
    return Section("Latency", run.label, [text, check], [figure])


def _training(run: Run, _: Context) -> Section:
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
    if not epochs:
        return Section("Training", run.label, text)
    loss = figures.epoch_curves(table, "Training loss", {"train_loss": "training"})
    labels = {"train_top1": "training", "holdout_top1": "held out", "ema_holdout_top1": "held out, moving average"}
    top1 = figures.epoch_curves(table, "Top-1 (%)", labels)
    drawn = [
        Figure.drawn(f"{run.slug}_loss", loss, "Mean loss of the training images by epoch."),
        Figure.drawn(f"{run.slug}_top1", top1, "Top-1 by epoch; training images are augmented."),
    ]
    return Section("Training", run.label, text, drawn)


def _export(run: Run, _: Context) -> Section:
    files = [(path.name, f"{short(path.stat().st_size)}B") for path in sorted(run.path.iterdir()) if path.is_file()]
    code = f'import scarlet_models, timm\ntimm.create_model("local-dir:{run.path}", pretrained=True)'
    text = []
    if said := run.json(LATENCY):
        took = "was not timed, as the table is of another device"
        if said["measured"] is not None:
            how = f"{said['runtime']} {said['dtype']}, median of {said['rounds']} rounds"
            took = f"takes {said['measured']:.2f} ms ({how})"
        text.append(f"Latency: the table predicts {said['predicted']:.2f} ms; the network {took}.")
    return Section("Export", run.label, text, listing=Listing(("file", ">size"), files), code=code)
