"""Trains the same supernet with and without stabilizers, over seeds, and measures what becomes of it.

Each cell, a variant and a seed, is a folder OUT/VARIANT_sSEED: train, then rank with calibrated and with running batch
norm, then similarity, each the command of that name in a process with one thread; what they say goes to ablate.log in
the folder. All cells train for the same number of fair steps; those of one seed see the same images, distorted alike,
in the same order. Started again, it skips what is done and goes on where a cell was stopped. A cell that fails does not
stop the others. studies/stabilizer.py draws tables and figures from the folder.

Variants: skip (plain skips); torch, identity, orthogonal, identity_noise (stabilizers by their initialisation); bn,
relu (1x1 convolutions with batch norm or ReLU behind them); uniform and skip_uniform (torch and skip with paths drawn
at random instead of strictly fairly, as many in a fair step).
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.table import Table

from scarlet_models.errors import UserError
from scarlet_models.options import option
from scarlet_models.search.scoring.known_accuracies import load_known_accuracies
from scarlet_models.space.space import SearchSpace
from scarlet_models.terminal import console, table

from .cells import BATCH_NORMS, STAGES, Cell, make_cells

EXAMPLE = """  scarlet-search ablate --data-dir cifar10 --known nas-bench-macro_cifar10.json --jobs 2
  scarlet-search ablate --data-dir cifar10 --known known.json.gz --variants "[skip,torch,bn]" --seeds "[0]" --plan"""

LOG = "ablate.log"


@dataclass(kw_only=True)
class Options:
    """Options of ablate.

    Args:
        data_dir: The images, as train and rank take them.
        dataset: timm's name of a data set; empty for a folder or tar.
        known: Known accuracies, as rank takes them.
        recipe: YAML file or recipe of train that all cells share.
        variants: What to train, see above.
        seeds: Of initial weights, order of the images and paths.
        steps: Fair steps to train each supernet for.
        networks: How many of the known networks to rank; 0 for all.
        images: How many of the held-out images to rank them on; 0 for all.
        jobs: Cells at once, each one thread.
        workers: Processes that decode images for each cell; 0 does it in its own.
        out: Folder of the cells.
        plan: Only show the cells and what is done.
        json: Print what is done as JSON.
    """

    data_dir: str = option("", free=True)
    dataset: str = ""
    known: str
    recipe: str = "supernet_nas_bench_macro"
    variants: list[str] = field(default_factory=lambda: ["skip", "torch", "identity"])
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    steps: int = option(2500, least=0)
    networks: int = option(500, least=0)
    images: int = option(0, least=0)
    jobs: int = 1
    workers: int = option(1, least=0, free=True)
    out: str = option("runs/ablation", free=True)
    plan: bool = False
    json: bool = option(False, once=True)


def main(options: Options) -> None:
    """Run what is not done, and show what is.

    Raises:
        UserError: a bad option; after all cells, that some failed.
    """
    study = Study(options)
    failures = {} if options.plan else study.run()
    if options.json:
        print(json.dumps([study.state(cell) for cell in study.cells]))
    else:
        console().print(study.table())
    if failures:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
        raise UserError(f"{len(failures)} of {len(study.cells)} cells failed, run it again to go on. {reasons}")


class Study:
    """The cells, and the commands that each needs.

    Raises:
        UserError: an option is bad, of train's too, or the table of known accuracies is.
    """

    def __init__(self, options: Options) -> None:
        for name, least in (("steps", 1), ("networks", 0), ("images", 0), ("jobs", 1), ("workers", 0)):
            if getattr(options, name) < least:
                raise UserError(f"--{name}: {getattr(options, name)} is below {least}")
        self.options = options
        self.cells = make_cells(Path(options.out), options.variants, options.seeds)
        known = len(load_known_accuracies(options.known, self._space()))
        self.networks = min(options.networks or known, known)
        self.now: dict[str, str] = {}  # cell -> what it is doing
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._stopped = threading.Event()

    def _space(self) -> SearchSpace:
        """The recipe's. Reading train's options here finds mistakes in them before anything runs."""
        from scarlet_models.search.cli import PROGRAM
        from scarlet_models.search.commands import train

        parsed = [PROGRAM.parse("train", train, self._commands(cell)["train"][1:]) for cell in self.cells]
        return SearchSpace.load(parsed[0].space)

    def _commands(self, cell: Cell) -> dict[str, list[str]]:
        options = self.options
        data = ["--threads", "1", "--workers", str(options.workers)]
        data += [f"--data-dir={options.data_dir}"] if options.data_dir else []
        data += [f"--dataset={options.dataset}"] if options.dataset else []
        rank = ["rank", str(cell.folder), "--known", options.known, "--networks", str(options.networks)]
        rank += ["--images", str(options.images), *data]
        train = ["train", "--config", options.recipe, *data, "--steps", str(options.steps), *cell.train_options()]
        return {
            "train": [*train, "--resume"],
            **{kind: [*rank, "--batch-norm", kind] for kind in BATCH_NORMS},
            "similarity": ["similarity", str(cell.folder), *data],
        }

    def state(self, cell: Cell) -> dict[str, Any]:
        """A cell's name, its fair steps, and for each stage whether it is done."""
        done = {
            "train": cell.trained() == self.options.steps,
            **{kind: cell.ranked(kind) == self.networks for kind in BATCH_NORMS},
            "similarity": cell.compared(),
        }
        return {"cell": cell.name, "fair_steps": cell.fair_steps(), **done}

    def run(self) -> dict[str, str]:
        """All stages that are not done, some cells at once. Returns the cells that failed, and why."""
        failures: dict[str, str] = {}
        shown = Live(get_renderable=self.table, console=console(), refresh_per_second=1, transient=True)
        with ThreadPoolExecutor(self.options.jobs) as pool, shown if sys.stdout.isatty() else nullcontext():
            try:
                futures = {pool.submit(self._run_cell, cell): cell for cell in self.cells}
                for future in as_completed(futures):
                    if reason := future.result():
                        failures[futures[future].name] = reason
            except BaseException:
                self._stop()
                pool.shutdown(cancel_futures=True)
                raise
        return failures

    def _run_cell(self, cell: Cell) -> str:
        """The stages that it lacks, up to one that fails. Returns why that failed, else nothing."""
        commands = self._commands(cell)
        try:
            with _lock(cell.folder) as lock:
                for stage in STAGES:
                    if self.state(cell)[stage]:
                        continue
                    self.now[cell.name] = stage
                    print(f"{cell.name}: {stage}", file=sys.stderr)
                    if status := self._call(commands[stage], cell.folder / LOG, lock):
                        self.now[cell.name] = f"{stage} failed"
                        return f"{stage} ended with {status}: {_last_line(cell.folder / LOG)}"
        except (OSError, UserError) as error:
            self.now[cell.name] = "failed"
            return str(error)
        self.now.pop(cell.name, None)
        return ""

    def _call(self, arguments: list[str], log: Path, lock: int) -> int:
        """Runs a subcommand. Returns its exit status."""
        command = [sys.executable, "-m", "scarlet_models.search", *arguments]
        with log.open("ab") as file:
            file.write(f"$ {shlex.join(command)}\n".encode())
            file.flush()
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            process = subprocess.Popen(command, stdout=file, stderr=file, env=environment, pass_fds=[lock])
            self._processes.add(process)
            if self._stopped.is_set():
                process.terminate()
            try:
                return process.wait()
            finally:
                self._processes.discard(process)

    def _stop(self) -> None:
        """Ends the processes that run; what they have done is kept."""
        self._stopped.set()
        for process in list(self._processes):
            process.terminate()

    def table(self) -> Table:
        """What is done of each cell."""
        shown = table("cell", ">fair steps", *STAGES, "now")
        for cell in self.cells:
            state = self.state(cell)
            marks = ["done" if state[stage] else "-" for stage in STAGES]
            fair_steps = f"{state['fair_steps']}/{self.options.steps}"
            shown.add_row(cell.name, fair_steps, *marks, self.now.get(cell.name, ""))
        return shown


@contextmanager
def _lock(folder: Path) -> Iterator[int]:
    """A lock of a cell, as a file descriptor. Processes that inherit it hold it too, should this one be killed.

    Raises:
        UserError: another process holds it.
    """
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    except BlockingIOError:
        raise UserError(f"another process works in {folder}: wait for it or end it") from None
    finally:
        os.close(descriptor)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
