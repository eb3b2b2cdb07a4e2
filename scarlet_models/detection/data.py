"""Images with boxes for training and scoring detectors, and the scoring."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from scarlet_models.errors import UserError
from scarlet_models.training.distributed import World
from scarlet_models.training.loading import load_batches, seeded, shard

from .coco import CocoImages
from .detector import Detector

FIGURES = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")  # the first six that COCO's tools print

Target = dict[str, Tensor]


class Augmented(Dataset[tuple[Tensor, Target]]):
    """Images through a transform whose randomness depends on (seed, epoch, index) only, with what is on them.

    An item is a float tensor (3, H, W) in [0, 1], and its boxes (n, 4) and labels (n,) as torchvision trains on them.
    """

    def __init__(self, images: CocoImages, transform: v2.Compose, seed: int, epoch: int) -> None:
        self.images, self.transform, self.seed, self.epoch = images, transform, seed, epoch

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        image = self.images.image(index)
        boxes, labels = self.images.boxes(index)
        framed = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(image.height, image.width))
        with seeded(self.seed, self.epoch, index):
            pixels, target = self.transform(image, {"boxes": framed, "labels": labels})
        return pixels.as_subclass(Tensor), {key: value.as_subclass(Tensor) for key, value in target.items()}


def train_transform(resize: v2.Transform, hflip: float, vflip: float, color_jitter: float) -> v2.Compose:
    """Resizing, flips with these probabilities, and colour changes of this strength.

    Boxes are cut at the image's edge; those of which less than a pixel is left are dropped.
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
    """Items of a batch as lists, as images of several sizes cannot be stacked."""
    return [list(column) for column in zip(*batch, strict=True)]


class _Prepared(Dataset[tuple[Tensor, tuple[int, int], int]]):
    """Images as a detector takes them, their sizes, and their ids."""

    def __init__(self, images: CocoImages, detector: Detector) -> None:
        self.images, self.prepare = images, detector.prepare

    def __getitem__(self, index: int) -> tuple[Tensor, tuple[int, int], int]:
        image = self.images.image(index)
        return self.prepare(image), image.size, self.images.records[index]["id"]


def check_scoring(categories: Sequence[Mapping[str, Any]], images: CocoImages) -> None:
    """Refuse images with other categories than a detector has; ImportError where what scores is not installed."""
    importlib.import_module("faster_coco_eval")
    if categories != images.categories:
        known, there = ({(c["id"], c["name"]) for c in part} for part in (categories, images.categories))
        found = f"it has {len(known)}, the data {len(there)}; {min(known ^ there)} is in one of them only"
        raise UserError(f"{images.name} has other categories than the detector: {found}")


def score(
    detector: Detector, images: CocoImages, batch_size: int, workers: int, world: World
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What `average_precision` gives over all images, shared among the ranks with none left out; and COCO's results."""
    check_scoring(detector.categories, images)
    batches = shard(range(len(images)), world.rank, world.size, batch_size)
    mine = [
        row
        for inputs, sizes, ids in load_batches(_Prepared(images, detector), batches, workers, collate=transpose)
        for found, image_id in zip(detector.find(inputs, sizes), ids, strict=True)
        for row in detector.as_coco(found, image_id)
    ]
    rows = [row for part in world.gather(mine) for row in part]
    figures = average_precision(images.ground_truth(), rows) if world.is_main else None
    return world.broadcast(figures), rows


def average_precision(ground_truth: dict[str, Any], detections: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """FIGURES in [0, 1] over all images of the ground truth, and AP50_of: that of each category by name.

    A figure is None where there is nothing to find. Arguments are as in COCO's instances and results formats.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    coco = COCO({**ground_truth, "info": {}})
    evaluation = COCOeval_faster(coco, coco.loadRes([dict(row) for row in detections]), iouType="bbox")
    evaluation.run()
    # Precision by IoU threshold, recall, category, size and number of detections; -1 where there is nothing to find.
    at_half = evaluation.eval["precision"][0, :, :, 0, -1]
    names = [category["name"] for category in ground_truth["categories"]]
    by_category = {name: _known(at_half[:, number].mean()) for number, name in enumerate(names)}
    figures = {name: _known(value) for name, value in zip(FIGURES, evaluation.stats[:6], strict=True)}
    return {**figures, "AP50_of": by_category}


def _known(value: float) -> float | None:
    return float(value) if value > -1 else None
