"""Runs stages one after the other: each once, with its options in a file, and not again if it was done before."""

import logging
import shlex
import subprocess
import sys
import time
from contextlib import redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import Any

from scarlet_models.documents import dump_yaml, read_yaml
from scarlet_models.errors import UserError, as_user_error
from scarlet_models.files import write_text
from scarlet_models.program import Program

from .journal import Entry, Journal, Stage

_logger = logging.getLogger(__name__)


class Pipeline:
    """Stages in a folder.

    A stage is done if it was run with the same options and needs, and no stage that it needs has run since.
    """

    def __init__(self, out: Path, program: Program) -> None:
        self.out, self.program, self.journal = out, program, Journal(out)

    def is_done(self, stage: Stage) -> bool:
        """Whether it was run with these options, and what it made is still there."""
        known = self.journal.entries.get(stage.name)
        if known is None or known.needs != list(stage.needs):
            return False
        changed = self._differences(stage, known.options, self._resolved(stage))
        return not changed and (self.out / stage.name / stage.product).exists()

    def options_of(self, stage: Stage, **more: Any) -> Any:
        """The Options that its command is started with."""
        resolved = self._resolved(stage)
        with as_user_error(stage.name, UserError):
            return self.program.build(stage.command, {**resolved, **more})

    def run(self, stage: Stage) -> Path:
        """Run a stage unless it is done; return its folder."""
        folder, config = self.out / stage.name, self.out / f"{stage.name}.yaml"
        if self.is_done(stage):
            _logger.info("%s: done before, in %s", stage.name, folder)
            return folder
        options, command = self._resolved(stage), f"scarlet-search {stage.command} --config {shlex.quote(str(config))}"
        known = self.journal.entries.get(stage.name)
        if stage.keep and known and (changed := self._differences(stage, known.options, options)):
            raise UserError(f"{folder} was made with other options ({'; '.join(changed)}): choose another --out")
        self.journal.forget(stage.name)
        resume = "resume" in self.program.fields(stage.command) and self._may_resume(stage, options)
        write_text(config, f"# {stage.why}\n# {command}\n" + dump_yaml({**options, "out": str(folder)}))
        _logger.info("%s: %s", stage.name, stage.why)
        _logger.info("$ %s", command)
        started = time.monotonic()
        self._start(stage, config, resume)
        if not (folder / stage.product).exists():
            raise UserError(f"{stage.name} ended without {folder / stage.product}: the reason is above")
        seconds = time.monotonic() - started
        self.journal.add(stage.name, Entry(options, list(stage.needs), command, stage.why, round(seconds, 1)))
        _logger.info("%s: done in %s", stage.name, timedelta(seconds=round(seconds)))
        return folder

    def _start(self, stage: Stage, config: Path, resume: bool) -> None:
        if stage.processes == 1:
            more = {"resume": True} if resume else {}
            options = self.options_of(stage, out=str(config.with_suffix("")), **more)
            with redirect_stdout(sys.stderr):  # stdout is for the result of all stages
                self.program.load(stage.command).main(options)
            return
        launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={stage.processes}"]
        command = ["scarlet_models.search", stage.command, "--config", str(config), *(["--resume"] if resume else [])]
        with subprocess.Popen([sys.executable, "-m", *launcher, "-m", *command], stdout=2) as process:  # on stderr
            try:
                status = process.wait()
            except BaseException:
                process.terminate()  # in order, so that it saves
                raise
        if status:
            raise UserError(f"{stage.name} failed with status {status}; the reason is above")

    def _resolved(self, stage: Stage) -> dict[str, Any]:
        with as_user_error(stage.name, UserError):
            return self.program.resolve(stage.command, stage.options)

    def _differences(self, stage: Stage, before: dict[str, Any], now: dict[str, Any]) -> list[str]:
        """How options that change the stage's result differ, in words."""
        free = {name for name, field in self.program.fields(stage.command).items() if field.metadata.get("free")}
        names = sorted(name for name in {*before, *now} - free if before.get(name) != now.get(name))
        return [f"{name} was {before.get(name)!r}, is {now.get(name)!r}" for name in names]

    def _may_resume(self, stage: Stage, options: dict[str, Any]) -> bool:
        """Whether to resume what is in the stage's folder; a training of other options is renamed, not lost."""
        folder, config = self.out / stage.name, self.out / f"{stage.name}.yaml"
        before = dict(read_yaml(config, dict)) if config.exists() else {}
        before.pop("out", None)  # the stage's options do not name its folder
        if stage.keep or not before or not folder.exists() or not self._differences(stage, before, options):
            return True
        if stage.command == "retrain":
            free = next(path for i in range(1, 10_000) if not (path := self.out / f"{stage.name}.{i}").exists())
            folder.rename(free)
            _logger.info("%s: what was trained with other options is now %s", stage.name, free)
        return False
