"""scarlet-models train --plan: what a training costs, by a speed that is given or measured; ImageNet's recipe."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import scarlet_models
from scarlet_models import cli
from scarlet_models.documents import read_yaml
from scarlet_models.training.optim import make_optimizer, make_scheduler

PLAN = ("train", "--model", "test_efficientnet", "--epochs", "2", "--batch-size", "32", "--plan", "1000")


def test_hours_follow_from_the_speed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*PLAN, "--throughput", "100", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["images"], plan["held_out"], plan["updates"]) == (900, 100, 56)
    assert plan["hours"] == pytest.approx(56 * 32 / 100 / 3600)
    assert not plan["measured"]


def test_each_size_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*PLAN, "--image-size", "[[0, 32], [1, 96]]", "--teacher", "test_efficientnet"]) == 0
    printed = capsys.readouterr().out
    assert "900 images to learn from, 100 held out" in printed
    assert "32 px: " in printed and "96 px: " in printed and "measured now" in printed


def test_too_few_images_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*PLAN[:-1], "30"]) == 2
    assert "27 images to learn from are fewer than a batch of 32" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--accumulate", "0"], "--accumulate: 0 is below 1"),
        (["--image-size", "[[3, 64]]"], "--image-size: epochs [3] do not ascend from 0"),
        (["--model", "test_vit", "--image-size", "24"], "test_vit cannot see images of 24 px: "),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*PLAN, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_the_imagenet_recipe_has_mnasnets_schedule() -> None:
    """0.256 for 4096 images after 5 epochs of warm-up; x0.97 every 2.4 epochs, counted from the start."""
    recipe = read_yaml(Path(scarlet_models.__path__[0], "training", "recipes", "imagenet_mnasnet.yaml"), dict)
    assert recipe["lr"] / recipe["batch_size"] == 0.256 / 4096
    options = SimpleNamespace(**{"momentum": 0.9, **recipe})
    model = torch.nn.Linear(2, 2)
    optimizer = make_optimizer(model, options)  # type: ignore[arg-type]  # has what is read
    task = SimpleNamespace(options=options, steps=3500, steps_per_epoch=10, warmup_steps=50)
    scheduler = make_scheduler(optimizer, task)
    rates = {}
    for step in (0, 25, 50, 72, 120, 3499):
        scheduler.step_update(step)
        rates[step] = optimizer.param_groups[0]["lr"] / recipe["lr"]
    assert rates[0] < 1e-4 and rates[25] == pytest.approx(0.5, abs=0.01)
    for step in (50, 72, 120, 3499):
        assert rates[step] == pytest.approx(0.97 ** (step // 24), rel=1e-6)
