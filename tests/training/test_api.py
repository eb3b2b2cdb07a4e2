"""The Python interface: train and evaluate with the commands' options as keywords."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
from helpers.images import write_colours

from scarlet_models.training.classification import train
from scarlet_models.training.evaluation import evaluate


def test_train_then_evaluate(tmp_path: Path) -> None:
    images = write_colours(tmp_path / "images")
    options = {"epochs": 2, "image_size": 24, "batch_size": 32, "lr": 0.05, "workers": 0, "threads": 1}
    result = train("test_efficientnet", images, out=tmp_path / "runs/mine", **options)
    assert result.folder == tmp_path / "runs/mine/exported/mine"
    assert [row["epoch"] for row in result.history] == [1, 2]
    last = result.history[-1]
    assert result.top1 == pytest.approx(max(last["holdout_top1"], last["ema_holdout_top1"]), rel=1e-4)
    assert repr(result) == f"TrainResult('{result.folder}', top1={result.top1:.2f}, epochs=2)"

    held = evaluate(result.folder, images, workers=0, threads=1)
    assert held.top1 == pytest.approx(result.top1) and (held.images, held.split) == (12, "holdout of train")
    final = evaluate(result.folder, images, final=True, test_split="test", workers=0, threads=1)
    assert (final.images, final.split, final.top5) == (30, "test", 100)
    assert f"top1={final.top1:.2f}" in repr(final) and len(repr(final)) < 200
    assert timm.create_model(f"local-dir:{result.folder}", pretrained=True).num_classes == 3


def test_options_are_those_of_the_commands() -> None:
    with pytest.raises(TypeError, match="epoch"):
        train("scarlet_a", "images", epoch=3)
    with pytest.raises(TypeError, match="nosuch"):
        evaluate("scarlet_a.tiny_in", "images", nosuch=3)
