"""Order and augmentation as pure functions of (seed, epoch, index)."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.images import CONFIG, random_image

from scarlet_models.training.data import LabelledImages
from scarlet_models.training.data import labelled as module
from scarlet_models.training.loading import ImageBatch, Transformed, epoch_batches, load_batches, shard
from scarlet_models.training.options import CropOptions, DataOptions
from scarlet_models.training.transforms import eval_transform, train_transform

AUGMENTATIONS = {
    "resize": (CropOptions(), ""),
    "pad": (CropOptions(crop="pad", color_jitter=0.0), ""),
    "rand-augment": (CropOptions(), "rand-m9-mstd0.5"),
    "auto-augment": (CropOptions(), "v0"),
    "augmix": (CropOptions(), "augmix-m3-w3"),
}


def _epoch(
    labelled: LabelledImages, options: tuple[CropOptions, str], workers: int, first: int = 0, epoch: int = 2
) -> torch.Tensor:
    dataset = Transformed(labelled, train_transform(24, CONFIG, *options), seed=5, epoch=epoch)
    batches = epoch_batches(range(len(labelled)), 8, seed=5, epoch=epoch)[first:]
    return torch.stack([batch.to("cpu") for batch, _ in load_batches(dataset, batches.tolist(), workers)])


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_neither_workers_nor_a_later_start_change_an_image(labelled: LabelledImages, name: str) -> None:
    options = AUGMENTATIONS[name]
    alone = _epoch(labelled, options, workers=0)
    assert alone.shape == (7, 8, 3, 24, 24)
    assert torch.equal(alone, _epoch(labelled, options, workers=2))
    assert torch.equal(alone[4:], _epoch(labelled, options, workers=0, first=4))
    assert not torch.equal(alone, _epoch(labelled, options, workers=0, epoch=3))


def test_augmentation_differs_between_epochs_and_images(labelled: LabelledImages) -> None:
    transform = train_transform(24, CONFIG, CropOptions())
    one, two = (Transformed(labelled, transform, seed=0, epoch=epoch) for epoch in (0, 1))
    assert torch.equal(one[3][0], one[3][0])
    assert not torch.equal(one[3][0], two[3][0])
    assert not torch.equal(one[3][0], Transformed(labelled, transform, seed=1)[3][0])


def test_the_generators_of_the_main_process_are_left_alone(labelled: LabelledImages) -> None:
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
        _epoch(labelled, AUGMENTATIONS["rand-augment"], workers)
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


# Where images come from


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> LabelledImages:
    """Images of different sizes, which the host crops."""
    root = tmp_path_factory.mktemp("sizes")
    for i in range(12):
        (root / "train" / str(i % 2)).mkdir(parents=True, exist_ok=True)
        random_image(i, 30 + i).save(root / "train" / str(i % 2) / f"{i}.png")
    return LabelledImages(DataOptions(data_dir=str(root)), "train")


def _batch(dataset: Transformed, workers: int = 0) -> ImageBatch:
    return next(iter(load_batches(dataset, [[3, 1, 7]], workers)))[0]


@pytest.mark.parametrize("workers", [0, 2])
def test_images_are_decoded_once(folder: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    read: list[int] = []
    image = LabelledImages.image
    monkeypatch.setattr(LabelledImages, "image", lambda self, i: (read.append(i), image(self, i))[1])
    labelled = LabelledImages(DataOptions(data_dir=str(folder)), "train")
    epochs = [_epoch(labelled, AUGMENTATIONS["resize"], workers, epoch=epoch) for epoch in (0, 1, 0)]
    assert torch.equal(epochs[0], epochs[2]) and not torch.equal(epochs[0], epochs[1])
    assert len(read) == len(set(read)) <= 60


def test_where_decoded_images_are_kept_changes_none(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In memory, in a file, or decoded by processes in each epoch where there is no room."""
    caplog.set_level("INFO")
    kept = []
    for memory, file in ((module.MOST_IN_MEMORY, 0), (0, module.MOST_IN_FILE), (0, 0)):
        monkeypatch.setattr(module, "MOST_IN_MEMORY", memory)
        monkeypatch.setattr(module, "MOST_IN_FILE", file)
        labelled = LabelledImages(DataOptions(data_dir=str(folder)), "train")
        kept.append([_epoch(labelled, AUGMENTATIONS[name], 1, epoch=e) for name in ("resize", "pad") for e in (0, 1)])
    assert all(torch.equal(one, other) for others in kept[1:] for one, other in zip(kept[0], others, strict=True))
    assert "0.0 GB of decoded images are kept in a file in" in caplog.text
    assert "0.0 GB of decoded images are too many to keep" in caplog.text and not list(tmp_path.iterdir())


def test_batches_travel_as_bytes(labelled: LabelledImages, sizes: LabelledImages) -> None:
    crop = train_transform(24, CONFIG, CropOptions())
    for images, transform, shape in (
        (labelled, crop, (3, 32, 32, 3)),  # whole, as the device crops images of one size
        (sizes, crop, (3, 24, 24, 3)),
        (labelled, eval_transform(24, CONFIG), (3, 24, 24, 3)),
    ):
        batch = _batch(Transformed(images, transform))
        assert batch.pixels.dtype == torch.uint8 and batch.pixels.shape == shape and len(batch) == 3
        moved = batch.to("cpu", memory_format=torch.channels_last)
        assert moved.shape == (3, 3, 24, 24) and moved.is_contiguous(memory_format=torch.channels_last)


def test_host_and_device_crop_alike(labelled: LabelledImages, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow rounds to bytes; and what is drawn does not depend on who crops."""
    dataset = Transformed(labelled, train_transform(24, CONFIG, CropOptions(color_jitter=0.0)))
    on_device = _batch(dataset).to("cpu")
    dataset.whole = False
    on_host = _batch(dataset).to("cpu")
    assert not torch.equal(on_device, on_host)
    assert (on_device - on_host).abs().max() < 2.1 / 255 / min(CONFIG["std"])


def test_images_of_all_sizes_are_cropped_by_processes_alike(sizes: LabelledImages) -> None:
    dataset = Transformed(sizes, train_transform(24, CONFIG, CropOptions()), seed=3)
    assert sizes.decoded is None
    assert torch.equal(_batch(dataset, 0).to("cpu"), _batch(dataset, 2).to("cpu"))
