"""Search for networks with a trained supernet's scores: NSGA-II, beside searches that it should beat.

The rivals are random search and random search stratified by MACs, with as many networks each, and a rule that needs no
training: for each of 20 budgets the deepest network and, among those, the largest. Their networks are scored alike.

Each generation is scored in one pass over held-out images, and no path is scored twice: evaluations.jsonl serves
searches with other limits and objectives too. If interrupted, run the same command with --resume; it ends with the same
result. Another search in the same folder keeps evaluations.jsonl and replaces the rest: generations/ (populations and
fronts), metrics.csv, search.json with the front, front.png and hypervolume.png.

With --known and no supernet, the scores are the known accuracies. Runs as one process, or as several under torchrun,
which share the networks.
"""

from typing import Any

from rich.table import Table

from scarlet_models.search.evolution.options import EvolveOptions as Options
from scarlet_models.terminal import console, output, short, table

EXAMPLE = """  scarlet-search evolve runs/supernet --data-dir images --max-macs 300M
  scarlet-search evolve --config runs/evolve/config.yaml --resume
  scarlet-search evolve runs/supernet --data-dir images --objectives "[accuracy max 0.5, latency min 0.5]" \\
    --latency-table runs/latency --max-latency 15ms --out runs/evolve_latency
  scarlet-search evolve runs/supernet --data-dir images --population 20 --generations 5 --surrogate 240
  scarlet-search evolve runs/supernet --data-dir images --anchors ten_trained_networks.csv
  scarlet-search evolve --known nas-bench-macro_cifar10.json --space nas_bench_macro --population 20
  torchrun --nproc-per-node 8 -m scarlet_models.search evolve runs/supernet --data-dir imagenet"""

SHOWN = 20  # networks of the front that are printed


def main(options: Options) -> None:
    from scarlet_models.search.evolution.search import run_search

    if search := run_search(options):
        output(search.report, options.json, show)
        if not options.json:
            if search.scores.anchors:
                print(search.scores.anchors.summary())
            print(f"written to {options.out}/search.json, front.png and hypervolume.png")


def show(report: dict[str, Any]) -> None:
    from scarlet_models.search.evolution.rivals import compare_searches

    out, front = console(), report["front"]
    out.print(_table(front))
    if len(front) > SHOWN:
        out.print(f"{SHOWN} of the front's {len(front)} networks; all are in search.json")
    if not front:
        out.print("no scored network meets the limits")
    columns, rows = compare_searches(report)
    out.print()
    out.print(table(*columns, rows=rows))


def _table(front: list[dict[str, Any]]) -> Table:
    count = min(len(front), SHOWN)
    rows = [front[round(i * (len(front) - 1) / max(count - 1, 1))] for i in range(count)]
    more = {"score": ("raw score", "{:.2f}"), "latency": ("latency", "{:.2f} ms")}
    more |= {"true_accuracy": ("true accuracy", "{:.2f}")}
    known = [key for key in more if any(key in record for record in front)]
    shown = table(">accuracy", ">MACs", ">params", *(f">{more[key][0]}" for key in known), "genotype")
    for record in rows:
        cells = [more[key][1].format(record[key]) if key in record else "-" for key in known]
        costs = (short(record["macs"]), short(record["params"]))
        shown.add_row(f"{record['accuracy']:.2f}", *costs, *cells, record["genotype"])
    return shown
