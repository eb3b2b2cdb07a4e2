"""Pictures with boxes for training and scoring detectors, and the scoring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from scarlet_models.detection.average_precision import average_precision
from scarlet_models.detection.coco import CocoPictures
from scarlet_models.detection.detector import Detector
from scarlet_models.errors import UserError

from .data import load_batches, seeded, shard
from .distributed import World

Target = dict[str, Tensor]


class Augmented(Dataset[tuple[Tensor, Target]]):
    """Pictures through a transform whose randomness depends on (seed, epoch, index) only, with what is on them.

    An item is a float tensor (3, H, W) in [0, 1], and its boxes (n, 4) and labels (n,) as torchvision trains on them.
    """

    def __init__(self, pictures: CocoPictures, transform: v2.Compose, seed: int, epoch: int) -> None:
        self.pictures, self.transform, self.seed, self.epoch = pictures, transform, seed, epoch

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        picture = self.pictures.picture(index)
        boxes, labels = self.pictures.boxes(index)
        framed = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(picture.height, picture.width))
        with seeded(self.seed, self.epoch, index):
            image, target = self.transform(picture, {"boxes": framed, "labels": labels})
        return image.as_subclass(Tensor), {key: value.as_subclass(Tensor) for key, value in target.items()}


def train_transform(resize: v2.Transform, hflip: float, vflip: float, color_jitter: float) -> v2.Compose:
    """Resizing, flips with these probabilities, and colour changes of this strength.

    Boxes are cut at the picture's edge; those of which less than a pixel is left are dropped.
    """
    jitter = v2.ColorJitter(color_jitter, color_jitter, color_jitter, color_jitter / 4)  # a little hue is much
    return v2.Compose(
        [
            resize,
            v2.RandomHorizontalFlip(hflip),
            v2.RandomVerticalFlip(vflip),
            *([jitter] if color_jitter else []),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.ClampBoundingBoxes(),
            v2.SanitizeBoundingBoxes(min_size=1),
        ]
    )


def transpose(batch: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    """Items of a batch as lists, as pictures of several sizes cannot be stacked."""
    return [list(column) for column in zip(*batch, strict=True)]


class _Prepared(Dataset[tuple[Tensor, tuple[int, int], int]]):
    """Pictures as a detector takes them, their sizes, and their ids."""

    def __init__(self, pictures: CocoPictures, detector: Detector) -> None:
        self.pictures, self.prepare = pictures, detector.prepare

    def __getitem__(self, index: int) -> tuple[Tensor, tuple[int, int], int]:
        picture = self.pictures.picture(index)
        return self.prepare(picture), picture.size, self.pictures.records[index]["id"]


def score(
    detector: Detector, pictures: CocoPictures, batch_size: int, workers: int, world: World
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Average precision over all pictures, shared among the ranks with none left out, and all that was found.

    Returns:
        What `average_precision` gives, and COCO's results; the same on every rank.

    Raises:
        UserError: The detector has other categories than the data.
    """
    if detector.categories != pictures.categories:
        raise UserError(f"{pictures.name} has other categories than the detector: {_difference(detector, pictures)}")
    batches = shard(range(len(pictures)), world.rank, world.size, batch_size)
    mine = [
        row
        for images, sizes, ids in load_batches(_Prepared(pictures, detector), batches, workers, collate=transpose)
        for found, image_id in zip(detector.find(images, sizes), ids, strict=True)
        for row in detector.as_coco(found, image_id)
    ]
    rows = [row for part in world.gather(mine) for row in part]
    figures = average_precision(pictures.ground_truth(), rows) if world.is_main else None
    return world.broadcast(figures), rows


def _difference(detector: Detector, pictures: CocoPictures) -> str:
    known, there = ({(c["id"], c["name"]) for c in part.categories} for part in (detector, pictures))
    return f"it has {len(known)}, the data {len(there)}; {min(known ^ there)} is in one of them only"
