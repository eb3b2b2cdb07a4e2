"""Stages that are commands: each runs once, with its options in a file, and is skipped when it was done before."""

from __future__ import annotations

import dataclasses
import json
import logging
import shlex
import subprocess
import sys
import time
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from scarlet_models.errors import UserError
from scarlet_models.files import write_json, write_text
from scarlet_models.options import build, names_with

_logger = logging.getLogger(__name__)

JOURNAL = "stages.json"
_STDERR = 2


@dataclass(frozen=True)
class Stage:
    """A command to run in a folder of its own.

    Args:
        name: Of the stage, and of its folder.
        command: Subcommand of scarlet-search.
        why: What it is for, in one line.
        options: Of the command, by name. A recipe's name under "config" gives those that are not named.
        product: File in its folder that is there when it is done.
        needs: Stages whose products it takes: when one of them runs again, so does it.
        keep: Refuse to run again under other options: it took too long to be lost to a slip.
        processes: To start under torchrun.
    """

    name: str
    command: str
    why: str
    options: dict[str, Any]
    product: str
    needs: tuple[str, ...] = ()
    keep: bool = False
    processes: int = 1


class Pipeline:
    """Runs stages one after the other in a folder, whose stages.json says which are done, with what, in how long.

    A stage is done if it was run with the same options and no stage that it needs has run since.

    Args:
        out: The folder, made where there is none.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.journal = out / JOURNAL
        self.done: dict[str, dict[str, Any]] = _read(self.journal)

    def is_done(self, stage: Stage) -> bool:
        """Whether it was run with these options, and what it made is still there."""
        known = self.done.get(stage.name)
        same = known is not None and _weighty(stage.command, known["options"]) == _weighty(
            stage.command, _resolve(stage)
        )
        return same and (self.out / stage.name / stage.product).exists()

    def options_of(self, stage: Stage) -> Any:
        """What its command is started with, as that command's Options.

        Raises:
            UserError: it has no such option, or one has a bad value.
        """
        from scarlet_models.search.cli import PROGRAM

        try:
            return build(PROGRAM.load(stage.command).Options, _resolve(stage))
        except UserError as error:
            raise UserError(f"{stage.name}: {error}") from None

    def run(self, stage: Stage) -> Path:
        """Runs a stage unless it is done; returns its folder.

        Raises:
            UserError: the stage failed, or was done with other options and is one to keep.
        """
        folder = self.out / stage.name
        command = f"scarlet-search {stage.command} --config {shlex.quote(f'{folder}.yaml')}"
        if self.is_done(stage):
            _logger.info("%s: done before, in %s", stage.name, folder)
            return folder
        options = _resolve(stage)
        self._check_kept(stage, options)
        self._forget(stage.name)
        resume = self._may_resume(stage, options)
        text = f"# {stage.why}\n# {command}\n" + yaml.safe_dump({**options, "out": str(folder)}, sort_keys=False)
        write_text(self.out / f"{stage.name}.yaml", text)
        _logger.info("%s: %s", stage.name, stage.why)
        _logger.info("$ %s", command)
        started = time.monotonic()
        _run(stage, Path(f"{folder}.yaml"), resume)
        if not (folder / stage.product).exists():
            raise UserError(f"{stage.name} ended without {folder / stage.product}: the reason is above")
        seconds = round(time.monotonic() - started, 1)
        known = {"options": options, "needs": stage.needs, "command": command, "why": stage.why, "seconds": seconds}
        self.done[stage.name] = known
        self._write()
        _logger.info("%s: done in %s", stage.name, timedelta(seconds=round(seconds)))
        return folder

    def _check_kept(self, stage: Stage, options: dict[str, Any]) -> None:
        before = _weighty(stage.command, self.done.get(stage.name, {}).get("options", {}))
        now = _weighty(stage.command, options)
        if stage.keep and before not in ({}, now):
            names = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
            what = "; ".join(f"{key} was {before.get(key)!r}, is {now.get(key)!r}" for key in names)
            raise UserError(f"{self.out / stage.name} was made with other options ({what}): choose another --out")

    def _forget(self, name: str) -> None:
        """What was made from a stage that runs again is out of date."""
        if self.done.pop(name, None):
            for later in [later for later, known in self.done.items() if name in known["needs"]]:
                self._forget(later)
            self._write()

    def _may_resume(self, stage: Stage, options: dict[str, Any]) -> bool:
        """Whether to go on with what is in the stage's folder; a training of other options is renamed, not lost."""
        folder = self.out / stage.name
        before = _started_with(self.out / f"{stage.name}.yaml")
        if (
            stage.keep
            or not before
            or not folder.exists()
            or _weighty(stage.command, before) == _weighty(stage.command, options)
        ):
            return True
        if stage.command == "retrain":
            free = next(path for i in range(1, 10_000) if not (path := self.out / f"{stage.name}.{i}").exists())
            folder.rename(free)
            _logger.info("%s: what was trained with other options is now %s", stage.name, free)
        return False

    def _write(self) -> None:
        write_json(self.journal, self.done)


def _read(journal: Path) -> dict[str, dict[str, Any]]:
    if not journal.exists():
        return {}
    try:
        done = dict(json.loads(journal.read_text()))
    except ValueError:
        raise UserError(f"{journal} is damaged: remove it, and each stage goes on from what its folder holds") from None
    for number, known in enumerate(done.values()):
        known.setdefault("needs", list(done)[:number])  # a journal of an earlier version
    return done


def _weighty(command: str, options: dict[str, Any]) -> dict[str, Any]:
    """Without those that do not change a result."""
    from scarlet_models.search.cli import PROGRAM

    free = names_with(PROGRAM.load(command).Options, "free")
    return {key: value for key, value in options.items() if key not in free}


def _started_with(path: Path) -> dict[str, Any]:
    """The options in a stage's file, as they were before its folder was added."""
    content = yaml.safe_load(path.read_text()) if path.exists() else {}
    return {key: value for key, value in content.items() if key != "out"}


def _resolve(stage: Stage) -> dict[str, Any]:
    """The stage's options over those of its recipe, in the form that YAML and JSON give back."""
    from scarlet_models.search.cli import PROGRAM

    options = {name.replace("-", "_"): value for name, value in stage.options.items()}  # --train.batch-size
    if recipe := options.pop("config", ""):
        try:
            options = {**PROGRAM.read_config(stage.command, recipe), **options}
        except UserError as error:
            raise UserError(f"{stage.name}: {error}") from error
    known = {field.name for field in dataclasses.fields(PROGRAM.load(stage.command).Options)}
    if unknown := sorted(options.keys() - known):
        raise UserError(
            f"{stage.name}: {stage.command} has no option {unknown[0]}; scarlet-search {stage.command} --help"
        )
    return dict(json.loads(json.dumps(options)))


def _parse(stage: Stage, arguments: list[str]) -> Any:
    from scarlet_models.search.cli import PROGRAM

    try:
        return PROGRAM.parse(stage.command, PROGRAM.load(stage.command), arguments)
    except UserError as error:
        raise UserError(f"{stage.name}: {error}") from None


def _run(stage: Stage, config: Path, resume: bool) -> None:
    """Runs the command here, or under torchrun.

    Raises:
        UserError: it failed.
    """
    from scarlet_models.search.cli import PROGRAM

    module = PROGRAM.load(stage.command)
    resumable = "resume" in {field.name for field in dataclasses.fields(module.Options)}
    arguments = ["--config", str(config), *(["--resume"] if resume and resumable else [])]
    if stage.processes == 1:
        with redirect_stdout(sys.stderr):  # stdout is for what comes of all stages
            module.main(_parse(stage, arguments))
        return
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={stage.processes}"]
    command = [*launcher, "-m", "scarlet_models.search", stage.command, *arguments]
    if status := subprocess.run(command, stdout=_STDERR).returncode:
        raise UserError(f"{stage.name} failed with status {status}; the reason is above")
