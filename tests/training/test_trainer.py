"""The training loop alone: a toy task, figures read late, and signals."""

from __future__ import annotations

import math
import os
import shlex
import signal
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.images import write_colours
from helpers.runs import NothingRead, command_line, metrics, newest, same
from torch import Tensor, nn
from torch.utils.data import Dataset

from scarlet_models.commands.train import Options, main
from scarlet_models.errors import UserError
from scarlet_models.training import trainer as module
from scarlet_models.training.checkpoint import list_checkpoints, load_checkpoint
from scarlet_models.training.classification import Classification, Start
from scarlet_models.training.distributed import World
from scarlet_models.training.options import OptimizerOptions, RunOptions
from scarlet_models.training.task import Scale, Task
from scarlet_models.training.trainer import Trainer


@dataclass
class ToyOptions(OptimizerOptions, RunOptions):
    epochs: int = 3
    workers: int = 0
    bad_step: int = 0


class _Points(Dataset[tuple[Tensor, Tensor]]):
    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x = torch.tensor([index / 10, 1.0])
        return x, 3 * x[:1] + 2


class Line(Task):
    """A line through points; its loss becomes NaN at one step if that is asked for."""

    def __init__(self, options: ToyOptions) -> None:
        super().__init__(options, World(0, 1, torch.device("cpu")))
        self.plan(range(20), options.epochs)
        torch.manual_seed(0)
        self.model = nn.Linear(2, 1)
        self.begun, self.kept = 0, {"taken": []}

    def dataset(self, epoch: int) -> Dataset[Any]:
        return _Points()

    def begin_step(self) -> None:
        self.begun += 1

    def add_gradients(self, batch: tuple[Tensor, Tensor], scale: Scale) -> dict[str, Tensor]:
        loss = (self.model(batch[0]) - batch[1]).square().mean()
        scale(loss * (math.nan if self.begun == self.options.bad_step else 1.0)).backward()
        bad = self.begun == self.options.bad_step
        return {"loss": torch.tensor(math.nan) if bad else loss.detach(), "noise": torch.rand(())}

    def take_in(self, step: int, figures: dict[str, Tensor]) -> dict[str, float]:
        self.kept["taken"].append(step)
        return {"loss": figures["loss"].item(), "noise": figures["noise"].item()}

    def measure(self, epoch: int) -> dict[str, float]:
        return {"epochs": epoch + 1}


@pytest.fixture
def toy(tmp_path: Path) -> ToyOptions:
    return ToyOptions(out=str(tmp_path / "toy"), batch_size=4, lr=0.05)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("colours"))


def test_the_toy_learns_and_leaves_a_row_a_step(toy: ToyOptions) -> None:
    task = Line(replace(toy, epochs=40))
    Trainer(task, "toy").run()
    rows = metrics(toy.out)
    assert [int(row["step"]) for row in rows] == list(range(1, 201)) == task.kept["taken"]
    assert float(rows[-1]["loss"]) < 0.01 < float(rows[0]["loss"])
    assert [row["step"] for row in rows if row["epochs"]] == [str(5 * epoch) for epoch in range(1, 41)]


@pytest.mark.parametrize("read_every", [3, 100])
def test_figures_that_are_read_late_change_no_result(
    toy: ToyOptions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, read_every: int
) -> None:
    Trainer(Line(toy), "toy").run()
    late = replace(toy, out=str(tmp_path / "late"), checkpoint_minutes=0.0)
    monkeypatch.setitem(module.READ_EVERY, "cpu", read_every)
    Trainer(Line(late), "toy").run()
    assert same(newest(toy.out), newest(late.out))
    assert metrics(toy.out) == metrics(late.out)
    steps = [load_checkpoint(path)["step"] for path in list_checkpoints(Path(late.out) / "checkpoints")]
    assert steps == ([15, 13] if read_every == 3 else [15, 10])


def test_a_step_reads_nothing_back_from_the_device(toy: ToyOptions, images: Path, tmp_path: Path) -> None:
    options = Options(model="test_efficientnet", data_dir=str(images), out=str(tmp_path / "run"), image_size=24)
    options = replace(options, epochs=1, mixup=0.2, amp="bf16", clip_grad=1.0, workers=0)
    with pytest.raises(AssertionError, match="read back"), NothingRead():
        torch.ones(()).item()
    for task in (Line(toy), Classification(options, Start(options.model), World(0, 1, torch.device("cpu")))):
        trainer = Trainer(task, "test")
        parts = iter(list(trainer.load(0, 0, 2)))
        trainer.train_step(parts)  # the first makes momentum
        with NothingRead():
            trainer.train_step(parts)
        trainer.read()


@pytest.mark.parametrize("read_every", [1, 3, 100])
def test_no_checkpoint_holds_what_is_not_finite(
    toy: ToyOptions, monkeypatch: pytest.MonkeyPatch, read_every: int
) -> None:
    """However late it is noticed, its step is named, and no row of it or of later ones is written."""
    monkeypatch.setitem(module.READ_EVERY, "cpu", read_every)
    bad = replace(toy, bad_step=8, checkpoint_minutes=0.0)
    with pytest.raises(UserError, match="loss nan at step 8: training diverged; the last good checkpoint is kept in"):
        Trainer(Line(bad), "toy").run()
    kept = newest(bad.out)
    assert 5 <= kept["step"] <= 7
    assert all(tensor.isfinite().all() for tensor in kept["model"].values())
    assert max(int(row["step"]) for row in metrics(bad.out)) <= 7


# Signals


def _start(options: Options, **more: Any) -> subprocess.Popen[str]:
    """A training in a process group of its own that has written a checkpoint."""
    process = subprocess.Popen(
        command_line("scarlet-models train", options),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    while not list_checkpoints(Path(options.out) / "checkpoints"):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    return process


@pytest.mark.parametrize(
    ("number", "status", "workers"), [(signal.SIGTERM, 143, 0), (signal.SIGINT, 130, 1)], ids=["SIGTERM", "SIGINT"]
)
def test_a_signal_ends_a_run_with_a_checkpoint_and_the_line_that_resumes(
    images: Path, tmp_path: Path, number: signal.Signals, status: int, workers: int
) -> None:
    """The signal goes to the whole process group, as Ctrl-C does."""
    whole = Options(
        model="test_efficientnet",
        data_dir=str(images),
        out=str(tmp_path / "whole"),
        epochs=12,
        image_size=24,
        batch_size=32,
        lr=0.05,
        workers=workers,
        threads=1,
    )
    stopped = replace(whole, out=str(tmp_path / "it's a run"))
    process = _start(stopped)
    os.killpg(process.pid, number)
    error = process.communicate(timeout=120)[1]
    assert process.returncode == status, error
    line = next(line for line in error.splitlines() if line.startswith("scarlet-models train"))
    assert shlex.split(line) == ["scarlet-models", "train", "--config", f"{stopped.out}/config.yaml", "--resume"]
    assert "Traceback" not in error
    done = newest(stopped.out)["step"]
    assert 0 < done < 36
    assert f"stopped after step {done} of 36" in error

    path = f"{Path(command_line('scarlet-models', whole)[0]).parent}:{os.environ['PATH']}"
    subprocess.run(line, shell=True, check=True, capture_output=True, env={**os.environ, "PATH": path})
    main(whole)
    assert same(newest(stopped.out), newest(whole.out))
    assert metrics(stopped.out) == metrics(whole.out)
