"""A run's folder: its options, environment, metrics and checkpoints, and what resuming may and may not change."""

import json
import logging
import math
import os
import platform
import shlex
import time
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scarlet_models.documents import dump_yaml, read_csv, read_json, read_yaml
from scarlet_models.errors import UserError
from scarlet_models.files import append, cannot_write, lock, write_csv, write_json, write_text
from scarlet_models.options import names_with

from .checkpoint import list_checkpoints, load_newest, save_checkpoint
from .distributed import World
from .environment import FREE_ENVIRONMENT, describe_environment
from .options import RunOptions

_logger = logging.getLogger(__name__)


class RunFolder:
    """The folder of one run of a command, as a user types it. Every rank makes one; only rank 0 reads and writes files.

    config.yaml and env.json are written at the start and with each checkpoint: resuming that ends before the next
    changes neither. A UserError says that there is a run already, or why it cannot be resumed.
    """

    def __init__(self, options: RunOptions, world: World, command: str) -> None:
        self.path, self.world = Path(options.out), world
        self.exported = self.path / "exported" / exported_name(getattr(options, "name", ""), self.path)
        self.checkpoints = self.path / "checkpoints"
        self._state: dict[str, Any] | None = None
        if world.is_main:
            self._open(options, command)
        self._state = world.broadcast(self._state)

    def _open(self, options: RunOptions, command: str) -> None:
        lock(self.path)
        self.world.signals.line = resume_line(command, self.path, self.world)
        config = plain(asdict(options) | {name: type(getattr(options, name))() for name in names_with(options, "once")})
        environment = describe_environment(getattr(options, "workers", 0), self.world)
        self._facts = config, {"command": command, **environment}
        if options.resume:
            self._state = load_newest(self.checkpoints)
        elif list_checkpoints(self.checkpoints) or (self.path / "metrics.csv").exists():
            raise UserError(f"{self.path} holds a run already: go on with --resume, or choose another --out")
        step = self._state["step"] if self._state else 0
        if self._state:
            self._compare(options, step)
        else:
            self._write_facts()
        self.metrics = MetricsTable(self.path / "metrics.csv", step)
        self._events = Events(self.path / "events", step + 1)

    def _compare(self, options: RunOptions, step: int) -> None:
        """Refuses to resume a run of other options or in another environment; more epochs extend it."""
        config, environment = self._facts
        kept = self.path / "config.yaml"
        known = refuse_changes(kept, config, names_with(options, "free") | {"epochs"}, options.allow_drift)
        past = refuse_changes(self.path / "env.json", environment, FREE_ENVIRONMENT, options.allow_drift)
        if "final" in config:  # what the run began with, so that it resumes to the same end
            config["final"] = known.get("final", False)
        extended = past.get("extended", [])
        if "epochs" in config and (epochs := known.get("epochs", config["epochs"])) != config["epochs"]:
            if not (isinstance(epochs, int) and epochs < config["epochs"]) and not options.allow_drift:
                raise UserError(f"{kept}: --epochs was {epochs!r}, is {config['epochs']}: a run can only get longer")
            extended = [*extended, {"step": step, "epochs": [epochs, config["epochs"]]}]
            _logger.info("extended from %s to %d epochs: the schedule is laid over them all", epochs, config["epochs"])
        if extended:
            environment["extended"] = extended

    def take_state(self) -> dict[str, Any] | None:
        """What the newest checkpoint holds, None for a run that starts; handed out once, as it is large."""
        state, self._state = self._state, None
        return state

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Writes a checkpoint on rank 0."""
        if self.world.is_main:
            save_checkpoint(self.checkpoints, step, {**state, "step": step})
            self._write_facts()

    def record(self, step: int, row: dict[str, Any]) -> None:
        """Appends a row to metrics.csv and its numbers to the TensorBoard events, on rank 0."""
        if self.world.is_main:
            self.metrics.append({"step": step, **row})
        for key, value in row.items():
            self.add_scalar(key, value, step)

    def history(self) -> list[dict[str, float]]:
        """The rows of metrics.csv, on rank 0."""
        return self.metrics.rows() if self.world.is_main else []

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Adds a point to a curve, on rank 0."""
        if self.world.is_main:
            self._events.add_scalar(name, value, step)

    def diverged(self, what: str, step: int) -> UserError:
        """The error of a step, counted from 1, with a loss or gradients that are not finite: what to do."""
        is_kept = bool(list_checkpoints(self.checkpoints))
        kept = f"the last good checkpoint is kept in {self.checkpoints}" if is_kept else "there was no checkpoint yet"
        return UserError(f"{what} at step {step}: training diverged; {kept}; lower --lr or --clip-grad")

    def close(self) -> None:
        if self.world.is_main:
            self._events.close()

    def _write_facts(self) -> None:
        config, environment = self._facts
        write_text(self.path / "config.yaml", dump_yaml(config))
        write_json(self.path / "env.json", environment)


def resume_line(command: str, folder: Path, world: World) -> str:
    """The line of a shell that goes on with a command by the config.yaml in its folder."""
    start = []
    if world.size > 1:
        start = ["torchrun", "--nproc-per-node", os.environ.get("LOCAL_WORLD_SIZE", "N"), "--no-python"]
    return shlex.join([*start, *command.split(), "--config", str(folder / "config.yaml"), "--resume"])


class Events:
    """Curves for TensorBoard, in a file of their own in a folder; none where TensorBoard is not installed.

    TensorBoard forgets what earlier files say of the `step` and later ones. Its own writer works in a thread, whose
    failure on a full disk is a traceback.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        self._write: Any = None
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer.record_writer import RecordWriter
        except ImportError:
            _logger.info("no curves for TensorBoard: it is not installed")
            return
        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._path = folder / f"events.out.tfevents.{time.time():010.0f}.{platform.node()}.{os.getpid()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("ab")
        except OSError as error:
            raise cannot_write(self._path, error) from error
        self._write = RecordWriter(self._file).write
        self._add(file_version="brain.Event:2")
        self._add(step=step, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Adds a point to a curve."""
        if self._write:
            self._add(step=step, summary=self._summary(value=[self._summary.Value(tag=name, simple_value=value)]))

    def close(self) -> None:
        if self._write:
            self._file.close()

    def _add(self, **content: Any) -> None:
        try:
            self._write(self._event(wall_time=time.time(), **content).SerializeToString())
            self._file.flush()
        except OSError as error:
            raise cannot_write(self._path, error) from error


def exported_name(name: str, out: Path) -> str:
    """The name of the folder in exported/: the one asked for, which must be no path, or that of the run's folder."""
    name = name or out.resolve().name
    if name == ".." or Path(name).name != name:
        raise UserError(f"--name {name}: give a name without folders")
    return name


def refuse_changes(path: Path, now: dict[str, Any], free: Collection[str], allow_drift: bool) -> dict[str, Any]:
    """What is in a run's file of options or of the environment, in which only the free ones may be others now."""
    if not path.exists():
        if allow_drift:
            return {}
        raise UserError(f"{path} is missing, so changes would go unseen: restore it, or resume with --allow-drift")
    before: dict[str, Any] = (read_json if path.suffix == ".json" else read_yaml)(path, dict)
    changed = [key for key in now if key in before and key not in free and before[key] != now[key]]
    if changed and not allow_drift:
        what = "; ".join(f"{key} was {before[key]!r}, is {now[key]!r}" for key in changed)
        raise UserError(f"{path} differs: {what}; mend that, or resume with --allow-drift")
    return before


class MetricsTable:
    """A CSV whose first column is the step. Opening it cuts the rows past `step`, and one that a kill left torn."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self.columns: list[str] = []
        if path.exists():
            rows = self._read()
            if self.columns[:1] != ["step"]:
                raise UserError(f"{path}: the column step is missing; restore the file, or remove it")
            self._rewrite([row for row in rows if float(row["step"] or "nan") <= step])

    def append(self, row: dict[str, Any]) -> None:
        """Adds a row; keys that no row had before become columns."""
        if not set(row) <= set(self.columns):
            known = self._read() if self.path.exists() else []
            self.columns += [key for key in row if key not in self.columns]
            self._rewrite(known)
        append(self.path, ",".join(_number(row.get(column, "")) for column in self.columns) + "\n")

    def rows(self) -> list[dict[str, float]]:
        """All rows, without empty cells."""
        return [{key: float(value) for key, value in row.items() if value} for row in self._read()]

    def _read(self) -> list[dict[str, str]]:
        self.columns, rows = read_csv(self.path)
        return rows

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        write_csv(self.path, [self.columns, *([row.get(column, "") for column in self.columns] for row in rows)])


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return str(value)


def plain(value: Any) -> Any:
    """Tuples as lists, so that YAML gives back what it was given."""
    return json.loads(json.dumps(value))
