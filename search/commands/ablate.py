"""Train the same supernet with and without stabilizers, over seeds, and measure the results.

Each cell (one variant with one seed) is a folder OUT/VARIANT_sSEED. A cell runs train, then rank with recalibrated and
with running batch norm, then similarity, each in a process with one thread; their output goes to ablate.log in the
folder. All cells train for the same number of fair steps. Cells of one seed see the same images, augmented alike, in
the same order. If interrupted, run the same command again: it skips what is done and resumes the rest. A cell that
fails does not stop the others. studies/stabilizer.py draws tables and figures from the folder.

Variants: skip (plain skips); torch, identity, orthogonal, identity_noise (stabilizers by their initialisation); bn,
relu (1x1 convolutions with batch norm or ReLU behind them); uniform and skip_uniform (torch and skip with paths drawn
at random instead of strictly fairly, as many in a step).
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from scarlet_models.errors import UserError
from scarlet_models.files import owning
from scarlet_models.parsing import shell_line
from scarlet_models.search import cli
from scarlet_models.search.ablation.options import AblationOptions as Options
from scarlet_models.signals import StopSignals
from scarlet_models.terminal import console, output, table

if TYPE_CHECKING:
    from rich.table import Table

    from scarlet_models.search.ablation.study import Runner

EXAMPLE = """  scarlet-search ablate --data-dir cifar10 --known nas-bench-macro_cifar10.json --jobs 2
  scarlet-search ablate --data-dir cifar10 --known known.json.gz --variants "[skip,torch,bn]" --seeds "[0]" --plan
  scarlet-search ablate --data-dir cifar10 --known known.csv --train.space own.yaml --train.inherit runs/donor \\
    --train.lr 0.05 --steps 500 --variants "[skip,identity]" --seeds "[0,1,2,3,4]\""""


def main(options: Options) -> None:
    from rich.live import Live

    from scarlet_models.search.ablation.study import Runner, Study

    runner = Runner(Study(options, cli.PROGRAM))
    failures: dict[str, str] = {}
    if not options.plan:
        live = Live(get_renderable=lambda: _table(runner), console=console(), refresh_per_second=1, transient=True)
        line, shown = shell_line("scarlet-search ablate", options), live if sys.stdout.isatty() else nullcontext()
        with owning(Path(options.out)), StopSignals(line), shown:
            failures = runner.run()
    states = [runner.study.state(cell) for cell in runner.study.cells]
    output(states, options.json, lambda _: console().print(_table(runner)))
    if failures:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
        count = len(runner.study.cells)
        raise UserError(f"{len(failures)} of {count} cells failed, run it again to go on. {reasons}")


def _table(runner: Runner) -> Table:
    from scarlet_models.search.ablation.study import STAGES

    shown = table("cell", ">fair steps", *STAGES, "now")
    for cell in runner.study.cells:
        state = runner.study.state(cell)
        marks = ["done" if state[stage] else "-" for stage in STAGES]
        fair_steps = f"{state['fair_steps']}/{runner.study.options.steps}"
        shown.add_row(cell.name, fair_steps, *marks, runner.now.get(cell.name, ""))
    return shown
