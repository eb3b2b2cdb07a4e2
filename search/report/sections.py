"""What a page shows of each run. The sentences are in texts.html.j2."""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure as Plot

from scarlet_models.inspection.plotting import Image, render
from scarlet_models.search.retraining.export import LATENCY
from scarlet_models.search.scoring.figures import draw_ranking
from scarlet_models.search.scoring.ranking import WORTH, Estimate
from scarlet_models.terminal import short

from . import figures
from .context import Context
from .runs import Run


class Figure(NamedTuple):
    """An image with the stem of its PNG's name and a caption. A wide one gets a row, and scrolls."""

    name: str
    image: Image
    caption: str
    wide: bool = False


class Listing(NamedTuple):
    """A table. A column whose heading starts with ">" is right-aligned, as in `terminal.table`."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


class Section(NamedTuple):
    """A part of the page."""

    title: str
    source: str
    text: str = ""
    figures: Sequence[Figure] = ()
    listings: Sequence[Listing] = ()


def amount(value: float | None, name: str = "") -> str:
    """A figure of a network as people write it; empty if it is not known."""
    if value is None:
        return ""
    if name in ("macs", "params"):
        return short(int(value))
    return f"{value:.2f} ms" if name == "latency" else f"{value:.2f}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


TEMPLATES = Environment(
    autoescape=True,
    loader=PackageLoader("scarlet_models.search.report", ""),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters["amount"] = amount
TEMPLATES.filters["estimate"] = lambda found: str(Estimate(**found))
TEMPLATES.filters["data_uri"] = lambda image: f"data:image/png;base64,{_base64(image)}"
TEMPLATES.filters["sha256"] = lambda text: _base64(hashlib.sha256(text.encode()).digest())


def say(what: str, *facts: Any) -> Markup:
    """Sentences of the page, by the name of their macro in texts.html.j2."""
    text: Markup = getattr(TEMPLATES.get_template("texts.html.j2").module, what)(*facts)
    return text


def draw(run: Run, what: str, caption: str, plot: Callable[..., Plot], *data: Any, wide: bool = False) -> Figure:
    """A figure of a run, light and dark."""
    name = "_".join([*Path(run.label).parts, what])
    return Figure(name, render(plot, *data), " ".join(caption.split()), wide)


def _curves(run: Run, step: str, **plots: tuple[str, str, Mapping[str, str]]) -> list[Figure]:
    """Caption, title and columns with their labels, by what is plotted; none as long as no step is done."""
    table, axes = run.table("metrics.csv"), {"loss": "cross-entropy (nats)", "top1": "top-1 (%)"}
    if not len(table.get(step, ())):
        return []
    return [
        draw(run, what, caption, figures.curves, table, step, title, axes[what], columns)
        for what, (caption, title, columns) in plots.items()
    ]


def supernet(run: Run, _: Context) -> Section:
    """The section of a run of train."""
    table = run.table("metrics.csv")
    text = say("supernet", run.json("supernet.json"), len(table.get("step", ())))
    top1 = {"top1": "training"} | ({"holdout_top1": "held out"} if "holdout_top1" in table else {})
    loss = (say("supernet_loss"), "Loss of the paths", {"loss": "training"})
    drawn = _curves(run, "step", loss=loss, top1=(say("supernet_top1", len(top1) > 1), "Top-1 of the paths", top1))
    return Section("The supernet", run.label, text, drawn)


def ranking(run: Run, _: Context) -> Section:
    """The section of the rankings in a folder."""
    text, drawn, rows = Markup(), [], []
    for path in sorted(run.path.glob("rank_*.csv")):
        report, table = run.json(f"{path.stem}.json"), run.table(path.name)
        if report is None:  # it is written after the CSV
            continue
        text += say("ranking", report)
        data = [table[key] for key in ("predicted", "known", "blocks")]
        caption, title = say("ranking_figure", report), say("tau", report)
        drawn.append(draw(run, path.stem, caption, draw_ranking, *data, report["batch_norm"], title))
        for row in report["top_k"]:
            rows.append([f"{report['batch_norm']}, top {row['k']}", *(amount(row[key]) for key in WORTH)])
    return Section("Ranking", run.label, text, drawn, [Listing(("supernet's best", *WORTH.values()), rows)])


def latency(run: Run, _: Context) -> Section:
    """The section of a latency table."""
    table = run.json("table.json")
    checked, text = table["validation"], say("latency", table)
    caption = say("latency_figure", checked)
    drawn = [draw(run, "latency", caption, figures.latency_check, checked)] if checked else []
    return Section("Latency", run.label, text, drawn)


def training(run: Run, _: Context) -> Section:
    """The section of a run of retrain."""
    epochs = len(run.table("metrics.csv").get("epoch", ()))
    text = say("training", run.config(), epochs, run.measured().get("holdout_top1"), run.json("final.json"))
    top1 = {"train_top1": "training", "holdout_top1": "held out", "ema_holdout_top1": "held out, moving average"}
    loss = ("Mean loss of the training images by epoch.", "Training loss", {"train_loss": "training"})
    drawn = _curves(run, "epoch", loss=loss, top1=(say("training_top1"), "Top-1", top1))
    return Section("Training", run.label, text, drawn)


def export(run: Run, _: Context) -> Section:
    """The section of an exported network."""
    files = [(path.name, f"{short(path.stat().st_size)}B") for path in sorted(run.path.iterdir()) if path.is_file()]
    listing = Listing(("file", ">size"), files)
    return Section("Export", run.label, say("export", run.path, run.json(LATENCY)), listings=[listing])


def trained(run: Run, context: Context) -> Section:
    """The section of a run of run: the networks that it picked and trained."""
    content = run.json("networks.json")
    rows = [_trained_row(network, run, context) for network in content["networks"]]
    columns = ["network", ">MACs", ">params", ">supernet's top-1 %", ">held-out top-1 %", ">test top-1 %", "genotype"]
    title = "The networks side by side" if len(rows) > 1 else "The picked network"
    return Section(title, run.label, say("trained", content), listings=[Listing(columns, rows)])


def _trained_row(network: Mapping[str, Any], run: Run, context: Context) -> list[str]:
    folder = (run.path / network["stage"]).resolve()
    own = next((other for other in context.of("retrain") if other.path.resolve() == folder), None)
    found = {**network, **(own.measured() if own else {})}
    figures = [amount(found.get(key), key) for key in ("macs", "params", "accuracy", "holdout_top1", "test_top1")]
    within = "" if network["role"] == "picked" else " within the same limits"
    return [network["role"] + within, *figures, network["genotype"]]
