"""scarlet-models detect: trains on COCO's format, survives kills bit for bit, measures, and draws what it finds."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml
from helpers.runs import metrics, newest, same
from PIL import Image, ImageDraw
from torchvision.transforms import v2

from scarlet_models.cli import main
from scarlet_models.commands import detect_train
from scarlet_models.commands.detect import PROGRAM
from scarlet_models.commands.detect_train import Options
from scarlet_models.detection import detector as detectors
from scarlet_models.detection.coco import CocoImages
from scarlet_models.detection.data import Augmented, train_transform
from scarlet_models.detection.detector import Found
from scarlet_models.detection.prediction import draw
from scarlet_models.errors import UserError
from scarlet_models.inspection.plotting import label_colour
from scarlet_models.training.checkpoint import list_checkpoints, load_checkpoint
from scarlet_models.training.run_folder import plain
from scarlet_models.weights import save as saving

pytest.importorskip("faster_coco_eval")  # of the extra detection
SIZE, CATEGORIES = 64, [{"id": 3, "name": "disc"}, {"id": 7, "name": "square"}]
SCRIPT = str(Path(sys.executable).with_name("scarlet-models"))
ELASTIC = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
TORCHRUN = [sys.executable, *ELASTIC, "--no-python", SCRIPT]


def write_shapes(root: Path, count: int) -> dict[str, str]:
    """Images of a disc or square each, and one without any; the first half is split train, the others are val."""
    random.seed(0)
    (root / "images").mkdir(parents=True)
    images, boxes = [], []
    for i in range(count):
        canvas = Image.new("RGB", (SIZE + 16, SIZE), (30, 30, 30))
        if i:
            side, x, y = random.randint(16, 32), random.randint(0, 30), random.randint(0, 30)
            kind, frame = i % 2, (x, y, x + side, y + side)
            drawing = ImageDraw.Draw(canvas)
            (drawing.ellipse, drawing.rectangle)[kind](frame, fill=((250, 80, 60), (60, 250, 80))[kind])
            box = {"bbox": [x, y, side, side], "area": side**2, "iscrowd": 0}
            boxes.append({"id": i, "image_id": 10 * i, "category_id": CATEGORIES[kind]["id"], **box})
        canvas.save(root / "images" / f"{i:02d}.png")
        images.append({"id": 10 * i, "file_name": f"{i:02d}.png", "width": SIZE + 16, "height": SIZE})
    names = [image["file_name"] for image in images]
    splits = {"train": names[: count // 2], "val": names[count // 2 :]}
    content = {"images": images, "annotations": boxes, "categories": CATEGORIES, "splits": splits}
    (root / "boxes.json").write_text(json.dumps(content))
    return {"images": str(root / "images"), "annotations": str(root / "boxes.json")}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return write_shapes(tmp_path_factory.mktemp("shapes"), 16)


def _options(data: dict[str, str], out: Path) -> Options:
    """Two epochs of two steps in seconds, with everything on that is random or has state."""
    return Options(
        **data,
        split="train",
        val_split="val",
        out=str(out),
        model="scarlet_c",
        pretrained=False,
        detector_args={"out_channels": 16, "extra_levels": 0, "anchor_scale": 2.0, "score_thresh": 0.0},
        image_size=(64, 96),
        flip=(0.5, 0.5),
        color_jitter=0.2,
        epochs=2,
        batch_size=4,
        accumulate=2,
        lr=0.01,
        warmup_epochs=0.5,
        workers=0,
        threads=1,
        device="cpu",
        checkpoint_minutes=0.0,
    )


@pytest.fixture(scope="module")
def whole(data: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Options:
    """A run that nothing interrupted."""
    options = _options(data, tmp_path_factory.mktemp("whole") / "run")
    detect_train.main(options)
    return options


def _copy_run(source: Options, out: Path) -> Options:
    shutil.copytree(source.out, out)
    return dataclasses.replace(source, out=str(out), resume=True)


# Training


def test_a_run_that_resumes_inside_an_epoch_is_the_uninterrupted_one_bit_for_bit(
    whole: Options, tmp_path: Path
) -> None:
    options = _copy_run(whole, tmp_path / "run")
    last, before = list_checkpoints(tmp_path / "run" / "checkpoints")
    assert load_checkpoint(before)["step"] == 3, "of 4, with two in an epoch"
    last.unlink()
    shutil.rmtree(tmp_path / "run" / "exported")
    detect_train.main(dataclasses.replace(options, workers=1, allow_drift=True))
    assert same(newest(whole.out), newest(options.out))
    assert metrics(whole.out) == metrics(options.out)
    exported = [Path(run.out) / "exported" / "run" / "model.safetensors" for run in (whole, options)]
    assert exported[0].read_bytes() == exported[1].read_bytes()


def test_metrics_have_losses_and_figures_of_each_epoch(whole: Options) -> None:
    rows = metrics(whole.out)
    assert [(row["step"], row["epoch"]) for row in rows] == [("2", "1"), ("4", "2")]
    for row in rows:
        parts = float(row["classification"]) + float(row["bbox_regression"])
        assert float(row["loss"]) == pytest.approx(parts, rel=1e-4) and 0 <= float(row["val_AP50"]) <= 1
    assert list((Path(whole.out) / "events").iterdir())


@pytest.mark.parametrize("change", ["a box", "a box to measure on", "an image"])
def test_resuming_on_other_data_is_refused(whole: Options, data: dict[str, str], tmp_path: Path, change: str) -> None:
    shutil.copytree(data["images"], tmp_path / "images")
    content = json.loads(Path(data["annotations"]).read_text())
    if change == "an image":
        Image.new("RGB", (SIZE + 16, SIZE)).save(tmp_path / "images" / "03.png")
    else:
        content["annotations"][0 if change == "a box" else -1]["bbox"][0] += 1
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    options = _copy_run(whole, tmp_path / "run")
    changed = {"images": str(tmp_path / "images"), "annotations": str(tmp_path / "boxes.json")}
    with pytest.raises(UserError, match="other images or boxes, or is of an older version: restore its data"):
        detect_train.main(dataclasses.replace(options, **changed))


@pytest.mark.parametrize("wrong", ["categories", "package", "link"])
def test_what_would_end_a_training_later_is_found_before_it_begins(
    wrong: str,
    data: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(data["images"], tmp_path / "images")
    content = json.loads(Path(data["annotations"]).read_text())
    if wrong == "categories":
        content["categories"][0]["name"] = "coin"
    elif wrong == "package":
        monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    else:
        (tmp_path / "images/09.png").unlink()
        (tmp_path / "images/09.png").symlink_to("gone.png")
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    known = ["--images", data["images"], "--annotations", data["annotations"], "--split", "train", "--no-pretrained"]
    other = ["--val-images", str(tmp_path / "images"), "--val-annotations", str(tmp_path / "boxes.json")]
    out = tmp_path / "run"
    status, _, err = run(capsys, "train", *known, *other, "--val-split", "val", "--batch-size", "4", "--out", str(out))
    said = {
        "categories": "boxes.json has other categories than the detector",
        "package": "needs faster_coco_eval: pip install",
        "link": "boxes.json: 1 of 8 images cannot be read: 09.png (No such file or directory); mend or remove them\n",
    }
    assert status == 2 and said[wrong] in err and "Traceback" not in err and not out.exists()


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(
    data: dict[str, str], tmp_path: Path
) -> None:
    options = dataclasses.replace(_options(data, tmp_path / "run"), lr=1e30, val_split="", warmup_epochs=0.0)
    with pytest.raises(UserError, match="training diverged; the last good checkpoint is kept") as caught:
        detect_train.main(options)
    assert "\n" not in str(caught.value)
    assert [load_checkpoint(path)["step"] for path in list_checkpoints(tmp_path / "run" / "checkpoints")] == [1]


def test_random_changes_of_a_image_depend_on_seed_epoch_and_index_only(data: dict[str, str]) -> None:
    images = CocoImages(data["images"], data["annotations"])
    transform = train_transform(v2.Resize(64, max_size=96), 0.5, 0.5, 0.4)
    first, again, later = (Augmented(images, transform, seed=1, epoch=epoch) for epoch in (0, 0, 1))
    torch.rand(3)  # what else is drawn does not matter
    assert torch.equal(first[2][0], again[2][0]) and not torch.equal(first[2][0], later[2][0])


def test_boxes_stay_on_what_they_frame(data: dict[str, str]) -> None:
    """The shapes are bright on a dark ground: through resizing and flips a box frames the bright pixels."""
    images = CocoImages(data["images"], data["annotations"])
    transform = train_transform(v2.Resize(128, max_size=256), 0.5, 0.5, 0.0)
    for epoch, index in itertools.product(range(4), (1, 2, 3)):
        image, target = Augmented(images, transform, seed=0, epoch=epoch)[index]
        rows, columns = (image.amax(0) > 0.5).nonzero(as_tuple=True)
        seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert target["boxes"][0].tolist() == pytest.approx([float(value) for value in seen], abs=3)
    assert image.shape == (3, 128, 160)


@pytest.mark.slow
def test_two_processes_train_and_measure_as_one_does(data: dict[str, str], tmp_path: Path) -> None:
    """Gradients are averaged, no image is left out, and one process writes. Batch norm alone sees other batches."""
    options = _options(data, tmp_path / "run")
    options.detector_args = {**options.detector_args, "frozen_norm": True}
    options.accumulate = 1
    options.color_jitter = 0.0
    detect_train.main(dataclasses.replace(options, out=str(tmp_path / "one")))
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(plain(dataclasses.asdict(options))))
    command = [*TORCHRUN, "detect", "train", "--config", str(tmp_path / "two.yaml")]
    subprocess.run(command, check=True, capture_output=True, text=True)
    one, two = metrics(str(tmp_path / "one")), metrics(options.out)
    assert len(one) == len(two) == 2
    for mine, other in zip(one, two, strict=True):
        assert float(mine["loss"]) == pytest.approx(float(other["loss"]), rel=1e-3)
    model = str(tmp_path / "run" / "exported" / "run")
    where = ["--images", data["images"], "--annotations", data["annotations"], "--json"]
    shared, alone = (
        json.loads(subprocess.run([*start, "detect", "eval", model, *where], check=True, capture_output=True).stdout)
        for start in (TORCHRUN, [SCRIPT])
    )
    assert shared.pop("AP50_of") == pytest.approx(alone.pop("AP50_of"))
    assert shared == pytest.approx(alone) and alone["detections"] > 0


@pytest.mark.slow
def test_it_learns_to_find_shapes_from_the_shipped_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = _options(write_shapes(tmp_path, 48), tmp_path / "run")
    options = dataclasses.replace(
        options, model="scarlet_a.tiny_in", pretrained=True, accumulate=1, epochs=30, val_every=30
    )
    detect_train.main(dataclasses.replace(options, opt="adamw", lr=1e-3, clip_grad=10.0, json=True))
    assert json.loads(capsys.readouterr().out)["AP50"] > 0.5  # untrained ones have less than 0.2


# The folder of a detector


def test_a_folder_holds_everything_that_the_detector_needs(whole: Options, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    shutil.copytree(Path(whole.out) / "exported" / "run", folder)
    config = json.loads((folder / "config.json").read_text())
    assert config["network"]["name"].count(",") == 18 and config["network"]["space"]["stages"]
    assert config["categories"] == CATEGORIES and len(config["arguments"]["image_mean"]) == 3
    detector = detectors.load(folder)
    assert not detector.model.training
    weights = newest(whole.out)["model"]
    assert same(dict(detector.model.state_dict()), weights)


def test_a_detector_keeps_what_its_weights_were_trained_with(tmp_path: Path) -> None:
    """A backbone that starts from a folder with a mean of its own; without the folder it must still be known."""
    released = timm.create_model("scarlet_a.tiny_in", pretrained=True)
    saving.save(
        released, tmp_path / "net", data_config={"mean": (0.1, 0.2, 0.3)}, label_names=list(map(str, range(200)))
    )
    name, arguments = f"local-dir:{tmp_path / 'net'}", {"out_channels": 16, "extra_levels": 0, "score_thresh": 0.0}
    config = detectors.describe("retinanet", name, arguments, (64, 96), CATEGORIES)
    start = detectors.Detector(config, weights_from=name)
    start.save(tmp_path / "saved")
    shutil.rmtree(tmp_path / "net")
    again = detectors.load(tmp_path / "saved")
    assert list(again.model.transform.image_mean) == [0.1, 0.2, 0.3]
    assert torch.equal(again.model.backbone.body.conv_stem.weight, released.conv_stem.weight)
    image = torch.rand(3, 64, 80)
    (one,), (other,) = (detector.find([image], [(80, 64)]) for detector in (start, again))
    assert len(one.scores) and same(one._asdict(), other._asdict())


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("scarlet_c", {"act_layer": "relu"}),
        ("scarlet_c", {"channel_multiplier": 0.5}),
        ("scarlet_net", {"genotype": "0" + ",0" * 18, "act_layer": "relu"}),
        ("mobilenetv3_small_050", {}),
    ],
)
def test_a_detector_is_the_same_once_its_networks_folder_is_gone(
    name: str, given: dict[str, Any], tmp_path: Path
) -> None:
    saving.save(timm.create_model(name, num_classes=2, **given), tmp_path / "net", given)
    folder, sizes = f"local-dir:{tmp_path / 'net'}", {"out_channels": 16, "extra_levels": 0, "score_thresh": 0.0}
    start = detectors.Detector(detectors.describe("retinanet", folder, sizes, (64, 96), CATEGORIES), folder)
    start.save(tmp_path / "saved")
    shutil.rmtree(tmp_path / "net")
    assert str(tmp_path) not in (tmp_path / "saved" / "config.json").read_text()
    image, again = torch.rand(3, 64, 64), detectors.load(tmp_path / "saved")
    (one,), (other,) = (each.find([image], [(64, 64)]) for each in (start, again))
    assert len(one.scores) and same(one._asdict(), other._asdict())


def test_boxes_are_given_in_pixels_of_the_image_before_it_was_resized(whole: Options) -> None:
    detector = detectors.load(Path(whole.out) / "exported" / "run")
    photo = Image.effect_mandelbrot((160, 128), (-2, -1.2, 1, 1.2), 20).convert("RGB")
    image = detector.prepare(photo)
    assert image.shape == (3, 64, 80)
    (small,), (large,) = (detector.find([image], [size]) for size in ((80, 64), photo.size))
    assert len(small.boxes) and torch.equal(2 * small.boxes, large.boxes)
    row = detector.as_coco(large, 5)[0]
    x, y, right, bottom = large.boxes[0].tolist()
    assert row["bbox"] == pytest.approx([x, y, right - x, bottom - y])
    assert row["image_id"] == 5 and row["category_id"] == CATEGORIES[large.labels[0] - 1]["id"]


@pytest.mark.parametrize("kind", ["fasterrcnn", "ssdlite"])
def test_other_detectors_train_and_load_too(kind: Any, data: dict[str, str], tmp_path: Path) -> None:
    options = dataclasses.replace(_options(data, tmp_path / "run"), detector=kind, epochs=1, val_split="")
    options.detector_args = {"extra_channels": [32, 32]} if kind == "ssdlite" else {"out_channels": 16}
    detect_train.main(options)
    detector = detectors.load(tmp_path / "run" / "exported" / "run")
    assert detector.find([detector.prepare(Image.new("RGB", (70, 50)))], [(70, 50)])[0].boxes.shape[1] == 4


# The command line


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a command, run in this process."""
    capsys.readouterr()
    status = main(["detect", *arguments])
    return status, *capsys.readouterr()


def test_eval_gives_the_figures_of_the_run(
    whole: Options, data: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(Path(whole.out) / "exported" / "run")
    where = ["--images", data["images"], "--annotations", data["annotations"], "--split", "val"]
    found = tmp_path / "found.json"
    status, out, _ = run(capsys, "eval", model, *where, "--json", "--detections", str(found))
    report = json.loads(out)
    assert status == 0 and report["images"] == 8
    assert report["AP"] == pytest.approx(float(metrics(whole.out)[-1]["val_AP"]), rel=1e-4)
    rows = json.loads(found.read_text())
    assert len(rows) == report["detections"] > 0
    assert {row["category_id"] for row in rows} <= {3, 7} and {row["image_id"] for row in rows} <= set(
        range(80, 160, 10)
    )
    status, out, _ = run(capsys, "eval", whole.out, *where)  # a run stands for what it exported
    assert status == 0 and "AP50" in out and "disc" in out


def test_predict_draws_on_copies_and_prints_boxes(
    whole: Options, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    (photos / "sub").mkdir(parents=True)
    Image.new("L", (300, 200), 128).save(photos / "grey.png")
    Image.new("CMYK", (100, 150)).save(photos / "sub" / "print.jpg")
    model = ["--model", str(Path(whole.out) / "exported" / "run"), "--threshold", "0"]
    status, out, _ = run(capsys, "predict", str(photos), *model, "--out", str(tmp_path / "found"), "--json")
    assert status == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["image"] for row in rows] == [str(photos / "grey.png"), str(photos / "sub" / "print.jpg")]
    for x, y, width, height in (thing["bbox"] for thing in rows[0]["objects"]):
        assert 0 <= x <= x + width <= 300.01 and 0 <= y <= y + height <= 200.01
    assert rows[0]["objects"] and {thing["category"] for thing in rows[0]["objects"]} <= {"disc", "square"}
    drawn = np.asarray(Image.open(tmp_path / "found" / "grey.jpg").convert("RGB"), dtype=int)
    assert drawn.shape == (200, 300, 3) and (np.ptp(drawn, axis=2) > 50).any(), "coloured boxes on a grey image"
    assert Image.open(tmp_path / "found" / "sub" / "print.jpg").size == (100, 150)
    status, out, _ = run(capsys, "predict", str(photos / "grey.png"), *model[:2], "--threshold", "0.99", "--out", "")
    assert (status, out) == (0, f"{photos / 'grey.png'}: nothing\n")


def test_at_most_thirty_boxes_are_drawn_in_the_colours_of_their_classes() -> None:
    places = [(10 + 60 * (i % 7), 40 + 60 * (i // 7)) for i in range(42)]
    boxes = torch.tensor([(x, y, x + 40, y + 30) for x, y in places], dtype=torch.float32)
    labels = torch.tensor([1 + i % 2 for i in range(42)])
    found = Found(boxes, labels, torch.linspace(0.9, 0.5, 42))
    drawn = draw(Image.new("RGB", (430, 430), "grey"), found, ["a"] * 42)
    colours = ["#{:02x}{:02x}{:02x}".format(*drawn.getpixel((x + 40, y + 30))) for x, y in places]
    assert colours == [label_colour(1 + i % 2) for i in range(30)] + ["#808080"] * 12
    assert draw(drawn, Found(boxes[:0], labels[:0], boxes[:0, 0]), []).tobytes() == drawn.tobytes()


def test_predict_goes_on_after_a_bad_image_and_never_overwrites_one(
    whole: Options, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (60, 60)).save("good.jpg")
    Path("bad.jpg").write_bytes(b"nothing")
    model = ["--model", str(Path(whole.out) / "exported" / "run")]
    status, out, err = run(capsys, "predict", "bad.jpg", "good.jpg", *model)
    assert status == 2 and out.startswith("good.jpg: ") and err.count("\n") == 2 and "1 of 2" in err
    before = Path("good.jpg").read_bytes()
    status, _, err = run(capsys, "predict", "good.jpg", *model, "--out", ".")
    assert status == 2 and "would overwrite" in err and Path("good.jpg").read_bytes() == before
    for name in ("a/good.jpg", "b/good.jpg"):
        Path(name).parent.mkdir()
        shutil.copy("good.jpg", name)
    status, out, _ = run(capsys, "predict", "good.jpg", "a/good.jpg", "b/good.jpg", *model, "--out", "")
    assert status == 0 and out.count("good.jpg: ") == 3, "no copies, so none that would overwrite another"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch"], "scarlet-models detect: no command 'nosuch'"),
        (["train"], "give --images, a folder or tar, and --annotations"),
        (["train", "--images", "x", "--annotations", "nowhere.json"], "nowhere.json: No such file"),
        (["train", "--detector", "yolo"], "--detector: 'yolo' is not one of retinanet, fasterrcnn, ssdlite"),
        (
            ["train", "DATA", "--image-size", "[90, 60]"],
            "--image-size [90, 60]: the shorter side must be",
        ),
        (["train", "DATA", "--detector-args", "{nosuch: 1}"], "RetinaNet has no argument 'nosuch'"),
        (["train", "DATA", "--detector-args", "{weights_backbone: true}"], "give --pretrained or --no-pretrained"),
        (["train", "DATA", "--detector-args", "{fg_iou_thresh: []}"], "retinanet cannot be built"),
        (["train", "DATA", "--model", "scarlet_x"], "no network 'scarlet_x'"),
        (["train", "DATA", "--batch-size", "99"], "nothing to train"),
        (["train", "DATA", "--split", "nosuch"], "has no split 'nosuch'"),
        (["eval"], "MODEL is missing"),
        (["eval", "nowhere"], "nowhere is not a trained detector"),
        (["eval", "nowhere", "--workers", "-1"], "--workers: -1 is below 0"),
        (["predict", "x.jpg"], "--model is missing"),
        (["predict", "x.jpg", "--model", "nowhere", "--threads", "-1"], "--threads: -1 is below 0"),
        (["predict", "x.jpg", "--model", "nowhere"], "nowhere is not a trained detector"),
        (["predict", "x.tar", "--model", "RUN"], "x.tar is an archive: unpack it, and give the folder"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    arguments: list[str],
    message: str,
    data: dict[str, str],
    whole: Options,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [whole.out if argument == "RUN" else argument for argument in arguments]
    where = ["--images", data["images"], "--annotations", data["annotations"], "--no-pretrained", "--batch-size", "4"]
    filled = [part for argument in arguments for part in (where if argument == "DATA" else [argument])]
    status, out, err = run(capsys, *filled)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert message in err
    assert not Path("runs").exists(), "a run that could not start left a folder"


def test_a_detector_refuses_other_categories(
    whole: Options, data: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(Path(data["annotations"]).read_text())
    content["categories"][0]["name"] = "coin"
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    where = ["--images", data["images"], "--annotations", str(tmp_path / "boxes.json")]
    status, _, err = run(capsys, "eval", str(Path(whole.out) / "exported" / "run"), *where)
    assert status == 2 and "other categories than the detector" in err and "coin" in err


@pytest.mark.parametrize("command", PROGRAM.commands)
def test_help_explains_every_option_and_gives_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["detect", command, "--help"])
    text = capsys.readouterr().out
    assert leaving.value.code == 0 and f"detect {command}" in text.split("example")[1]
    for field in dataclasses.fields(PROGRAM.load(command).Options):
        assert field.name.replace("_", "-") in text.lower().replace("_", "-")


@pytest.mark.parametrize("recipe", ["bccd_cpu", "retinanet_coco_1x"])
def test_a_recipe_sets_options_that_the_command_line_overrides(recipe: str) -> None:
    content = yaml.safe_load((PROGRAM.recipes[0] / f"{recipe}.yaml").read_text())
    options = PROGRAM.parse("train", detect_train, ["--config", recipe, "--lr", "0.123"])
    assert plain(dataclasses.asdict(options)) == plain(dataclasses.asdict(Options(**{**content, "lr": 0.123})))
