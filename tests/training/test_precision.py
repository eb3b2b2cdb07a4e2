"""--amp auto: bf16 where it is faster, chosen once a run."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from helpers.images import write_colours

from scarlet_models.commands.train import Options
from scarlet_models.training import optim
from scarlet_models.training.classification import Classification, Start
from scarlet_models.training.distributed import World
from scarlet_models.training.trainer import Trainer

WORLD = World(0, 1, torch.device("cpu"))


@pytest.fixture
def options(tmp_path: Path) -> Options:
    write_colours(tmp_path / "images", 8)
    sizes = {"image_size": 24, "batch_size": 8, "epochs": 1, "workers": 0}
    return Options(model="test_efficientnet", data_dir=str(tmp_path / "images"), out=str(tmp_path / "run"), **sizes)


def task(options: Options) -> Classification:
    return Classification(options, Start(options.model), WORLD)


def test_short_runs_and_cpus_without_instructions_keep_float32(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optim, "_time_precisions", lambda *_: pytest.fail("nothing is to be timed"))
    trainer = Trainer(task(options), "test")
    assert trainer.options.amp == "none" and options.amp == "auto"
    trainer.folder.close()
    monkeypatch.setattr(optim, "_WORTH_A_TRIAL", 0)
    monkeypatch.setattr(optim, "has_bfloat16", lambda device: False)
    assert Trainer(task(replace(options, out=options.out + "2")), "test").options.amp == "none"


def test_the_choice_is_written_down_and_never_made_again(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optim, "_WORTH_A_TRIAL", 0)
    monkeypatch.setattr(optim, "has_bfloat16", lambda device: True)
    monkeypatch.setattr(optim, "_time_precisions", lambda *_: {"none": 2.0, "bf16": 1.0})
    Trainer(task(options), "test").run()
    assert yaml.safe_load((Path(options.out) / "config.yaml").read_text())["amp"] == "bf16"
    monkeypatch.setattr(optim, "_time_precisions", lambda *_: {"none": 1.0, "bf16": 2.0})
    assert Trainer(task(replace(options, resume=True)), "test").options.amp == "bf16"
    assert Trainer(task(replace(options, out=options.out + "2")), "test").options.amp == "none"


def test_the_trial_leaves_the_model_as_it_was(options: Options) -> None:
    trainer = Trainer(task(options), "test")
    before = copy.deepcopy(trainer.task.model.state_dict())
    seconds = optim._time_precisions(trainer.task, next(trainer.load(0, 0, 1)))
    assert set(seconds) == {"none", "bf16"} and min(seconds.values()) > 0
    after = trainer.task.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(parameter.grad is None for parameter in trainer.task.model.parameters())
    assert trainer.task.options.amp == "none"
