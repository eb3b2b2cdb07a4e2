"""A study: supernets of each variant and seed, the commands that each needs, and what runs those that are not done.

A cell of it is a folder VARIANT_sSEED. The files that its commands have written say how far it is, so a study can be
interrupted and resumed at any time, and folders that were made by hand count too. `SECONDS` in it sums what they cost.
"""

import logging
import os
import shlex
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scarlet_models.documents import dump_yaml, read_csv, read_json
from scarlet_models.errors import UserError
from scarlet_models.files import write_json, write_text
from scarlet_models.options import names_with
from scarlet_models.program import Program
from scarlet_models.search.scoring.known_accuracies import load_known_accuracies
from scarlet_models.space.space import SearchSpace
from scarlet_models.training.run_folder import plain, refuse_changes

from .options import AblationOptions

# Options of train, spelt out so that no default matters.
VARIANTS: dict[str, dict[str, str]] = {
    "skip": {"stabilizer": "skip", "init": "torch", "sampling": "fair"},
    "torch": {"stabilizer": "linear", "init": "torch", "sampling": "fair"},
    "identity": {"stabilizer": "linear", "init": "identity", "sampling": "fair"},
    "orthogonal": {"stabilizer": "linear", "init": "orthogonal", "sampling": "fair"},
    "identity_noise": {"stabilizer": "linear", "init": "identity_noise", "sampling": "fair"},
    "bn": {"stabilizer": "bn", "init": "torch", "sampling": "fair"},
    "relu": {"stabilizer": "relu", "init": "torch", "sampling": "fair"},
    "uniform": {"stabilizer": "linear", "init": "torch", "sampling": "uniform"},
    "skip_uniform": {"stabilizer": "skip", "init": "torch", "sampling": "uniform"},
}
STAGES = ("train", "recalibrated", "running", "similarity")
BATCH_NORMS = ("recalibrated", "running")
LOG, SECONDS = "ablate.log", "cpu_seconds.json"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cell:
    """A supernet of a variant and a seed, and its folder."""

    variant: str
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    def fair_steps(self) -> int:
        """Fair steps that were trained and recorded."""
        path = self.folder / "metrics.csv"
        rows = read_csv(path, ("step",))[1] if path.exists() else []
        return int(float(rows[-1]["step"] or 0)) if rows else 0

    def trained(self) -> int:
        """Fair steps of the finished supernet; 0 if there is none."""
        return int(self.json("supernet.json").get("steps", 0))

    def json(self, name: str) -> dict[str, Any]:
        """The content of a JSON file in its folder; empty if there is none."""
        path = self.folder / name
        return dict(read_json(path, dict)) if path.exists() else {}


def make_cells(out: Path, variants: list[str], seeds: list[int]) -> list[Cell]:
    """The cells, seed by seed, so that early results compare all variants."""
    for variant in variants:
        if variant not in VARIANTS:
            raise UserError(f"--variants: {variant!r} is not one of {', '.join(VARIANTS)}")
    for option, values in (("variants", variants), ("seeds", seeds)):
        if not values or len(set(values)) < len(values):
            raise UserError(f"--{option}: {values} is empty or holds something twice")
    return [Cell(variant, seed, out / f"{variant}_s{seed}") for seed in seeds for variant in variants]


class Study:
    """The cells of a study in a folder; a UserError tells of bad options or of a supernet of others, before any run."""

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
        self._known = {str(genotype): accuracy for genotype, accuracy in known.items()}
        self.networks = min(options.networks or len(known), len(known))
        for cell, wanted in zip(self.cells, parsed, strict=True):
            if cell.trained():
                free = names_with(wanted, "free") | ({"amp"} if wanted.amp == "auto" else set())
                refuse_changes(cell.folder / "config.yaml", plain(asdict(wanted)), free, wanted.allow_drift)

    def _data(self) -> dict[str, Any]:
        places = {name: place for name in ("data_dir", "dataset") if (place := getattr(self.options, name))}
        return {"threads": 1, "workers": self.options.workers, **places}

    def arguments(self, cell: Cell, stage: str) -> list[str]:
        """Arguments of scarlet-search for one of `STAGES`. Those of train are in a file beside the cell's folder."""
        if stage == "train":
            config = cell.folder.with_suffix(".yaml")
            write_text(config, dump_yaml(self._train[cell]))
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
            **{kind: self._is_ranked(cell, kind) for kind in BATCH_NORMS},
            "similarity": (cell.folder / "similarity.csv").exists(),
        }
        return {"cell": cell.name, "fair_steps": cell.fair_steps(), **done}

    def _is_ranked(self, cell: Cell, batch_norm: str) -> bool:
        """Whether a ranking is there, of these known accuracies and as many images."""
        report = cell.json(f"rank_{batch_norm}.json")
        if (report.get("networks"), report.get("images")) != (self.networks, self.options.images):
            return False
        rows = read_csv(cell.folder / f"rank_{batch_norm}.csv", ("known",))[1]
        return all(self._known.get(row["genotype"]) == float(row["known"]) for row in rows)


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
                status, spent = self._call(self.study.arguments(cell, stage), log)
                kept = cell.json(SECONDS)
                write_json(cell.folder / SECONDS, {**kept, stage: kept.get(stage, 0) + spent})
                if status:
                    self.now[cell.name] = f"{stage} failed"
                    *_, last = "", *log.read_text(errors="replace").strip().splitlines()
                    return f"{stage} ended with {status}: {last}"
        except (OSError, UserError) as error:
            self.now[cell.name] = "failed"
            return str(error)
        self.now.pop(cell.name, None)
        return ""

    def _call(self, arguments: list[str], log: Path) -> tuple[int, float]:
        """Run a subcommand. Return its exit status and the CPU seconds (user time) that it took."""
        command = [sys.executable, "-m", "scarlet_models.search", *arguments]
        with log.open("ab") as file:
            file.write(f"$ {shlex.join(command)}\n".encode())
            file.flush()
            process = subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, "OMP_NUM_THREADS": "1"})
            self._processes.add(process)
            if self._stopped.is_set():
                process.terminate()
            try:
                if not hasattr(os, "wait4"):  # Windows does not tell the time
                    return process.wait(), 0.0
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
                return process.returncode, usage.ru_utime
            finally:
                self._processes.discard(process)
