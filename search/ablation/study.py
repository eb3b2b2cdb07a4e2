"""A study: supernets of each variant and seed, the commands that each needs, and what runs those that are not done."""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from scarlet_models.errors import UserError
from scarlet_models.files import write_text
from scarlet_models.program import Program
from scarlet_models.search.scoring.known_accuracies import load_known_accuracies
from scarlet_models.space.space import SearchSpace

from .cells import BATCH_NORMS, STAGES, VARIANTS, Cell, make_cells
from .options import AblationOptions

LOG = "ablate.log"

_logger = logging.getLogger(__name__)


class Study:
    """The cells of a study in a folder; a UserError tells of bad options, also of train, before any run."""

    def __init__(self, options: AblationOptions, program: Program) -> None:
        self.options = options
        self.cells = make_cells(Path(options.out), options.variants, options.seeds)
        self._train = {}
        for cell in self.cells:
            own = {**VARIANTS[cell.variant], "seed": cell.seed, "out": str(cell.folder), "steps": options.steps}
            given = {"config": options.recipe, **options.train, **self._data(), **own}
            self._train[cell] = program.resolve("train", given)
        parsed = [program.build("train", values) for values in self._train.values()]
        known = load_known_accuracies(options.known, SearchSpace.load(parsed[0].space))
        self.networks = min(options.networks or len(known), len(known))

    def _data(self) -> dict[str, Any]:
        places = {name: place for name in ("data_dir", "dataset") if (place := getattr(self.options, name))}
        return {"threads": 1, "workers": self.options.workers, **places}

    def arguments(self, cell: Cell, stage: str) -> list[str]:
        """Arguments of scarlet-search for one of `STAGES`. Those of train are in a file beside the cell's folder."""
        if stage == "train":
            config = cell.folder.with_suffix(".yaml")
            write_text(config, yaml.safe_dump(self._train[cell], sort_keys=False))
            return ["train", "--config", str(config), "--resume"]
        data = [f"--{name.replace('_', '-')}={value}" for name, value in self._data().items()]
        if stage == "similarity":
            return ["similarity", str(cell.folder), *data]
        options = self.options
        rank = ["rank", str(cell.folder), "--known", options.known, "--networks", str(options.networks)]
        return [*rank, "--images", str(options.images), *data, "--batch-norm", stage]

    def state(self, cell: Cell) -> dict[str, Any]:
        """A cell's name, its fair steps, and for each stage whether it is done."""
        done = {
            "train": cell.trained() == self.options.steps,
            **{kind: cell.ranked(kind) == self.networks for kind in BATCH_NORMS},
            "similarity": cell.compared(),
        }
        return {"cell": cell.name, "fair_steps": cell.fair_steps(), **done}


class Runner:
    """Runs some cells of a study at once, each stage of a cell as a process with one thread."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.now: dict[str, str] = {}  # what each cell is doing, by its name
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._stopped = threading.Event()

    def run(self) -> dict[str, str]:
        """Run all stages that are not done. Return the cells that failed, and why."""
        cells = self.study.cells
        with ThreadPoolExecutor(self.study.options.jobs) as pool:
            try:
                reasons = pool.map(self._run_cell, cells)
                return {cell.name: reason for cell, reason in zip(cells, reasons, strict=True) if reason}
            except BaseException:
                self._stopped.set()
                for process in list(self._processes):
                    process.terminate()  # what it has done is kept
                pool.shutdown(cancel_futures=True)
                raise

    def _run_cell(self, cell: Cell) -> str:
        """Run the stages that the cell lacks, up to one that fails. Return why that failed, else nothing."""
        log = cell.folder / LOG
        try:
            cell.folder.mkdir(parents=True, exist_ok=True)
            for stage in STAGES:
                if self.study.state(cell)[stage]:
                    continue
                self.now[cell.name] = stage
                _logger.info("%s: %s", cell.name, stage)
                if status := self._call(self.study.arguments(cell, stage), log):
                    self.now[cell.name] = f"{stage} failed"
                    *_, last = "", *log.read_text(errors="replace").strip().splitlines()
                    return f"{stage} ended with {status}: {last}"
        except (OSError, UserError) as error:
            self.now[cell.name] = "failed"
            return str(error)
        self.now.pop(cell.name, None)
        return ""

    def _call(self, arguments: list[str], log: Path) -> int:
        """Run a subcommand. Return its exit status."""
        command = [sys.executable, "-m", "scarlet_models.search", *arguments]
        with log.open("ab") as file:
            file.write(f"$ {shlex.join(command)}\n".encode())
            file.flush()
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
            self._processes.add(process)
            if self._stopped.is_set():
                process.terminate()
            try:
                return process.wait()
            finally:
                self._processes.discard(process)
