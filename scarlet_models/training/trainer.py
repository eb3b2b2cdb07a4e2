"""The training loop that all tasks share: epochs, steps, updates, figures, checkpoints, resuming and signals.

Randomness is no part of a run's state: every step seeds torch and numpy from (seed, step, rank), every image from
(seed, epoch, index). The figures of a step stay on the device until they are read, every few steps and before each
checkpoint. Reading ends the run at a figure that is not finite, so no checkpoint holds one.
"""

import logging
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scarlet_models.errors import UserError

from .checkpoint import restore_parts
from .loading import epoch_batches, load_batches
from .optim import apply_gradients, choose_precision, make_optimizer, make_scheduler
from .progress import Progress
from .run_folder import RunFolder
from .task import Task
from .transforms import mix_seed

READ_EVERY = {"cpu": 1, "cuda": 20}  # steps; a GPU waits while figures are read

_logger = logging.getLogger(__name__)


class Trainer:
    """A run of a task by a command, as a user types it: its folder, its optimizer, and how far it is.

    `step` counts the updates done; `row` is the last row of metrics.csv, without times. A UserError says what is wrong
    with the options of the optimizer or schedule, or with the folder.
    """

    def __init__(self, task: Task, command: str) -> None:
        self.task, self.options, self.world = task, task.options, task.world
        if self.options.amp == "auto":
            amp = choose_precision(task, lambda: next(self.load(0, 0, 1)))
            task.options = self.options = replace(task.options, amp=amp)
        self.optimizer = make_optimizer(task.model, self.options)
        self.scheduler = make_scheduler(self.optimizer, task)
        self.scaler = torch.amp.GradScaler(self.world.device.type, enabled=self.options.amp == "fp16")
        self.folder = RunFolder(self.options, self.world, command)
        self.step = 0
        self.row: dict[str, Any] = {}
        self._rows: list[tuple[int, dict[str, Any]]] = []  # not yet in metrics.csv
        self._unread: list[tuple[int, float, dict[str, Tensor]]] = []  # steps, rates, and figures on the device
        self._loss = float("nan")  # of the last step that was read
        self._images, self._seconds = 0, 0.0  # since the last row
        self._saved = time.monotonic()
        self._parts = {"model": task.model, "optimizer": self.optimizer, "scaler": self.scaler, **task.parts}
        if state := self.folder.take_state():
            self._restore(state)
        task.open(self.folder, self.step)

    def run(self) -> None:
        """Trains to the end. SIGINT and SIGTERM end it after a step, with a checkpoint.

        A UserError says that a loss or gradient is not finite, an image cannot be read, or the disk is full.
        """
        steps = self.task.steps
        progress = Progress(steps, self.step, self.folder.path.name, quiet=not self.world.is_main)
        with closing(self.folder), self.world.signals.deferring(), progress:
            while self.step < steps:
                epoch = self.step // self.task.steps_per_epoch
                self._train_epoch(epoch, progress)
                self._end_epoch(epoch)
                self._pause(due=True)

    def _train_epoch(self, epoch: int, progress: Progress) -> None:
        """The steps of an epoch that remain; the row of the last one is left to `_end_epoch`."""
        self.task.model.train()
        first, end = self.step, min((epoch + 1) * self.task.steps_per_epoch, self.task.steps)
        parts = self.load(epoch, first % self.task.steps_per_epoch, end - first)
        read_every = READ_EVERY.get(self.world.device.type, 1)
        for step in range(first + 1, end + 1):
            started = time.monotonic()
            self.train_step(parts)
            asked = self.world.signals.received and self.world.size == 1  # several ranks must agree where to stop
            reading = len(self._unread) >= read_every or step == end or asked
            if reading:
                self.read()
            self._seconds += time.monotonic() - started
            self._images += self.options.batch_size
            progress.advance(f"epoch {epoch + 1}/{self.task.epochs}  loss {self._loss:.3f}")
            if reading and step < end:
                self._record()
                self._pause(due=time.monotonic() - self._saved > 60 * self.options.checkpoint_minutes)

    def load(self, epoch: int, first: int, count: int) -> Iterator[Any]:
        """This rank's parts of `count` batches of an epoch."""
        task, options, world = self.task, self.options, self.world
        batches = epoch_batches(task.indices, options.batch_size, options.seed, epoch)[first : first + count]
        parts = batches[:, world.rank :: world.size].reshape(-1, task.local_batch).tolist()
        pin = world.device.type == "cuda"
        return iter(load_batches(task.dataset(epoch), parts, options.workers, pin, task.collate))

    def train_step(self, parts: Iterator[Any]) -> None:
        """One update from the parts of a batch, over all ranks. Nothing is read back from the device."""
        task, options, world = self.task, self.options, self.world
        self.scheduler.step_update(self.step)
        seed = mix_seed(options.seed, self.step, world.rank)
        torch.manual_seed(seed)  # dropout, stochastic depth, the regions that Faster R-CNN trains on
        np.random.seed(seed & 0xFFFFFFFF)  # mixup
        task.begin_step()
        figures: dict[str, Tensor] = {}
        for _ in range(options.accumulate):
            part = task.add_gradients(next(parts), lambda loss: self.scaler.scale(loss / options.accumulate))
            figures = {name: figures[name] + value if figures else value for name, value in part.items()}
        gradients = [p.grad for p in task.model.parameters() if p.grad is not None]
        # Of all ranks, or rank 0's checkpoint is not everyone's
        statistics = [buffer for buffer in task.model.buffers() if buffer.is_floating_point()]
        world.mean_([*gradients, *statistics, *figures.values()])
        task.finish_gradients()
        figures["grad_norm"] = apply_gradients(task.model, self.optimizer, self.scaler, options.clip_grad)
        self.step += 1
        task.end_step(self.step)
        self._unread.append((self.step, self.optimizer.param_groups[0]["lr"], figures))

    def read(self) -> None:
        """Gives the task the figures of the steps since the last time; a UserError says that one is not finite."""
        unread, self._unread = self._unread, []
        names = unread[0][-1] if unread else {}
        values = {name: torch.stack([figures[name] for _, _, figures in unread]).cpu() for name in names}
        for number, (step, lr, _) in enumerate(unread):
            figures = {name: stacked[number] for name, stacked in values.items()}
            self._check_finite(step, figures)
            row = self.task.take_in(step, figures)
            self.row = {"epoch": (step - 1) // self.task.steps_per_epoch + 1, "lr": lr, **row}
            if row:
                self._rows.append((step, self.row))

    def _check_finite(self, step: int, figures: dict[str, Tensor]) -> None:
        """Refuses a loss or gradient that is not finite. A scaler, where there is one, has skipped such gradients."""
        loss, norm = figures["loss"], figures["grad_norm"]
        if not loss.isfinite().all():
            raise self.folder.diverged(self.task.describe_loss(loss), step)
        if not (norm.isfinite() or self.scaler.is_enabled()):
            raise self.folder.diverged(f"loss {loss.mean().item():.4g}, gradient norm {norm.item():.4g}", step)
        self._loss = float(loss.mean())

    def _end_epoch(self, epoch: int) -> None:
        """Measures, and records the last step's row with what was measured."""
        self.row |= self.task.measure(epoch)
        if not self._rows or self._rows[-1][0] != self.step:
            self._rows.append((self.step, self.row))
        speed = self._record()
        figures = "  ".join(f"{name} {value:.3f}" for name, value in self.row.items() if name not in ("epoch", "lr"))
        _logger.info("epoch %d/%d  %s  %.0f images/s", epoch + 1, self.task.epochs, figures, speed)

    def _record(self) -> float:
        """Writes the rows that there are, each with the mean speed since the last ones. Returns images per second."""
        speed = self._images / self._seconds
        for step, row in self._rows:
            self.folder.record(step, {**row, "images_per_second": round(speed, 1)})
        if self._rows:
            self._rows, self._images, self._seconds = [], 0, 0.0
        return speed

    def _pause(self, due: bool) -> None:
        """Writes a checkpoint if it is due or a signal came, on any rank; a signal then ends the run."""
        signals = self.world.signals
        received = [float(signals.received == number) for number in (signal.SIGINT, signal.SIGTERM)]
        interrupted, terminated, due_anywhere = self.world.sum([*received, float(due)])
        if due_anywhere or interrupted or terminated:
            self._checkpoint()
        if interrupted or terminated:
            _logger.warning("stopped after step %d of %d, with a checkpoint", self.step, self.task.steps)
            signals.received = signal.SIGTERM if terminated else signal.SIGINT  # of another rank too
            signals.stop()

    def _checkpoint(self) -> None:
        state = {name: part.state_dict() for name, part in self._parts.items()}
        fixed = {name: value for name, (value, _) in self.task.fixed.items()}
        self.folder.save(self.step, {**state, **self.task.kept, **fixed, "row": self.row})
        self._saved = time.monotonic()

    def _restore(self, state: dict[str, Any]) -> None:
        for name, (value, advice) in self.task.fixed.items():
            if state.get(name) != value:
                raise UserError(f"{self.folder.path} {advice}")
        restore_parts(self._parts, state)
        if missing := {"row", *self.task.kept} - state.keys():
            raise UserError(f"{self.folder.path}: its checkpoint lacks {min(missing)}: another command wrote it")
        self.task.kept = {name: state[name] for name in self.task.kept}
        self.step, self.row = state["step"], state["row"]
        _logger.info("resumed at step %d of %d", self.step, self.task.steps)
