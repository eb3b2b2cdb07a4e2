"""Time each block of a space on this device, and check that their sums predict whole networks.

Writes table.json for `evolve --latency-table`: milliseconds of every choice of every layer at its real input shape, and
of stem and head, for a batch of images. Then times whole networks, spread over the range of MACs, and compares them
with the table's sums.

Run nothing else meanwhile. A space of 19 layers at 224 px on one thread takes some minutes, with onnxruntime some ten,
with executorch an hour or more, as each block is compiled.

For a phone or board, --emit writes the blocks as programs, with a script that times them there; --from reads the times
that come back. (extras: export for onnxruntime, executorch for executorch)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scarlet_models.parsing import next_line
from scarlet_models.search.latency.options import LatencyOptions as Options
from scarlet_models.terminal import console, output
from scarlet_models.terminal import table as columns

if TYPE_CHECKING:
    from scarlet_models.search.latency.table import LatencyTable

EXAMPLE = """  scarlet-search latency --threads 1 --out runs/latency
  scarlet-search latency nas_bench_macro --device cuda --batch-size 64
  scarlet-search latency --runtime onnxruntime --dtype int8 --image-size 96 --validate 20
  scarlet-search latency --runtime executorch --dtype int8 --validate 10 --emit phone
  scarlet-search latency --from phone/times.csv --out runs/latency_phone"""


def main(options: Options) -> None:
    from scarlet_models.search.latency.bench import measure
    from scarlet_models.search.latency.elsewhere import emit, read_table
    from scarlet_models.search.latency.table import NAME

    if options.emit:
        folder = emit(options)
        print(f"programs, manifest.json and measure.sh are in {folder}\nnext: read {folder / 'README.md'}")
        return
    table = read_table(Path(options.from_)) if options.from_ else measure(options)
    path = Path(options.out) / NAME
    table.save(path)
    content = {"table": str(path), "facts": table.facts, "validation": table.validation}
    output(content, options.json, lambda _: _show(table, path))


def _show(table: LatencyTable, path: Path) -> None:
    import numpy as np

    from scarlet_models.search.scoring.ranking import Estimate

    facts, out = table.facts, console()
    out.print(
        f"[bold]{table.space.name}[/]  {facts['image_size']} px, batch of {facts['batch_size']}, {facts['runtime']} "
        f"{facts['dtype']} on {facts['device']} ({facts['processor']}), {facts['threads'] or 'its own'} thread(s)\n"
    )
    rows = [["" if np.isnan(value) else f"{value:.3f}" for value in times] for times in table.blocks]
    names = [f">{choice}" for choice in table.space.choices]
    out.print(columns(">layer", *names, rows=[(str(layer), *row) for layer, row in enumerate(rows)]))
    out.print(f"\nstem and head {table.base:.3f}; all in milliseconds, medians of {facts['measurements_of_a_block']}")
    out.print(f"spread of one block's measurements: {100 * facts['spread']:.1f}% (interquartile range over median)")
    for what, network, milliseconds in zip(("fastest", "slowest"), table.ends, table.range, strict=True):
        out.print(f"{what} network by the table: {milliseconds:.2f} ms  {network}")
    if said := table.validation:
        ranks, macs = Estimate(**said["spearman"]), Estimate(**said["spearman_of_macs"])
        took = [row["measured"] for row in said["measured"]]
        out.print(f"\n{said['networks']} whole networks of {min(took):.2f} to {max(took):.2f} ms against the sums:")
        out.print(f"Spearman {ranks}; of MACs alone {macs}", markup=False)
        out.print(f"mean error {said['mape']:.1f}%; {said['mape_scaled']:.1f}% after a scale of {said['scale']:.3f}")
    use = ["--latency-table", str(path.parent), "--max-latency", f"{sum(table.range) / 2:.3g}ms"]
    print(f"\nwritten to {path}")
    print(next_line("scarlet-search", "evolve", "SUPERNET", "--data-dir", "IMAGES", *use))
