"""scarlet-models evaluate: which images are scored, whose classes count, and timm's columns."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import timm
from helpers.images import COLOURS, write_colours
from helpers.runs import metrics

from scarlet_models.commands import train
from scarlet_models.commands.evaluate import Options, main
from scarlet_models.errors import UserError
from scarlet_models.training import evaluation
from scarlet_models.training.evaluation import COLUMNS, load_network
from scarlet_models.weights import save as saving


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("colours"))


@pytest.fixture(scope="module")
def run(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short training."""
    out = tmp_path_factory.mktemp("run") / "net"
    small = {"image_size": 24, "batch_size": 32, "lr": 0.05, "workers": 0, "threads": 1, "crop_pct": 1.0}
    train.main(train.Options(model="test_efficientnet", data_dir=str(images), out=str(out), epochs=2, **small))
    return out


@pytest.fixture
def options(run: Path, images: Path) -> Options:
    exported = str(run / "exported" / "net")
    return Options(network=exported, data_dir=str(images), test_split="test", workers=0, threads=1, json=True)


def test_held_out_images_give_the_figures_of_the_run(
    options: Options, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(options)
    report = json.loads(capsys.readouterr().out)
    assert (report["images"], report["split"]) == (12, "holdout of train")
    last = metrics(run)[-1]
    assert report["top1"] == pytest.approx(max(float(last[k]) for k in ("holdout_top1", "ema_holdout_top1")), abs=1e-3)
    assert len(report["weights_sha256"]) == 64 and report["command"] and report["machine"]["torch"]


def test_final_scores_the_test_split(options: Options, capsys: pytest.CaptureFixture[str]) -> None:
    main(dataclasses.replace(options, final=True))
    report = json.loads(capsys.readouterr().out)
    assert (report["images"], report["split"], report["top5"]) == (30, "test", 100)
    main(dataclasses.replace(options, final=True, json=False, batch_size=7))
    assert f"top-1 {report['top1']:.2f}%, top-5 100.00% of 30 images (test)" in capsys.readouterr().out


def test_results_have_timms_columns_and_one_row_a_model(options: Options, images: Path, tmp_path: Path) -> None:
    file = tmp_path / "results" / "results.csv"
    saving.save(
        timm.create_model("test_efficientnet", num_classes=3),
        tmp_path / "other",
        data_config={"input_size": (3, 32, 32)},
        label_names=COLOURS,
    )
    other = dataclasses.replace(options, network=str(tmp_path / "other"))
    for each in (options, other, options):
        main(dataclasses.replace(each, final=True, results_file=str(file)))
    with file.open(newline="") as content:
        rows = list(csv.DictReader(content))
    assert tuple(rows[0]) == COLUMNS
    assert [row["model"] for row in rows] == [other.network, options.network]
    assert float(rows[1]["top1"]) + float(rows[1]["top1_err"]) == pytest.approx(100)
    assert (rows[1]["param_count"], rows[1]["img_size"], rows[1]["crop_pct"]) == ("0.1", "24", "1.0")
    file.write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="has other columns than model, top1"):
        main(dataclasses.replace(options, final=True, results_file=str(file)))
    assert file.read_text() == "a,b\n1,2\n"


def test_a_results_file_that_cannot_be_written_is_refused_before_the_work(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setattr(evaluation, "evaluate_classifier", None)
    for place in ("file/results.csv", "file/deep/results.csv"):
        with pytest.raises(UserError, match=r"cannot write .*results\.csv: a file is in the place of a folder"):
            main(dataclasses.replace(options, results_file=str(tmp_path / place)))


def test_images_that_cannot_be_read_are_listed_or_left_out(
    options: Options, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(images, tmp_path / "colours")
    for name in ("green/7.png", "red/0.png"):
        (tmp_path / "colours/test" / name).write_text("no image")
    bad = dataclasses.replace(options, data_dir=str(tmp_path / "colours"), final=True)
    listed = (
        r"split test: 2 of 30 images cannot be read: green/7\.png \(not an image[^\n]*\), red/0\.png \(not an image"
    )
    with pytest.raises(UserError, match=listed + r"[^\n]*; mend or remove them, or leave them out with --skip-broken$"):
        main(bad)
    main(dataclasses.replace(bad, skip_broken=True))
    assert json.loads(capsys.readouterr().out)["images"] == 28


def test_a_copy_of_the_training_images_is_not_scored(options: Options, images: Path, tmp_path: Path) -> None:
    """Under other names, and as the test split."""
    for path in (images / "train").glob("*/*.png"):
        copy = tmp_path / "test" / path.parent.name / f"copy{path.name}"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    with pytest.raises(UserError, match=r"net was trained on 108 of these 120 images, blue/copy\d+\.png for one"):
        main(dataclasses.replace(options, data_dir=str(tmp_path), final=True))


def test_classes_are_compared_by_their_names(
    options: Options, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    score = dataclasses.replace(options, final=True)
    for folder, names in (("renamed", ("azure", "green", "red")), ("numbers", ("0", "1", "2"))):
        for old, new in zip(COLOURS, names, strict=True):
            shutil.copytree(images / "test" / old, tmp_path / folder / "test" / new)
    with pytest.raises(UserError, match="knows other classes, or in another order: 'blue' where the data has 'azure'"):
        main(dataclasses.replace(score, data_dir=str(tmp_path / "renamed")))
    for folder in (images, tmp_path / "numbers"):
        main(dataclasses.replace(score, data_dir=str(folder)))
        assert json.loads(capsys.readouterr().out)["images"] == 30


def test_a_network_is_not_scored_on_images_that_it_was_trained_on(
    options: Options, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, folder = dataclasses.replace(options, split_seed=1), Path(options.network)
    for prefix in ("", "local-dir:"):
        with pytest.raises(UserError, match=r"net held out other images: give the data, --holdout and --split-seed"):
            main(dataclasses.replace(other, network=f"{prefix}{folder}"))
    main(dataclasses.replace(other, final=True))
    assert "on record" not in capsys.readouterr().err
    shutil.copytree(folder, tmp_path / "bare")
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "bare" / "config.json").write_text(json.dumps({**config, "split": "train"}))
    (tmp_path / "bare" / "trained_images.npy").unlink()
    main(dataclasses.replace(other, network=str(tmp_path / "bare")))
    assert "it is not on record which images" in capsys.readouterr().err


def test_a_folder_without_a_network_hides_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("scarlet_c.tiny_in").mkdir()
    assert load_network("scarlet_c.tiny_in").pretrained_cfg["tag"] == "tiny_in"


def test_what_cannot_be_scored_is_one_line(options: Options, tmp_path: Path) -> None:
    grey = timm.create_model("test_efficientnet", in_chans=1, num_classes=3)
    saving.save(grey, tmp_path / "grey", {"in_chans": 1}, {"input_size": (1, 32, 32)}, COLOURS)
    shutil.copytree(options.network, tmp_path / "torn")
    torn = tmp_path / "torn" / "model.safetensors"
    torn.write_bytes(torn.read_bytes()[:1000])
    cases: list[tuple[dict[str, Any], str]] = [
        (
            {"network": str(tmp_path / "grey"), "final": True},
            "takes images of 1 channels",
        ),
        ({"network": str(tmp_path / "torn")}, f"{tmp_path / 'torn'}"),
        ({"network": f"local-dir:{tmp_path / 'torn'}"}, f"{tmp_path / 'torn'}"),
        ({"network": "nowhere"}, "nowhere is neither an exported folder nor a network with weights"),
        ({"network": "scarlet_a2"}, "scarlet_a2 is neither an exported folder nor a network with weights"),
        ({"network": "scarlet_a.tiny_in"}, "scarlet_a.tiny_in knows 200 classes, the data has 3"),
        ({"holdout": 0.0}, "--holdout 0 leaves no images to score"),
    ]
    for change, message in cases:
        with pytest.raises(UserError, match=message) as caught:
            main(dataclasses.replace(options, **change))
        assert "\n" not in str(caught.value)
