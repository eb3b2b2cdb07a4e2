"""Order and augmentation as pure functions of (seed, epoch, index)."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from helpers.images import CONFIG

from scarlet_models.training.data import LabelledImages
from scarlet_models.training.loading import Transformed, epoch_batches, load_batches, shard
from scarlet_models.training.options import AugmentOptions
from scarlet_models.training.transforms import train_transform

AUGMENTATIONS = {
    "resize": AugmentOptions(),
    "pad": AugmentOptions(crop="pad", color_jitter=0.0),
    "rand-augment": AugmentOptions(auto_augment="rand-m9-mstd0.5"),
    "auto-augment": AugmentOptions(auto_augment="v0"),
    "augmix": AugmentOptions(auto_augment="augmix-m3-w3"),
}


def _epoch(
    labelled: LabelledImages, options: AugmentOptions, workers: int, first: int = 0, epoch: int = 2
) -> torch.Tensor:
    dataset = Transformed(labelled, train_transform(24, CONFIG, options, options.auto_augment), seed=5, epoch=epoch)
    batches = epoch_batches(range(len(labelled)), 8, seed=5, epoch=epoch)[first:]
    return torch.stack([batch for batch, _ in load_batches(dataset, batches.tolist(), workers)])


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_neither_workers_nor_a_later_start_change_an_image(labelled: LabelledImages, name: str) -> None:
    options = AUGMENTATIONS[name]
    alone = _epoch(labelled, options, workers=0)
    assert alone.shape == (7, 8, 3, 24, 24)
    assert torch.equal(alone, _epoch(labelled, options, workers=2))
    assert torch.equal(alone[4:], _epoch(labelled, options, workers=0, first=4))
    assert not torch.equal(alone, _epoch(labelled, options, workers=0, epoch=3))


def test_augmentation_differs_between_epochs_and_images(labelled: LabelledImages) -> None:
    transform = train_transform(24, CONFIG, AugmentOptions())
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
