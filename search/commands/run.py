"""Run the whole search on your own images: train a supernet, evolve networks, pick one, train it, export and report.

Each stage is one of the other commands; its options are in a file in the run's folder. All options are kept in
config.yaml there. If interrupted, run the same command again: it skips what is done. It may then have other limits:
networks that are scored are not scored again. Options of a stage follow its name: --train.epochs 20. With --processes
N, training and search run as N processes of torchrun. To spread them over several machines, run the printed commands by
hand.

Limits on costs hold for the space's own image size and classes, or --evolve.input_size and --evolve.num_classes. With a
limit on latency, all blocks are timed on this device before training, unless --evolve.latency_table gives their times.

The network that is picked is the most accurate one that the search or its random search has scored (--pick accuracy;
fewer MACs win a tie), or the one at the knee of their fronts (--pick knee): farthest above the line from the cheapest
to the most accurate, both axes scaled to that range.
"""

import shlex
from datetime import timedelta
from typing import Any

from scarlet_models.files import owning
from scarlet_models.parsing import next_line
from scarlet_models.search import cli
from scarlet_models.search.pipeline.options import SearchOptions as Options
from scarlet_models.signals import StopSignals
from scarlet_models.terminal import console, output, short, table

EXAMPLE = """  scarlet-search run --config imagenette --data-dir imagenette --max-macs 300M --plan
  scarlet-search run --config imagenette --data-dir imagenette --max-macs 300M --out runs/small
  scarlet-search run --config digits --data-dir images --max-latency 15ms --train.epochs 40 --out runs/quick
  scarlet-search run --config digits --data-dir images --max-macs 1M --anchors 10 --compare --out runs/worth
  scarlet-search run --config paper_imagenet --data-dir imagenet --processes 8 --out runs/paper"""

_SHOWN = 12  # scored networks that are printed, about


def main(options: Options) -> None:
    if result := carry_out(options):
        output(result, options.json, show)


def carry_out(options: Options, again: str = "") -> dict[str, Any]:
    """Print the plan, then run what is not done of it. Return the result; nothing if only the plan was wanted.

    `again` is the line that resumes it; empty for run with the options that are kept in its folder.
    """
    from scarlet_models.inspection.timing import cpu_threads
    from scarlet_models.search.pipeline.estimate import make_plan
    from scarlet_models.search.pipeline.search import WholeSearch

    with cpu_threads(options.threads):
        search = WholeSearch(options, cli.PROGRAM)
        plan = make_plan(search)
        if options.plan or not options.json:
            output(plan, options.json, _show_plan)
        if options.plan:
            return {}
        line = again or shlex.join(["scarlet-search", "run", "--config", str(search.config)])
        with owning(search.pipeline.out), StopSignals(line):
            return search.run()


def _show_plan(plan: dict[str, Any]) -> None:
    shown = table("stage", ">estimate", "what for")
    for step in plan["stages"]:
        text = "seconds" if step["seconds"] is None else _duration(step["seconds"])
        shown.add_row(step["stage"], "done" if step["done"] else text, step["why"])
    images = f"{plan['images']:,} images to learn from and {plan['held_out']:,} held out to choose by"
    print(f"space {plan['space']}, {images}; all files go to {plan['out']}\n")
    console().print(shown)
    took = _duration(plan["seconds"])
    print(f"\nin all about {took} of arithmetic, by a few timed steps; reading images may add to it")


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds))) if seconds >= 1 else "a second"


def show(result: dict[str, Any]) -> None:
    _show_scored(result)
    latency = f", {result['latency']:.2f} ms" if "latency" in result else ""
    print(f"\nnetwork    {result['genotype']}")
    print(f"           {short(result['macs'])} MACs, {short(result['params'])} params{latency}")
    shares = {
        "accuracy": "held out   {:.2f}% right by the search's scores",
        "holdout_top1": "held out   {:.2f}% right after training",
        "test_top1": "test       {:.2f}% right",
    }
    print("\n".join(text.format(result[key]) for key, text in shares.items() if key in result))
    if result["compared"]:
        _show_compared(result["compared"])
    source = f"local-dir:{result['exported']}"
    print(f"report     {result['report']}\nmodel      timm.create_model({source!r}, pretrained=True)")
    print(next_line("scarlet-models", "classify", "IMAGES", "--model", source))


def _show_scored(result: dict[str, Any]) -> None:
    best: list[dict[str, Any]] = []
    for record in sorted(result["scored"], key=lambda record: (-record["accuracy"], record["macs"])):
        if not best or record["macs"] < best[-1]["macs"]:
            best.append(record)
    if not best:
        return
    step = -(-len(best) // _SHOWN)
    shown = table(">accuracy", ">MACs", ">params", "found by", "genotype", "")
    for number, record in enumerate(best):
        picked = record["genotype"] == result["genotype"]
        if number % step == 0 or picked:
            figures = (f"{record['accuracy']:.2f}", short(record["macs"]), short(record["params"]))
            shown.add_row(*figures, record["found_by"], record["genotype"], "<- picked" if picked else "")
    print()
    console().print(shown)
    if step > 1:
        print(f"{shown.row_count} of {len(best)} networks that no scored network beats in accuracy and MACs")


def _show_compared(compared: list[dict[str, Any]]) -> None:
    shown = table("trained", ">MACs", ">params", ">held out", ">test", "genotype")
    for row in compared:
        shares = [f"{row[key]:.2f}%" if key in row else "-" for key in ("holdout_top1", "test_top1")]
        shown.add_row(row["role"], short(row["macs"]), short(row["params"]), *shares, row["genotype"])
    print()
    console().print(shown)
    print()
