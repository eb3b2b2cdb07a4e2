"""Data sets of timm: what is read, under which names, and what is refused."""

from __future__ import annotations

import errno
import io
import os
import shutil
import struct
import subprocess
import tarfile
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.images import CLASSES, CONFIG, random_image
from PIL import ExifTags, Image
from timm.data import IterableImageDataset, create_dataset

from scarlet_models.errors import UserError
from scarlet_models.images import read_image
from scarlet_models.training.data import LabelledImages, check_test_split, listing
from scarlet_models.training.data import labelled as module
from scarlet_models.training.loading import Transformed, load_batches
from scarlet_models.training.options import DataOptions
from scarlet_models.training.split import split_holdout
from scarlet_models.training.transforms import eval_transform


def _tar(path: Path, members: Mapping[str, Path]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, source in members.items():
            tar.add(source, name)
    return path


def test_training_images_are_no_test_split(folder: Path, labelled: LabelledImages, tmp_path: Path) -> None:
    check_test_split(DataOptions(data_dir=str(folder)), labelled)  # the same names, in another folder
    with pytest.raises(UserError, match="holds 60 images of the training split train, ant/0"):
        check_test_split(DataOptions(data_dir=str(folder), test_split="train"), labelled)
    with pytest.raises(UserError, match="no folder nosuch, but class folders in train, val: name the split by --test-"):
        check_test_split(DataOptions(data_dir=str(folder), test_split="nosuch"), labelled)
    (tmp_path / "val" / "ant").mkdir(parents=True)
    random_image(0).save(tmp_path / "val/ant/0.png")
    with pytest.raises(UserError, match="has 1 classes, not those of training"):
        check_test_split(DataOptions(data_dir=str(tmp_path)), labelled)
    _tar(tmp_path / "all.tar", {"train": folder / "train"})
    whole = DataOptions(data_dir=str(tmp_path / "all.tar"))
    with pytest.raises(UserError, match="60 images of the training split"):
        check_test_split(whole, LabelledImages(whole, whole.train_split))


@pytest.mark.parametrize("where", ["relative", "absolute"])
def test_training_images_are_known_by_whatever_path(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.chdir(tmp_path)
    place = Path("data") if where == "relative" else tmp_path / "data"
    place.mkdir()
    (place / "train").symlink_to(folder / "train")
    (place / "test").symlink_to(folder / "train")
    _tar(place / "train.tar", {"train": folder / "train"})
    (place / "test.tar").symlink_to("train.tar")
    for train, test, count in (("train", "test", 60), ("train.tar", "test.tar", 60)):
        options = DataOptions(data_dir=str(place), train_split=train, test_split=test)
        with pytest.raises(UserError, match=f"holds {count} images of the training split"):
            check_test_split(options, LabelledImages(options, train))
    assert set(LabelledImages(options, "train").marks) == set(LabelledImages(options, "train.tar").marks)


# Splits that are not mixed


@pytest.mark.parametrize(
    ("train", "test", "listed"),
    [
        ("train/", "test/ant", "test, train"),
        ("data/train/", "data/val/ant", "data/train, data/val"),
        ("train/", "test", "., train"),  # images without labels
        ("", "test/ant", "., test"),
    ],
)
def test_a_tar_of_several_splits_is_refused(folder: Path, tmp_path: Path, train: str, test: str, listed: str) -> None:
    path = _tar(
        tmp_path / "all.tar", {train + name: folder / "train" / name for name in CLASSES} | {test: folder / "val/ant"}
    )
    for options in (DataOptions(data_dir=str(path)), DataOptions(data_dir=str(tmp_path), train_split="all.tar")):
        with pytest.raises(
            UserError, match=f"all.tar has class folders in {listed}, and a tar must be one split: unpack"
        ):
            LabelledImages(options, options.train_split)


@pytest.mark.parametrize("above", ["", "train/", "./train/", "imagenet/train/"])
def test_a_tar_of_one_split_may_have_folders_above_its_classes(folder: Path, tmp_path: Path, above: str) -> None:
    path = _tar(tmp_path / "one.tar", {above + name: folder / "train" / name for name in CLASSES})
    assert len(LabelledImages(DataOptions(data_dir=str(path)), "train")) == 60


def test_a_folder_that_lacks_the_split_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("e").mkdir()
    Path("e/test").symlink_to(folder / "val")
    for place in ("e", str(tmp_path / "e")):
        with pytest.raises(
            UserError, match=r"e has no folder train, but class folders in test: name .* --train-split$"
        ):
            LabelledImages(DataOptions(data_dir=place), "train")
    Path("e/images_tr").symlink_to(folder / "train")
    with pytest.raises(UserError, match="no folder train, but class folders in images_tr, test: "):
        LabelledImages(DataOptions(data_dir="e"), "train")
    with pytest.raises(UserError, match=r"name the split by --test-split, or do without \(--no-final\)$"):
        LabelledImages(DataOptions(data_dir="e"), "validation")
    assert len(LabelledImages(DataOptions(data_dir="e", train_split="images_tr"), "images_tr")) == 60
    assert len(LabelledImages(DataOptions(data_dir=str(folder / "train")), "train")) == 60, (
        "class folders without splits"
    )
    assert len(LabelledImages(DataOptions(data_dir=str(folder)), "training")) == 60, "timm knows synonyms"


# Data sets


def test_a_folder_gives_relative_ids_labels_and_class_names(folder: Path, labelled: LabelledImages) -> None:
    assert labelled.classes == list(CLASSES)
    assert Counter(labelled.labels.tolist()) == {0: 10, 1: 20, 2: 30}
    assert sorted(labelled.ids) == sorted(f"{p.parent.name}/{p.name}" for p in (folder / "train").glob("*/*"))
    image, label = labelled[0]
    assert image.mode == "RGB" and CLASSES[label] == labelled.ids[0].split("/")[0]
    assert len(LabelledImages(DataOptions(data_dir=str(folder)), "validation")) == 6


def test_the_split_is_the_same_wherever_the_folder_lies(folder: Path, labelled: LabelledImages, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").symlink_to(folder)
    moved = LabelledImages(DataOptions(data_dir=str(tmp_path / "elsewhere")), "train")
    hashes = {split_holdout(p.ids, p.labels, 0.1, 0).hash for p in (labelled, moved)}
    assert len(hashes) == 1


def test_a_split_may_be_a_tar_of_its_name(folder: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        _tar(tmp_path / f"{split}.tar", {name: folder / split / name for name in CLASSES})
    options = DataOptions(data_dir=str(tmp_path))
    assert LabelledImages(options, "train").ids == LabelledImages(DataOptions(data_dir=str(folder)), "train").ids
    assert LabelledImages(options, "validation").where.endswith("split validation")


def test_a_tar_reads_as_the_folder_it_was_made_of(folder: Path, labelled: LabelledImages, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "train.tar", "w") as tar:
        for name in CLASSES:
            tar.add(folder / "train" / name, name)
    from_tar = LabelledImages(DataOptions(data_dir=str(tmp_path / "train.tar")), "train")
    assert (from_tar.ids, from_tar.classes) == (labelled.ids, labelled.classes)
    assert from_tar.labels.tolist() == labelled.labels.tolist()
    assert from_tar[7][0].tobytes() == labelled[7][0].tobytes()


def test_torchvision_data_sets_have_numbers_for_ids_and_become_rgb(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for split, count in (("train", 20), ("t10k", 10)):
        pixels = np.random.default_rng(0).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        (raw / f"{split}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, count, 28, 28) + pixels.tobytes())
        labels = np.arange(count, dtype=np.uint8) % 10
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, count) + labels.tobytes())
    options = DataOptions(dataset="torch/mnist", data_dir=str(tmp_path))
    train, test = LabelledImages(options, "train"), LabelledImages(options, "validation")
    assert (len(train), len(test), len(train.classes)) == (20, 10, 10)
    assert train.ids[3] == "00000003" and train[3][1] == 3
    assert train[3][0].mode == "RGB"


class _AbsoluteNames(list[tuple[Image.Image, int]]):
    """What timm's reader of a Hugging Face folder offers: a whole path for a name."""

    def filenames(self) -> list[str]:
        return [f"/home/me/data/train/class_{label}/{i}.jpg" for i, (_, label) in enumerate(self)]


def test_whole_paths_are_cut_to_what_does_not_depend_on_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    source = _AbsoluteNames((random_image(i), i % 3) for i in range(9))
    monkeypatch.setattr(module, "create_dataset", lambda *_, **__: source)
    images = LabelledImages(DataOptions(dataset="hfds/folder"), "train")
    assert images.ids[:4] == ["class_0/0.jpg", "class_1/1.jpg", "class_2/2.jpg", "class_0/3.jpg"]
    assert images.labels.tolist() == [0, 1, 2] * 3


class _Named(list[tuple[Image.Image, int]]):
    """What a data set of torchvision offers."""

    def __init__(self, targets: Any, index: dict[str, int] | None = None) -> None:
        super().__init__((random_image(i), 0) for i in range(len(targets)))
        self.targets, self.class_to_idx = targets, index or {}


@pytest.mark.parametrize(
    ("targets", "index", "classes"),
    [
        ([0, 1, 1], {"tench": 0, "Tinca tinca": 0, "goldfish": 1, "carp": 1}, ["tench", "goldfish"]),
        ([1, 2, 1], {}, ["0", "1", "2"]),
        ([0, 0, 0], {"cat": 0, "dog": 2}, ["cat", "1", "dog"]),
    ],
)
def test_a_class_has_one_name(
    targets: list[int], index: dict[str, int], classes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "create_dataset", lambda *_, **__: _Named(targets, index))
    images = LabelledImages(DataOptions(dataset="torch/any", data_dir="."), "train")
    assert (images.classes, images.labels.tolist(), images.labels.dtype) == (classes, targets, np.int64)


class _NoLabels(list[tuple[Image.Image, int]]):
    def iter_targets(self) -> Iterator[int]:
        raise KeyError("label")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (_Named(np.zeros((3, 8), dtype=np.int64)), r"not int64 of shape \(3, 8\)"),
        (_Named(["cat", "dog", "cat"]), r"not <U3 of shape \(3,\)"),
        (_Named([0.5, 1.0]), "not float64"),
        (_Named([-1, -1]), "one class index from 0 an image"),
        (_Named([[0], [1, 2]]), "cannot read the labels: setting an array element"),
        (_NoLabels(), "cannot read the labels: KeyError: 'label'"),
    ],
)
def test_labels_that_are_no_class_indices_are_one_line(
    source: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "create_dataset", lambda *_, **__: source)
    with pytest.raises(UserError, match=f"^torch/any, split train: .*{message}"):
        LabelledImages(DataOptions(dataset="torch/any", data_dir="."), "train")


class _StreamReader:
    """What timm's streaming readers offer: no index, only iteration."""

    def __iter__(self) -> Iterator[tuple[Image.Image, int]]:
        return ((random_image(i), i % 3) for i in range(9))

    def __len__(self) -> int:
        return 9


def test_a_stream_is_indexed_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = IterableImageDataset("nowhere", reader=_StreamReader())
    monkeypatch.setattr(module, "create_dataset", lambda *_, **__: stream)
    options = DataOptions(dataset="wds/images", data_dir=".")
    images = LabelledImages(options, "train")
    assert images.labels.tolist() == [0, 1, 2] * 3
    assert images[4][0].tobytes() == random_image(4).tobytes()
    with monkeypatch.context() as patch, pytest.raises(UserError, match="too large to keep in memory"):
        patch.setattr(module, "_STREAM_LIMIT", 10_000)
        LabelledImages(options, "train")
    with monkeypatch.context() as patch, pytest.raises(UserError, match="torchrun cannot share out"):
        patch.setenv("WORLD_SIZE", "2")
        LabelledImages(options, "train")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (DataOptions(), r"--data-dir \(empty\) does not exist"),
        (DataOptions(data_dir="nowhere"), "--data-dir nowhere does not exist"),
        (
            DataOptions(data_dir="."),
            r"^\.: no images found \(extensions tried: \.bmp .*\); give a tar: --train-split bad\.tar$",
        ),
        (DataOptions(dataset="torch/nosuch", data_dir="."), "Unknown torchvision dataset nosuch"),
        (DataOptions(dataset="torch/cifar10"), "--data-dir is missing: the folder where torch/cifar10 lies"),
        (DataOptions(data_dir="bad.tar"), "cannot read split 'train' of bad.tar: "),
    ],
)
def test_data_that_cannot_be_read_is_one_line(
    options: DataOptions, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(UserError, match=message) as caught:
        LabelledImages(options, "train")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["nosuch", "nosuch/x"])
def test_a_name_that_timm_does_not_know_is_not_taken_for_the_folder(folder: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"timm knows no --dataset {name}; leave it out to read the folder"):
        LabelledImages(DataOptions(dataset=name, data_dir=str(folder)), "train")


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_in_a_tar_that_cannot_be_read_is_named(
    folder: Path, tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torn.png").write_bytes((folder / "val/ant/0.png").read_bytes()[:-400])
    path = _tar(tmp_path / "one.tar", {"ant/0.png": folder / "val/ant/0.png", "ant/1.png": tmp_path / "torn.png"})
    with pytest.raises(UserError, match=r"one\.tar, split train: 1 of 2 images .*: ant/1\.png \(damaged: "):
        LabelledImages(DataOptions(data_dir=str(path)), "train")
    monkeypatch.setattr(module, "MOST_CHECKED", 1)
    dataset = Transformed(LabelledImages(DataOptions(data_dir=str(path)), "train"), eval_transform(24, CONFIG))
    with pytest.raises(UserError, match=r"^cannot read image .*/one\.tar/ant/1\.png: [^\n]*; mend or remove it$"):
        list(load_batches(dataset, [[0], [1]], workers))


def test_images_are_those_that_timm_decodes(folder: Path, labelled: LabelledImages) -> None:
    timms = create_dataset("", root=str(folder), split="train")
    assert labelled.ids == timms.filenames()
    for index in (0, 30, 59):
        assert labelled[index][0].tobytes() == timms[index][0].tobytes()
        assert labelled[index][1] == timms[index][1]


def test_imagenette_reads_from_its_tars(shared: Path) -> None:
    options = DataOptions(
        data_dir=str(shared / "data" / "imagenette224"),
        train_split="imagenette_train_subset.tar",
        test_split="imagenette_val_subset.tar",
    )
    train, test = LabelledImages(options, options.train_split), LabelledImages(options, options.test_split)
    assert (len(train), len(test), len(train.classes)) == (3000, 1000, 10)
    assert train.classes == test.classes
    split = split_holdout(train.ids, train.labels, 0.1, 0)
    assert set(Counter(train.labels[split.holdout].tolist())) == set(range(10))


def test_greyscale_and_transparent_images_become_rgb(tmp_path: Path) -> None:
    for mode in ("L", "RGBA", "P", "CMYK"):
        (tmp_path / "train" / mode).mkdir(parents=True)
        target = io.BytesIO()
        random_image(0).convert(mode).save(target, "TIFF")
        (tmp_path / "train" / mode / "a.png").write_bytes(target.getvalue())
    images = LabelledImages(DataOptions(data_dir=str(tmp_path)), "train")
    assert {images[i][0].mode for i in range(4)} == {"RGB"}


def test_names_that_natural_order_takes_for_equal_have_one_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under torchrun each rank lists by itself, and sets of texts have another order in each process."""
    folders = ["A", "a", "1", "01", "001", "b2", "B2", "b02"]
    found = [(Path(folder, f"{number}.png"), (0, 0, 0, 0)) for folder in folders for number in ("1", "01")]
    orders = []
    for order in (found, found[::-1]):
        monkeypatch.setattr(listing, "files_in", lambda _, order=order: order)
        images = listing.list_images(str(tmp_path), "train", "")
        orders.append((images.names, images.labels()[1]))
    assert orders[0] == orders[1]
    assert orders[0][1] == ["001", "01", "1", "A", "a", "B2", "b02", "b2"]


# Images as they are


def _tree(root: Path, names: str) -> Path:
    """A folder with an image at each of the names."""
    for number, name in enumerate(names.split()):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        random_image(number, 8).save(root / name)
    return root


def _open(root: Path, **options: Any) -> LabelledImages:
    return LabelledImages(DataOptions(data_dir=str(root), **options), "train")


def test_every_format_is_read_and_other_files_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    _tree(tmp_path, "train/a/0.webp train/a/1.gif train/b/2.tiff train/b/3.BMP train/b/.4.png")
    for name in ("a/notes.txt", "b/more.txt", "b/README"):
        (tmp_path / "train" / name).write_text("no image")
    images = _open(tmp_path)
    assert images.ids == ["a/0.webp", "a/1.gif", "b/2.tiff", "b/3.BMP"]
    assert images[3][0].tobytes() == random_image(3, 8).tobytes()
    assert "4 images, 2 classes, 4 files ignored (.txt, .png, README)" in caplog.text


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_images_are_turned_as_their_exif_says(tmp_path: Path, suffix: str) -> None:
    """As `classify` turns them; and the size that is known of all without decoding is that of the turned ones."""
    (tmp_path / "train/a").mkdir(parents=True)
    pixels = np.zeros((16, 24, 3), dtype=np.uint8)
    pixels[:8, :12] = 255
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        path = tmp_path / f"train/a/{orientation}.{suffix}"
        stored = pixels.transpose(1, 0, 2) if orientation > 4 else pixels
        Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    images = _open(tmp_path)
    assert images.size == (24, 16) and images.decoded is not None
    corners = {2: (1, 0), 3: (1, 1), 4: (0, 1), 5: (0, 0), 6: (1, 0), 7: (1, 1), 8: (0, 1)}
    for index in range(8):
        turned = images[index][0]
        assert turned.tobytes() == read_image(tmp_path / "train" / images.ids[index]).tobytes()
        assert np.array_equal(images.decoded.take([index])[0], np.asarray(turned))
        column, row = corners.get(index + 1, (0, 0))
        assert np.asarray(turned)[4 + 8 * row, 6 + 12 * column].min() > 200, "the corner that is white"


def test_a_damaged_exif_turns_nothing(tmp_path: Path) -> None:
    root = _tree(tmp_path, "train/a/0.png")
    for number, exif in enumerate((b"Exif\0\0nonsense", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01", b"Exif\0\0II*\0")):
        random_image(1, 8).save(root / f"train/a/{number}.jpg", exif=exif)
    assert [image.size for image, _ in _open(root)] == [(8, 8)] * 4
    partly = Image.Exif()
    partly[ExifTags.Base.Orientation], partly[ExifTags.Base.XResolution] = 6, 1.5
    wrong = partly.tobytes().replace(b"\x01\x1a\x00\x05", b"\x01\x1a\x00\x02")  # a resolution that is text
    random_image(2, 8).crop((0, 0, 8, 4)).save(root / "train/a/partly.jpg", exif=wrong)
    assert _open(root)[4][0].size == (4, 8)


@pytest.mark.parametrize(
    ("images", "others", "message"),
    [
        (
            "a/0.png b/0.png",
            "c/0.heic c/README",
            r"folder c has no image, .*; convert files such as 0\.heic",
        ),
        ("a/b/0.png a/c/0.png", "a/d/e.npy", r"folder a/d has no image, .* such as e\.npy .*move the folder away$"),
        (
            "dogs/other/0.png cats/other/1.png",
            "",
            "folders cats/other and dogs/other would be one class, other",
        ),
    ],
)
def test_no_class_goes_unseen(tmp_path: Path, images: str, others: str, message: str) -> None:
    _tree(tmp_path / "train", images)
    for name in others.split():
        (tmp_path / "train" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "train" / name).write_text("x")
    with pytest.raises(UserError, match=f"^{tmp_path}/train: .*{message}"):
        _open(tmp_path)


def test_a_folder_of_documents_beside_the_classes_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _tree(tmp_path, "a/0.png b/1.png")
    for name in ("notes/README", "notes/.DS_Store", "b/x.npy", "a/masks/0.npy", "labels.xyz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert _open(tmp_path).classes == ["a", "b"]
    (warning,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert warning == f"{tmp_path}: folders without images are no classes: notes"


def test_a_split_that_the_system_refuses_to_look_for_is_one_line(tmp_path: Path) -> None:
    """As where the folder may be read but not entered."""
    with pytest.raises(UserError, match=r"cannot read split 'x+' of .*name too long"):
        LabelledImages(DataOptions(data_dir=str(tmp_path), train_split="x" * 300), "x" * 300)


def test_without_a_run_large_data_goes_into_the_systems_folder_for_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _open(_tree(tmp_path, "train/a/0.png"))._folder == Path(tempfile.gettempdir())


def test_images_outside_of_class_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train: image 0.png lies in no class folder; make a folder for each class$"):
        _open(_tree(tmp_path, "train/0.png train/1.png"))


def test_tars_beside_the_folder_are_named(folder: Path, tmp_path: Path) -> None:
    _tar(tmp_path / "first.tar", {"ant": folder / "val/ant"})
    with pytest.raises(UserError, match=r"no images found .*; give a tar: --train-split first\.tar$"):
        _open(tmp_path)


def test_tars_in_a_tar_stand_for_folders(folder: Path, tmp_path: Path) -> None:
    inner = [_tar(tmp_path / f"{name}.tar", {f"{name}.png": folder / f"train/{name}/3.png"}) for name in CLASSES]
    images = LabelledImages(DataOptions(data_dir=str(_tar(tmp_path / "all.tar", {p.name: p for p in inner}))), "train")
    assert images.ids == [f"{name}/{name}.png" for name in CLASSES] and images.classes == list(CLASSES)
    assert images[2][0].tobytes() == Image.open(folder / "train/cow/3.png").tobytes()


@pytest.mark.parametrize("name", [b"a/\xff.png", b"\xff/0.png"])
def test_a_name_that_is_not_utf8_is_named(tmp_path: Path, name: bytes) -> None:
    _tree(tmp_path, "train/a/0.png train/b/1.png")
    (tmp_path / "train/b/1.png").rename(tmp_path / "train/b/3.05\u202fPM.png")  # as of a screenshot
    assert len(_open(tmp_path)) == 2
    place = tmp_path / "train" / os.fsdecode(name)
    place.parent.mkdir(exist_ok=True)
    shutil.copy(tmp_path / "train/a/0.png", place)
    with pytest.raises(UserError, match=r"train: the name '\S*\\udcff\S*' is not UTF-8; rename it$"):
        _open(tmp_path)


def test_fifos_are_skipped_and_loops_of_links_end(tmp_path: Path) -> None:
    root = _tree(tmp_path, "train/a/0.png train/b/1.png elsewhere/2.png")
    os.mkfifo(root / "train/a/fifo.png")
    (root / "train/a/loop").symlink_to(root / "train")
    (root / "elsewhere/back").symlink_to(root / "train/b")
    (root / "train/b/there").symlink_to(root / "elsewhere")
    assert _open(root).ids == ["a/0.png", "b/1.png", "b/there/2.png"]


def test_what_pretends_to_be_an_image_is_named_and_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []
    monkeypatch.setattr(subprocess, "check_call", started.append)
    monkeypatch.setattr(subprocess, "Popen", started.append)
    root = _tree(tmp_path, "train/a/0.png train/b/1.png")
    (root / "train/a/eps.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(99))), (b"IEND", b"")]
    packed = (struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks)
    (root / "train/b/bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))
    with pytest.raises(UserError, match=r"a/eps\.png \(not an image, .*, b/bomb\.png \(too large: ") as caught:
        _open(root)
    assert "2 of 4 images cannot be read" in str(caught.value) and not started
    images = _open(root, skip_broken=True)
    assert images.ids == ["a/0.png", "b/1.png"] and images[1][0].tobytes() == random_image(1, 8).tobytes()


# What names the content


def test_images_are_read_once_until_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, read = _tree(tmp_path, "train/a/0.png train/a/1.png train/b/2.png"), list[str]()
    inspect = LabelledImages._inspect
    monkeypatch.setattr(LabelledImages, "_inspect", lambda self, i: (read.append(self.ids[i]), inspect(self, i))[1])
    first = _open(root)
    assert sorted(read) == first.ids
    assert _open(root, workers=0).fingerprint == first.fingerprint and len(read) == 3
    random_image(7, 8).save(root / "train/b/2.png")
    changed = _open(root)
    assert read[3:] == ["b/2.png"] and changed.marks[:2] == first.marks[:2] and changed.marks[2] != first.marks[2]
    assert changed.fingerprint != first.fingerprint and changed.ids == first.ids


def test_a_read_error_that_passes_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, read = _tree(tmp_path, "train/a/0.png train/a/1.png"), listing.Listing.read

    def fail(self: listing.Listing, index: int) -> bytes:
        if index == 1:
            raise OSError(errno.EMFILE, "Too many open files")
        return read(self, index)

    with monkeypatch.context() as patch, pytest.raises(UserError, match=r"a/1\.png \(Too many open files\)"):
        patch.setattr(listing.Listing, "read", fail)
        _open(root)
    assert _open(root).ids == ["a/0.png", "a/1.png"]


def test_the_fingerprint_does_not_depend_on_the_place(folder: Path, labelled: LabelledImages, tmp_path: Path) -> None:
    path = _tar(tmp_path / "one.tar", {name: folder / "train" / name for name in CLASSES})
    assert LabelledImages(DataOptions(data_dir=str(path)), "train").fingerprint == labelled.fingerprint


def test_of_many_images_names_and_sizes_are_known(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CHECKED", 10)
    monkeypatch.setattr(LabelledImages, "_inspect", None)
    images = _open(folder)
    assert images.marks[0] == str((folder / "train" / images.ids[0]).stat().st_size)
    with pytest.raises(UserError, match="60 images of the training split"):
        check_test_split(DataOptions(data_dir=str(folder), test_split="train"), images)


def test_a_copy_of_the_training_images_is_no_test_split(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = DataOptions(data_dir=str(tmp_path), test_split="test")
    shutil.copytree(folder / "train", tmp_path / "train")
    for path in (folder / "train").glob("*/*"):
        copy = tmp_path / "test" / path.parent.name / f"copy_of_{path.name}"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    train = LabelledImages(options, "train")
    with pytest.raises(UserError, match="--test-split test holds 60 images of the training split train, ant/copy_of_0"):
        check_test_split(options, train)
    for number, path in enumerate(sorted((tmp_path / "test").glob("*/*"))[1:]):
        random_image(5000 + number).save(path)
    for number in range(150):  # one image of 210 is there twice, as happens
        random_image(9000 + number).save(tmp_path / "test" / "ant" / f"new{number}.png")
    assert len(check_test_split(options, train)) == 210
    assert "holds 1 images of the training split train: ant/copy_of_0.png" in caplog.text
