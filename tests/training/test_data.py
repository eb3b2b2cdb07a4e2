"""Data sets of timm, the held-out split, and order and augmentation as pure functions of (seed, epoch, index)."""

from __future__ import annotations

import io
import random
import struct
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import IterableImageDataset, create_transform
from torchvision import transforms

from scarlet_models.errors import UserError
from scarlet_models.training import data
from scarlet_models.training.data import LabelledImages, check_test_split
from scarlet_models.training.loading import Transformed, epoch_batches, load_batches, shard
from scarlet_models.training.options import AugmentOptions, DataOptions
from scarlet_models.training.split import split_holdout
from scarlet_models.training.transforms import eval_transform, train_transform

CONFIG = {
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "interpolation": "bicubic",
    "crop_pct": 0.875,
    "crop_mode": "center",
}
GOLDEN_HOLDOUT = [5, 13, 21]
GOLDEN_HASH = "582dde562806a96555023a21e30596f7230936d89a65dc65f8dfe4210d8693f1"
CLASSES = ("ant", "bee", "cow")


def _image(seed: int, size: int = 32) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/ with 10, 20 and 30 images of three classes; val/ with 2 of each."""
    root = tmp_path_factory.mktemp("data")
    for split, counts in (("train", (10, 20, 30)), ("val", (2, 2, 2))):
        for label, (name, count) in enumerate(zip(CLASSES, counts, strict=True)):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                _image(1000 * label + i).save(root / split / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def images(folder: Path) -> LabelledImages:
    return LabelledImages(DataOptions(data_dir=str(folder)), "train")


def _tar(path: Path, members: Mapping[str, Path]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, source in members.items():
            tar.add(source, name)
    return path


def test_training_images_are_no_test_split(folder: Path, images: LabelledImages, tmp_path: Path) -> None:
    check_test_split(DataOptions(data_dir=str(folder)), images)  # the same names, in another folder
    with pytest.raises(UserError, match=r"--test-split train: .* 60 images of the training split train"):
        check_test_split(DataOptions(data_dir=str(folder), test_split="train"), images)
    with pytest.raises(UserError, match="no folder nosuch, but class folders in train, val: name the split by --test-"):
        check_test_split(DataOptions(data_dir=str(folder), test_split="nosuch"), images)
    (tmp_path / "val" / "ant").mkdir(parents=True)
    _image(0).save(tmp_path / "val/ant/0.png")
    with pytest.raises(UserError, match="has 1 classes, not those of training"):
        check_test_split(DataOptions(data_dir=str(tmp_path)), images)
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
    for train, test in (("train", "."), ("train", "test"), ("train.tar", "test.tar")):
        options = DataOptions(data_dir=str(place), train_split=train, test_split=test)
        with pytest.raises(UserError, match="60 images of the training split"):
            check_test_split(options, LabelledImages(options, train))
    assert not LabelledImages(options, "train").files() & LabelledImages(options, "train.tar").files()


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


# The split


def _names(count: int) -> list[str]:
    return [f"class_{i % 3}/{i:04d}.jpg" for i in range(count)]


def _labels(names: list[str]) -> list[int]:
    return [int(name[6]) for name in names]


@pytest.mark.parametrize("share", [0.0, 0.05, 0.1, 0.25, 0.5])
def test_the_split_is_stratified_disjoint_and_complete(share: float) -> None:
    names = _names(300)
    split = split_holdout(names, _labels(names), share, 0)
    assert sorted(split.train + split.holdout) == list(range(300))
    counts = Counter(_labels([names[i] for i in split.holdout]))
    assert counts == Counter({label: round(100 * share) for label in range(3) if share})


def test_the_split_depends_on_names_and_seed_alone() -> None:
    names = _names(300)
    split = split_holdout(names, _labels(names), 0.1, 0)
    shuffled = random.Random(1).sample(names, len(names))
    other = split_holdout(shuffled, _labels(shuffled), 0.1, 0)
    assert {shuffled[i] for i in other.holdout} == {names[i] for i in split.holdout}
    assert other.hash == split.hash
    assert split_holdout(names, _labels(names), 0.1, 1).hash != split.hash
    assert split_holdout(names, _labels(names), 0.2, 0).hash != split.hash


def test_the_split_never_changes_between_versions() -> None:
    """Checkpoints and evaluations on file name the split by this hash."""
    split = split_holdout(_names(30), _labels(_names(30)), 0.1, 0)
    assert split.holdout == GOLDEN_HOLDOUT
    assert split.hash == GOLDEN_HASH


def test_a_image_that_is_added_moves_few_others() -> None:
    names = _names(300)
    more = [*names, "class_0/9999.jpg"]
    before = {names[i] for i in split_holdout(names, _labels(names), 0.1, 0).holdout}
    after = {more[i] for i in split_holdout(more, _labels(more), 0.1, 0).holdout}
    assert len(before - after) <= 1


@pytest.mark.parametrize(("share", "message"), [(1.0, "below 1"), (-0.1, "below 1"), (0.001, "holds out none")])
def test_a_share_that_makes_no_sense_is_refused(share: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        split_holdout(_names(30), _labels(_names(30)), share, 0)


# Data sets


def test_a_folder_gives_relative_ids_labels_and_class_names(folder: Path, images: LabelledImages) -> None:
    assert images.classes == list(CLASSES)
    assert Counter(images.labels.tolist()) == {0: 10, 1: 20, 2: 30}
    assert sorted(images.ids) == sorted(f"{p.parent.name}/{p.name}" for p in (folder / "train").glob("*/*"))
    image, label = images[0]
    assert image.mode == "RGB" and CLASSES[label] == images.ids[0].split("/")[0]
    assert len(LabelledImages(DataOptions(data_dir=str(folder)), "validation")) == 6


def test_the_split_is_the_same_wherever_the_folder_lies(folder: Path, images: LabelledImages, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").symlink_to(folder)
    moved = LabelledImages(DataOptions(data_dir=str(tmp_path / "elsewhere")), "train")
    hashes = {split_holdout(p.ids, p.labels, 0.1, 0).hash for p in (images, moved)}
    assert len(hashes) == 1


def test_a_tar_reads_as_the_folder_it_was_made_of(folder: Path, images: LabelledImages, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "train.tar", "w") as tar:
        for name in CLASSES:
            tar.add(folder / "train" / name, name)
    from_tar = LabelledImages(DataOptions(data_dir=str(tmp_path / "train.tar")), "train")
    assert (from_tar.ids, from_tar.classes) == (images.ids, images.classes)
    assert from_tar.labels.tolist() == images.labels.tolist()
    assert from_tar[7][0].tobytes() == images[7][0].tobytes()


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
    source = _AbsoluteNames((_image(i), i % 3) for i in range(9))
    monkeypatch.setattr(data, "create_dataset", lambda *_, **__: source)
    images = LabelledImages(DataOptions(dataset="hfds/folder"), "train")
    assert images.ids[:4] == ["class_0/0.jpg", "class_1/1.jpg", "class_2/2.jpg", "class_0/3.jpg"]
    assert images.labels.tolist() == [0, 1, 2] * 3


class _StreamReader:
    """What timm's streaming readers offer: no index, only iteration."""

    def __iter__(self) -> Iterator[tuple[Image.Image, int]]:
        return ((_image(i), i % 3) for i in range(9))

    def __len__(self) -> int:
        return 9


def test_a_stream_is_indexed_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = IterableImageDataset("nowhere", reader=_StreamReader())
    monkeypatch.setattr(data, "create_dataset", lambda *_, **__: stream)
    options = DataOptions(dataset="wds/images", data_dir=".")
    images = LabelledImages(options, "train")
    assert images.labels.tolist() == [0, 1, 2] * 3
    assert images[4][0].tobytes() == _image(4).tobytes()
    with monkeypatch.context() as patch, pytest.raises(UserError, match="too large to keep in memory"):
        patch.setattr(data, "_STREAM_LIMIT", 10_000)
        LabelledImages(options, "train")
    with monkeypatch.context() as patch, pytest.raises(UserError, match="torchrun cannot share out"):
        patch.setenv("WORLD_SIZE", "2")
        LabelledImages(options, "train")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (DataOptions(), r"--data-dir \(empty\) does not exist"),
        (DataOptions(data_dir="nowhere"), "--data-dir nowhere does not exist"),
        (DataOptions(data_dir="."), "cannot read split 'train' of .: Found 0 images"),
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
def test_a_image_in_a_tar_that_cannot_be_read_is_named(folder: Path, tmp_path: Path, workers: int) -> None:
    (tmp_path / "torn.png").write_bytes((folder / "val/ant/0.png").read_bytes()[:-400])
    path = _tar(tmp_path / "one.tar", {"ant/0.png": folder / "val/ant/0.png", "ant/1.png": tmp_path / "torn.png"})
    dataset = Transformed(LabelledImages(DataOptions(data_dir=str(path)), "train"), eval_transform(24, CONFIG))
    with pytest.raises(UserError, match=r"^cannot read image .*/one\.tar/ant/1\.png: [^\n]*; mend or remove it$"):
        list(load_batches(dataset, [[0], [1]], workers))


def test_images_are_those_that_timm_decodes(images: LabelledImages) -> None:
    for index in (0, 30, 59):
        assert images[index][0].tobytes() == images.source[index][0].tobytes()
        assert images[index][1] == images.source[index][1]


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


# Order and augmentation

AUGMENTATIONS = {
    "resize": AugmentOptions(),
    "pad": AugmentOptions(crop="pad", color_jitter=0.0),
    "rand-augment, erasing": AugmentOptions(auto_augment="rand-m9-mstd0.5", random_erasing=0.9),
    "auto-augment": AugmentOptions(auto_augment="v0"),
    "augmix": AugmentOptions(auto_augment="augmix-m3-w3"),
}


def _epoch(
    images: LabelledImages, options: AugmentOptions, workers: int, first: int = 0, epoch: int = 2
) -> torch.Tensor:
    dataset = Transformed(images, train_transform(24, CONFIG, options), seed=5, epoch=epoch)
    batches = epoch_batches(range(len(images)), 8, seed=5, epoch=epoch)[first:]
    return torch.stack([batch for batch, _ in load_batches(dataset, batches.tolist(), workers)])


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_neither_workers_nor_a_later_start_change_a_image(images: LabelledImages, name: str) -> None:
    options = AUGMENTATIONS[name]
    alone = _epoch(images, options, workers=0)
    assert alone.shape == (7, 8, 3, 24, 24)
    assert torch.equal(alone, _epoch(images, options, workers=2))
    assert torch.equal(alone[4:], _epoch(images, options, workers=0, first=4))
    assert not torch.equal(alone, _epoch(images, options, workers=0, epoch=3))


def test_augmentation_differs_between_epochs_and_images(images: LabelledImages) -> None:
    transform = train_transform(24, CONFIG, AugmentOptions())
    one, two = (Transformed(images, transform, seed=0, epoch=epoch) for epoch in (0, 1))
    assert torch.equal(one[3][0], one[3][0])
    assert not torch.equal(one[3][0], two[3][0])
    assert not torch.equal(one[3][0], Transformed(images, transform, seed=1)[3][0])


def test_the_generators_of_the_main_process_are_left_alone(images: LabelledImages) -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    def seed() -> None:
        random.seed(7)
        np.random.seed(7)
        torch.manual_seed(7)

    seed()
    expected = draw()
    seed()
    for workers in (0, 1):
        _epoch(images, AUGMENTATIONS["rand-augment, erasing"], workers)
    assert draw() == expected


def test_an_epoch_has_every_index_once_but_for_the_last_smaller_batch() -> None:
    indices = list(range(100, 210))
    batches = epoch_batches(indices, 20, seed=0, epoch=0)
    assert batches.shape == (5, 20)
    assert len(set(batches.ravel().tolist())) == 100 and set(batches.ravel().tolist()) <= set(indices)
    assert not np.array_equal(batches, epoch_batches(indices, 20, seed=0, epoch=1))
    assert not np.array_equal(batches, epoch_batches(indices, 20, seed=1, epoch=0))
    assert np.array_equal(batches, epoch_batches(indices, 20, seed=0, epoch=0))


@pytest.mark.parametrize("world", [1, 2, 3])
def test_shards_leave_nothing_out(world: int) -> None:
    shares = [shard(range(50), rank, world, 8) for rank in range(world)]
    assert sorted(i for share in shares for batch in share for i in batch) == list(range(50))
    assert all(len(batch) <= 8 for share in shares for batch in share)


def test_evaluation_sees_what_timm_prepares(images: LabelledImages) -> None:
    ours = Transformed(images, eval_transform(28, CONFIG))[11][0]
    theirs = create_transform(28, is_training=False, **CONFIG)(images[11][0])
    assert torch.equal(ours, theirs)


def test_pad_crop_shifts_by_at_most_an_eighth(images: LabelledImages) -> None:
    """Without flips, pad-crop of an image of the right size is the image moved by up to size // 8 pixels."""
    options = AugmentOptions(crop="pad", hflip=0.0, color_jitter=0.0)
    dataset = Transformed(images, train_transform(32, CONFIG, options))
    whole = eval_transform(32, {**CONFIG, "crop_pct": 1.0})
    padded = torch.nn.functional.pad(whole(images[0][0])[None], (4, 4, 4, 4), mode="reflect")[0]
    shifted = dataset[0][0]
    places = [(x, y) for x in range(9) for y in range(9) if torch.equal(padded[:, y : y + 32, x : x + 32], shifted)]
    assert len(places) == 1


def test_pad_crop_is_torchvisions(images: LabelledImages) -> None:
    ours = train_transform(24, CONFIG, AugmentOptions(crop="pad", color_jitter=0.0)).transforms[2]
    theirs = transforms.RandomCrop(24, padding=3, padding_mode="reflect")
    image = images[0][0].resize((24, 24))
    for seed in range(20):
        torch.manual_seed(seed)
        expected = theirs(image)
        torch.manual_seed(seed)
        assert ours(image).tobytes() == expected.tobytes()


@pytest.mark.parametrize("options", [AugmentOptions(auto_augment="nosuch"), AugmentOptions(train_interpolation="x")])
def test_an_unknown_policy_is_one_line(options: AugmentOptions) -> None:
    with pytest.raises(UserError, match="unknown to timm"):
        train_transform(24, CONFIG, options)


def test_greyscale_and_transparent_images_become_rgb(tmp_path: Path) -> None:
    for mode in ("L", "RGBA", "P", "CMYK"):
        (tmp_path / "train" / mode).mkdir(parents=True)
        target: Any = io.BytesIO()
        _image(0).convert(mode).save(target, "TIFF")
        (tmp_path / "train" / mode / "a.png").write_bytes(target.getvalue())
    images = LabelledImages(DataOptions(data_dir=str(tmp_path)), "train")
    assert {images[i][0].mode for i in range(4)} == {"RGB"}
