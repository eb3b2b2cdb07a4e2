"""The stages of a search: each runs once, whatever is started again, and nothing is lost to other options."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from scarlet_models.errors import UserError
from scarlet_models.search.cli import PROGRAM
from scarlet_models.search.pipeline.digits import write_digits
from scarlet_models.search.pipeline.journal import NAME as JOURNAL
from scarlet_models.search.pipeline.journal import Stage
from scarlet_models.search.pipeline.pipeline import Pipeline
from scarlet_models.terminal import log_to_stderr


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten noisy images of each of two classes."""
    root = tmp_path_factory.mktemp("images")
    noise = np.random.default_rng(0)
    for name in ("a", "b"):
        (root / "train" / name).mkdir(parents=True)
        for i in range(10):
            pixels = noise.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "train" / name / f"{i}.png")
    return root


def _retrain(images: Path, **more: Any) -> Stage:
    """A training of a second."""
    options = {
        "data_dir": str(images),
        "workers": 0,
        "genotype": "0,0,0,0,0",
        "space": "mini",
        "name": "net",
        "image_size": 16,
        "batch_size": 8,
        "epochs": 1,
        "warmup_epochs": 0.0,
        "color_jitter": 0.0,
    }
    return Stage("retrain", "retrain", "for a test", options | more, "exported/net/config.json")


def _train(images: Path, **more: Any) -> Stage:
    options = {"data_dir": str(images), "workers": 0, "space": "mini", "image_size": 16, "batch_size": 8, "steps": 1}
    return Stage(
        "train", "train", "for a test", {**options, "eval_images": 0, **more}, "supernet.safetensors", keep=True
    )


def test_a_stage_runs_once_and_says_how(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr()
    folder = Pipeline(tmp_path, PROGRAM).run(_retrain(images))
    product = folder / "exported/net/config.json"
    made = product.stat().st_mtime_ns
    again = Pipeline(tmp_path, PROGRAM)
    assert again.is_done(_retrain(images))
    assert again.run(_retrain(images)) == folder
    assert product.stat().st_mtime_ns == made
    assert "done before" in capsys.readouterr().err

    command = json.loads((tmp_path / JOURNAL).read_text())["retrain"]["command"]
    assert command == f"scarlet-search retrain --config {folder}.yaml"
    assert yaml.safe_load(Path(f"{folder}.yaml").read_text())["out"] == str(folder)


def test_where_the_data_lies_and_how_fast_it_is_read_do_not_count(images: Path, tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path, PROGRAM)
    pipeline.run(_retrain(images))
    assert pipeline.is_done(_retrain(images, workers=2, data_dir="elsewhere"))
    assert not pipeline.is_done(_retrain(images, lr=0.2))


def test_a_stage_whose_product_is_gone_runs_again(images: Path, tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path, PROGRAM)
    product = pipeline.run(_retrain(images)) / "exported/net/config.json"
    product.unlink()
    pipeline.run(_retrain(images))
    assert product.exists()


def test_another_network_is_trained_beside_the_first(images: Path, tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path, PROGRAM)
    pipeline.run(_retrain(images))
    pipeline.run(_retrain(images, genotype="1,1,1,1,1"))
    genotypes = [
        yaml.safe_load((tmp_path / name / "config.yaml").read_text())["genotype"] for name in ("retrain.1", "retrain")
    ]
    assert genotypes == ["0,0,0,0,0", "1,1,1,1,1"]


def test_an_interrupted_stage_goes_on(images: Path, tmp_path: Path) -> None:
    """Killed after its first checkpoint: the journal knows nothing of it, its folder does."""
    pipeline = Pipeline(tmp_path, PROGRAM)
    folder = pipeline.run(_retrain(images))
    (tmp_path / JOURNAL).unlink()
    before = (folder / "metrics.csv").read_text()
    Pipeline(tmp_path, PROGRAM).run(_retrain(images))
    assert (folder / "metrics.csv").read_text() == before
    assert not (tmp_path / "retrain.1").exists()


def test_a_supernet_is_not_lost_to_another_option(images: Path, tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path, PROGRAM)
    pipeline.run(_train(images))
    with pytest.raises(UserError, match=r"lr was None, is 0\.5.*choose another --out"):
        pipeline.run(_train(images, lr=0.5))
    assert pipeline.is_done(_train(images))


@pytest.mark.parametrize(("needs", "left"), [(("train",), ["train"]), ((), ["retrain", "train"])])
def test_what_needs_a_stage_that_runs_again_is_out_of_date(
    images: Path, tmp_path: Path, needs: tuple[str, ...], left: list[str]
) -> None:
    pipeline = Pipeline(tmp_path, PROGRAM)
    supernet = pipeline.run(_train(images)) / "supernet.safetensors"
    pipeline.run(replace(_retrain(images), needs=needs))
    supernet.unlink()
    pipeline.run(_train(images))
    assert list(json.loads((tmp_path / JOURNAL).read_text())) == left


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"no_such": 1}, "retrain has no option no_such"),
        ({"config": "no_such"}, "there is no recipe no_such"),
        ({"epochs": "many"}, "--epochs: 'many' is not a whole number"),
    ],
)
def test_mistakes_are_named(images: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Pipeline(tmp_path, PROGRAM).run(_retrain(images, **options))


def test_a_stage_takes_what_its_recipe_says_unless_told_otherwise(images: Path, tmp_path: Path) -> None:
    options = Pipeline(tmp_path, PROGRAM).options_of(_retrain(images, config="cifar10_cpu", lr=0.3))
    assert (options.lr, options.weight_decay, options.batch_size) == (0.3, 5e-4, 8)


@pytest.mark.parametrize("content", ["{", "[]", "5", '{"train": {}}', '{"train": {"options": {}, "needs": []}}'])
def test_a_damaged_journal_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / JOURNAL).write_text(content)
    with pytest.raises(UserError, match=f"{JOURNAL} is damaged"):
        Pipeline(tmp_path, PROGRAM)


def test_digits_are_images_that_others_may_read_and_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    write_digits(tmp_path / "new" / "digits")
    assert len(list((tmp_path / "new/digits").rglob("*.png"))) == 1797
    assert (tmp_path / "new/digits").stat().st_mode == (tmp_path / "new").stat().st_mode
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["digits"]
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*file/digits: Not a directory; choose another --out"):
        write_digits(tmp_path / "file" / "digits")
