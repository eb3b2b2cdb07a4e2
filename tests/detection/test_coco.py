"""COCO's format: what is read, what is refused in one line, and that figures are those of COCO's own tools."""

from __future__ import annotations

import copy
import json
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scarlet_models.detection.coco import CocoImages
from scarlet_models.detection.data import FIGURES, average_precision
from scarlet_models.errors import UserError

WIDTH, HEIGHT = 40, 30


def _box(number: int, image: int, category: int, box: list[float], **more: Any) -> dict[str, Any]:
    return {"id": number, "image_id": image, "category_id": category, "bbox": box, "area": box[2] * box[3]} | more


@pytest.fixture
def content() -> dict[str, Any]:
    """Two images with boxes, a crowd among them, and one without; category ids have gaps and are not in order."""
    names = ("b.png", "a.png", "empty.png")
    return {
        "images": [
            {"id": i, "file_name": n, "width": WIDTH, "height": HEIGHT} for i, n in zip((5, 2, 9), names, strict=True)
        ],
        "annotations": [
            _box(0, 5, 90, [1, 2, 10, 8], iscrowd=0),
            _box(1, 5, 7, [4, 4, 20, 20], iscrowd=0),
            _box(2, 2, 7, [0, 0, 30, 20], iscrowd=1),
        ],
        "categories": [{"id": 90, "name": "cell"}, {"id": 7, "name": "plate"}],
        "splits": {"train": ["a.png", "b.png"], "test": ["empty.png"]},
    }


@pytest.fixture
def opened(tmp_path: Path, content: dict[str, Any]) -> Callable[..., CocoImages]:
    """Opens the images with what the content is by then."""
    (tmp_path / "deep").mkdir()
    for number, image in enumerate(content["images"]):
        Image.new("RGB", (WIDTH, HEIGHT), (number, 0, 0)).save(tmp_path / "deep" / image["file_name"])

    def open_them(split: str = "", images: Path = tmp_path) -> CocoImages:
        (tmp_path / "boxes.json").write_text(json.dumps(content))
        return CocoImages(str(images), str(tmp_path / "boxes.json"), split)

    return open_them


def test_labels_count_from_one_in_the_order_of_ids_and_crowds_are_not_trained_on(
    opened: Callable[..., CocoImages],
) -> None:
    images = opened()
    assert [record["id"] for record in images.records] == [2, 5, 9]
    assert [category["name"] for category in images.categories] == ["plate", "cell"]
    boxes, labels = images.boxes(1)
    assert boxes.tolist() == [[1, 2, 11, 10], [4, 4, 24, 24]] and labels.tolist() == [2, 1]
    for index in (0, 2):  # a crowd only, and nothing
        boxes, labels = images.boxes(index)
        assert boxes.shape == (0, 4) and labels.shape == (0,)
    ground_truth = images.ground_truth()
    assert [(box["image_id"], box["iscrowd"]) for box in ground_truth["annotations"]] == [(2, 1), (5, 0), (5, 0)]
    assert min(box["id"] for box in ground_truth["annotations"]) == 1


def test_a_split_is_a_list_of_file_names(opened: Callable[..., CocoImages]) -> None:
    assert [record["file_name"] for record in opened("train").records] == ["a.png", "b.png"]
    assert [record["file_name"] for record in opened("test").records] == ["empty.png"]


def test_a_tar_is_read_as_a_folder_is(opened: Callable[..., CocoImages], tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "images.tar", "w") as archive:
        archive.add(tmp_path / "deep", "some/where")
    folder, tar = opened(), opened(images=tmp_path / "images.tar")
    for index in range(len(folder)):
        assert folder.image(index).tobytes() == tar.image(index).tobytes()
    assert folder.digest(0) == tar.digest(0)


def test_boxes_without_extent_are_left_out_of_training_with_a_warning(
    opened: Callable[..., CocoImages], content: dict[str, Any]
) -> None:
    content["annotations"] += [_box(3, 5, 7, [3, 3, 0, 9]), _box(4, 5, 7, [3, 3, 4, -1])]
    with pytest.warns(UserWarning, match="2 boxes without extent"):
        images = opened()
    assert len(images.boxes(1)[0]) == 2
    assert len(images.ground_truth()["annotations"]) == 5


def _first(content: dict[str, Any], key: str, **changes: Any) -> None:
    content[key][0].update(changes)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c.pop("annotations"), "has no list 'annotations'"),
        (lambda c: c.pop("categories"), "has no list 'categories'"),
        (lambda c: c["categories"].clear(), "there are no categories"),
        (lambda c: c["images"].clear(), "there are no images"),
        (lambda c: c["images"][0].pop("width"), "entry 0 of 'images' has no 'width'"),
        (lambda c: _first(c, "images", id=2), "two images have one id"),
        (lambda c: _first(c, "categories", id=7), "two categories have one id"),
        (lambda c: _first(c, "images", file_name="gone.png"), "1 of 3 images are not in"),
        (lambda c: _first(c, "annotations", image_id=77), "annotation 0 is of image 77"),
        (lambda c: _first(c, "annotations", category_id=1), "annotation 0 is of category 1"),
        (lambda c: _first(c, "annotations", bbox=[1, 2, 3]), "the box of annotation 0 is [1, 2, 3]"),
        (lambda c: _first(c, "annotations", bbox=[1, 2, 3, float("nan")]), "NaN is not a finite number"),
        (lambda c: _first(c, "annotations", bbox="1 2 3 4"), "entry 0 of 'annotations' has no 'bbox'"),
        (lambda c: c["splits"].pop("test"), "has no split 'test'; it has train"),
        (lambda c: c.pop("splits"), "has no split 'test'; it has no splits: give --split '' for all its images"),
        (lambda c: c.update(splits=True), "has no split 'test'; it has no splits: give --split '' for all its images"),
        (lambda c: c["splits"]["test"].append("x.png"), "1 images of split test have no entry, x.png"),
    ],
)
def test_what_is_not_cocos_format_is_refused_in_one_line(
    spoil: Callable[[dict[str, Any]], Any], message: str, opened: Callable[..., CocoImages], content: dict[str, Any]
) -> None:
    spoil(content)
    with pytest.raises(UserError) as caught:
        opened("test" if "split" in message else "")
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_are_none_are_refused_in_one_line(opened: Callable[..., CocoImages], tmp_path: Path) -> None:
    (tmp_path / "deep" / "more").mkdir()
    opened()
    with tarfile.open(tmp_path / "small.tgz", "w:gz") as archive:
        archive.add(tmp_path / "deep")
    for images in ("nowhere", "small.tgz", "boxes.json"):
        with pytest.raises(UserError, match="neither a folder nor an uncompressed tar"):
            opened(images=tmp_path / images)
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "deep" / "more" / "a.png")
    with pytest.raises(UserError, match="1 of 3 images are more than once in"):
        opened()
    for text, wrong in (("[]", "holds a list"), ("{", "not valid JSON"), ("\xff", "not UTF-8")):
        (tmp_path / "other.json").write_text(text, "latin-1")
        with pytest.raises(UserError, match=rf"other\.json:.* {wrong}"):
            CocoImages(str(tmp_path), str(tmp_path / "other.json"))


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "RGBA", "I;16"])
def test_images_of_other_kinds_are_rgb(mode: str, opened: Callable[..., CocoImages], tmp_path: Path) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    Image.new(mode, (WIDTH, HEIGHT)).save(tmp_path / "deep" / "a.png", kind)
    assert opened().image(0).mode == "RGB"


def test_a_image_is_turned_as_its_exif_says_unless_only_the_stored_one_fits(
    opened: Callable[..., CocoImages], tmp_path: Path, content: dict[str, Any]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held so that the stored image has to be turned by a quarter
    half = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    half[: HEIGHT // 2] = 255  # above; a quarter turn to the right puts it at the right
    Image.fromarray(half).save(tmp_path / "deep" / "a.png", exif=exif)
    assert np.asarray(opened().image(0))[0, 0, 0] == 255
    content["images"][1].update(width=HEIGHT, height=WIDTH)
    turned = np.asarray(opened().image(0))
    assert turned.shape == (WIDTH, HEIGHT, 3) and turned[0, 0, 0] == 0 and turned[0, -1, 0] == 255
    content["images"][1].update(width=33, height=33)
    with pytest.raises(UserError, match=r"a\.png is 40 x 30, .* says 33 x 33"):
        opened().image(0)
    (tmp_path / "deep" / "a.png").write_bytes(b"no image")
    images = opened()
    with pytest.raises(UserError, match=r"a\.png: not an image"):
        images.image(0)
    (tmp_path / "deep" / "a.png").unlink()
    with pytest.raises(UserError, match=r"a\.png: No such file or directory"):
        images.image(0)


# Average precision


def _as_detections(ground_truth: dict[str, Any]) -> list[dict[str, Any]]:
    keys = ("image_id", "category_id", "bbox")
    return [{k: box[k] for k in keys} | {"score": 1.0} for box in ground_truth["annotations"] if not box["iscrowd"]]


def _random_detections(ground_truth: dict[str, Any], seed: int) -> list[dict[str, Any]]:
    """Boxes moved and resized, some of another category, some nowhere, some twice, with scores that have ties."""
    draw = random.Random(seed)
    rows = []
    for box in ground_truth["annotations"]:
        for _ in range(draw.choice([0, 1, 1, 2])):
            x, y, w, h = box["bbox"]
            moved = [x + draw.gauss(0, w / 8), y + draw.gauss(0, h / 8), w * draw.uniform(0.7, 1.3), h]
            other = draw.choice(ground_truth["categories"])["id"] if draw.random() < 0.2 else box["category_id"]
            score = round(draw.random(), 1)
            rows.append({"image_id": box["image_id"], "category_id": other, "bbox": moved, "score": score})
    return rows


def _sets(shared: Path) -> list[CocoImages]:
    data = shared / "data"
    coco, bccd = data / "coco128", data / "bccd"
    return [
        CocoImages(str(coco / "coco128_images_train2017.tar"), str(coco / "instances_train2017.json")),
        CocoImages(str(bccd / "bccd_images.tar"), str(bccd / "bccd_coco.json"), "test"),
    ]


def test_ground_truth_as_detections_has_ap_1_on_coco128_and_bccd(shared: Path) -> None:
    pytest.importorskip("faster_coco_eval")  # of the extra detection
    for images in _sets(shared):
        ground_truth = images.ground_truth()
        figures = average_precision(ground_truth, _as_detections(ground_truth))
        assert [figures[name] for name in FIGURES] == [1.0] * 6
        present = {box["category_id"] for box in ground_truth["annotations"] if not box["iscrowd"]}
        for category in ground_truth["categories"]:
            assert figures["AP50_of"][category["name"]] == (1.0 if category["id"] in present else None)


def test_figures_are_pycocotools_own(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("faster_coco_eval")  # of the extra detection
    coco = pytest.importorskip("pycocotools.coco")  # of no extra: what ours is compared with
    cocoeval = pytest.importorskip("pycocotools.cocoeval")  # likewise
    for images in _sets(shared):
        ground_truth = images.ground_truth()
        found = _random_detections(ground_truth, seed=1)
        mine = average_precision(ground_truth, found)
        reference = coco.COCO()
        reference.dataset = copy.deepcopy({**ground_truth, "info": {}})
        reference.createIndex()
        evaluation = cocoeval.COCOeval(reference, reference.loadRes(copy.deepcopy(found)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert 0.05 < mine["AP"] < 0.8, "a case with room for differences"
        assert [mine[name] for name in FIGURES] == pytest.approx(evaluation.stats[:6].tolist(), abs=1e-9)


def test_no_detections_are_ap_0_and_what_is_in_a_crowd_counts_neither_way(opened: Callable[..., CocoImages]) -> None:
    pytest.importorskip("faster_coco_eval")  # of the extra detection
    images = opened()
    ground_truth = images.ground_truth()
    nothing = average_precision(ground_truth, [])
    assert nothing["AP"] == 0.0 and nothing["AP_large"] is None
    right = _as_detections(ground_truth)
    inside = {"image_id": 2, "category_id": 7, "bbox": [2, 2, 5, 5], "score": 2.0}  # found with more confidence
    outside = {**inside, "image_id": 9}
    assert average_precision(ground_truth, [inside, *right])["AP"] == 1.0
    assert average_precision(ground_truth, [outside, *right])["AP"] < 1.0
