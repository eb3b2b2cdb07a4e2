"""A run's folder: its options, environment, metrics and checkpoints, and what resuming may and may not change."""

from __future__ import annotations

import csv
import io
import logging
import os
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import yaml

from scarlet_models.errors import UserError
from scarlet_models.files import write_json, write_text
from scarlet_models.options import names_with

from .checkpoint import list_checkpoints, load_newest, save_checkpoint
from .distributed import World
from .environment import FREE_ENVIRONMENT, describe_environment
from .options import RunOptions

_logger = logging.getLogger(__name__)


class RunFolder:
    """The folder of one run. Every rank makes one; only rank 0 reads and writes files.

    config.yaml and env.json are written at the start and with each checkpoint: resuming that ends before the next
    changes neither.
    """

    def __init__(self, options: RunOptions, world: World, command: str) -> None:
        """Opens the folder, and refuses what would mix two runs.

        Args:
            options: Of the run; config.yaml keeps them.
            world: The processes of the run.
            command: The command that runs, as a user types it; env.json keeps it.

        Raises:
            UserError: There is a run and no resume; options or environment changed; no checkpoint is whole; or the
                name of what is exported is a path.
        """
        self.path, self.world, self.command = Path(options.out), world, command
        self.exported = self.path / "exported" / exported_name(getattr(options, "name", ""), self.path)
        self.checkpoints = self.path / "checkpoints"
        self.metrics: MetricsTable | None = None
        self._events: Any = None  # of TensorBoard, where that is installed
        self._state: dict[str, Any] | None = None
        if world.is_main:
            self._open(options)
        self._state = world.broadcast(self._state)

    def _open(self, options: RunOptions) -> None:
        config = plain(asdict(options))
        config |= dict.fromkeys(names_with(options, "once"), False)
        workers = getattr(options, "workers", 0)
        environment = {"command": self.command, **describe_environment(workers, self.world)}
        self._facts = config, environment
        if not options.resume and (list_checkpoints(self.checkpoints) or (self.path / "metrics.csv").exists()):
            raise UserError(f"{self.path} holds a run already: go on with --resume, or choose another --out")
        if options.resume:
            self._state = load_newest(self.checkpoints)
        if self._state and not options.allow_drift:
            refuse_changes(self.path / "config.yaml", config, names_with(options, "free"))
            refuse_changes(self.path / "env.json", environment, FREE_ENVIRONMENT)
        if not self._state:
            self._write_facts()
        elif "final" in config:  # what the run began with, so that it resumes to the same end
            config["final"] = _read_yaml(self.path / "config.yaml").get("final", False)
        step = self._state["step"] if self._state else 0
        self.metrics = MetricsTable(self.path / "metrics.csv", step)
        self._events = open_events(self.path / "events", step + 1)

    def take_state(self) -> dict[str, Any] | None:
        """What the newest checkpoint holds, None for a run that starts; handed out once, as it is large."""
        state, self._state = self._state, None
        return state

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Writes a checkpoint on rank 0."""
        if self.world.is_main:
            save_checkpoint(self.checkpoints, step, {**state, "step": step})
            self._write_facts()
        if self._events is not None:
            self._events.flush()

    def record(self, step: int, row: dict[str, Any]) -> None:
        """Appends a row to metrics.csv and its numbers to the TensorBoard events, on rank 0."""
        if self.metrics is None:
            return
        self.metrics.append({"step": step, **row})
        for key, value in row.items():
            if isinstance(value, (int, float)):
                self.add_scalar(key, value, step)

    def history(self) -> list[dict[str, float]]:
        """The rows of metrics.csv, on rank 0."""
        return [] if self.metrics is None else self.metrics.rows()

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Adds a point to a curve of TensorBoard, on rank 0."""
        if self._events is not None:
            self._events.add_scalar(name, value, step)

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Writes a JSON file into the folder, on rank 0."""
        if self.world.is_main:
            write_json(self.path / name, content)

    def diverged(self, what: str, step: int) -> UserError:
        """The error of a step, counted from 1, with a loss or gradients that are not finite: what to do."""
        kept = f"the last good checkpoint is kept in {self.checkpoints}"
        if not list_checkpoints(self.checkpoints):
            kept = "there was no checkpoint yet"
        return UserError(f"{what} at step {step}: training diverged; {kept}; lower --lr or --clip-grad")

    def resume_line(self) -> str:
        """The line of a shell that goes on with the run."""
        start = []
        if self.world.size > 1:
            start = ["torchrun", "--nproc-per-node", os.environ.get("LOCAL_WORLD_SIZE", "N"), "--no-python"]
        return shlex.join([*start, *self.command.split(), "--config", str(self.path / "config.yaml"), "--resume"])

    def close(self) -> None:
        """Closes the TensorBoard events."""
        if self._events is not None:
            self._events.close()

    def _write_facts(self) -> None:
        config, environment = self._facts
        write_text(self.path / "config.yaml", yaml.safe_dump(config, sort_keys=False))
        self.write_json("env.json", environment)


def open_events(folder: Path, step: int = 0) -> Any:
    """A writer of TensorBoard's events from a step on; None where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        _logger.info("no curves for TensorBoard: it is not installed")
        return None
    return SummaryWriter(str(folder), purge_step=step)


def exported_name(name: str, out: Path) -> str:
    """The name of the folder in exported/: the one that was asked for, or else that of the run's folder.

    Raises:
        UserError: it is a path, which would lead elsewhere.
    """
    name = name or out.resolve().name
    if name == ".." or Path(name).name != name:
        raise UserError(f"--name {name}: give a name without folders")
    return name


def refuse_changes(path: Path, now: dict[str, Any], free: set[str]) -> None:
    """Compares options or an environment with those in a run's file.

    Raises:
        UserError: one that is not free has changed since.
    """
    before = _read_yaml(path)  # JSON is YAML
    changed = [key for key in now if key in before and key not in free and before[key] != now[key]]
    if changed:
        what = "; ".join(f"{key} was {before[key]!r}, is {now[key]!r}" for key in changed)
        raise UserError(f"{path} differs: {what}; mend that, or resume with --allow-drift")


def _read_yaml(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    return content


class MetricsTable:
    """A CSV whose first column is the step. Opening it cuts the rows past `step`, and one that a kill left torn.

    Raises:
        UserError: The file cannot be written; also from `append`.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self.columns: list[str] = []
        if path.exists():
            rows = self._read()
            self._rewrite([row for row in rows if None not in row.values() and int(row["step"]) <= step])

    def append(self, row: dict[str, Any]) -> None:
        """Adds a row; keys that no row had before become columns."""
        if not set(row) <= set(self.columns):
            self.columns += [key for key in row if key not in self.columns]
            self._rewrite(self._read() if self.path.exists() else [])
        try:
            with self.path.open("a", newline="") as file:
                self._writer(file).writerow({key: _number(value) for key, value in row.items()})
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror}; free space, then go on") from error

    def rows(self) -> list[dict[str, float]]:
        """All rows, without empty cells."""
        return [{key: float(value) for key, value in row.items() if value} for row in self._read()]

    def _read(self) -> list[dict[str, str]]:
        with self.path.open(newline="") as file:
            reader = csv.DictReader(file)  # a torn row lacks values: None, where a cell without one is ""
            self.columns = list(dict.fromkeys([*(reader.fieldnames or []), *self.columns]))
            return list(reader)

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        text = io.StringIO()
        writer = self._writer(text)
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.path, text.getvalue())

    def _writer(self, file: TextIO) -> csv.DictWriter[str]:
        return csv.DictWriter(file, self.columns, lineterminator="\n")


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def plain(value: Any) -> Any:
    """Tuples as lists, so that YAML gives back what it was given."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
