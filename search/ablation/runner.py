"""Runs what is not done of a study: some cells at once, each stage of a cell as a process with one thread."""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from scarlet_models.errors import UserError

from .cells import STAGES, Cell
from .study import Study

LOG = "ablate.log"

_logger = logging.getLogger(__name__)


class Runner:
    """Processes of a study.

    Attributes:
        now: What each cell is doing, by its name.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.now: dict[str, str] = {}
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._stopped = threading.Event()

    def run(self) -> dict[str, str]:
        """Run all stages that are not done. Return the cells that failed, and why."""
        failures: dict[str, str] = {}
        with ThreadPoolExecutor(self.study.options.jobs) as pool:
            try:
                futures = {pool.submit(self._run_cell, cell): cell for cell in self.study.cells}
                for future in as_completed(futures):
                    if reason := future.result():
                        failures[futures[future].name] = reason
            except BaseException:
                self._stop()
                pool.shutdown(cancel_futures=True)
                raise
        return failures

    def _run_cell(self, cell: Cell) -> str:
        """Run the stages that the cell lacks, up to one that fails. Return why that failed, else nothing."""
        try:
            with lock(cell.folder) as descriptor:
                for stage in STAGES:
                    if self.study.state(cell)[stage]:
                        continue
                    self.now[cell.name] = stage
                    _logger.info("%s: %s", cell.name, stage)
                    if status := self._call(self.study.arguments(cell, stage), cell.folder / LOG, descriptor):
                        self.now[cell.name] = f"{stage} failed"
                        return f"{stage} ended with {status}: {_last_line(cell.folder / LOG)}"
        except (OSError, UserError) as error:
            self.now[cell.name] = "failed"
            return str(error)
        self.now.pop(cell.name, None)
        return ""

    def _call(self, arguments: list[str], log: Path, descriptor: int) -> int:
        """Run a subcommand. Return its exit status."""
        command = [sys.executable, "-m", "scarlet_models.search", *arguments]
        with log.open("ab") as file:
            file.write(f"$ {shlex.join(command)}\n".encode())
            file.flush()
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            process = subprocess.Popen(command, stdout=file, stderr=file, env=environment, pass_fds=[descriptor])
            self._processes.add(process)
            if self._stopped.is_set():
                process.terminate()
            try:
                return process.wait()
            finally:
                self._processes.discard(process)

    def _stop(self) -> None:
        """End the processes that run; what they have done is kept."""
        self._stopped.set()
        for process in list(self._processes):
            process.terminate()


@contextmanager
def lock(folder: Path) -> Iterator[int]:
    """Lock a cell; gives a file descriptor. Processes that inherit it hold the lock too, should this one be killed.

    Raises:
        UserError: Another process holds it.
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
