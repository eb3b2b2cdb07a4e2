"""Training a detector: the task, and `train_detector`, which carries it out and exports the detector."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.data import Dataset

from scarlet_models.errors import UserError
from scarlet_models.training.device import to_device
from scarlet_models.training.distributed import World
from scarlet_models.training.optim import autocast, local_batch
from scarlet_models.training.task import Scale, Task
from scarlet_models.training.trainer import Trainer

from .average_precision import FIGURES
from .coco import CocoImages
from .data import Augmented, Target, score, train_transform, transpose
from .detector import Detector, describe
from .options import DetectOptions

_logger = logging.getLogger(__name__)


def train_detector(options: DetectOptions, world: World, command: str) -> tuple[Path, dict[str, Any]]:
    """Trains to the end and exports the detector.

    Returns:
        Its folder, and the number of steps with the last figures of average precision.

    Raises:
        UserError: A bad option, unreadable data or weights, a full disk, or a loss that is not finite.
    """
    task = Detection(options, world)
    trainer = Trainer(task, command)
    trainer.run()
    folder = trainer.folder.exported
    with world.main_first():
        if world.is_main:
            task.detector.save(folder)
            _logger.info("exported the detector to %s", folder)
    return folder, {"steps": trainer.step, **task.results}


class Detection(Task):
    """Images with boxes and a detector over a network that finds them.

    Args:
        options: Of the training.
        world: The processes that train together.

    Raises:
        UserError: A bad option, or unreadable data or weights.
    """

    FIXED: ClassVar = {"data": "was trained on other images or boxes: restore its data"}
    collate = staticmethod(transpose)

    def __init__(self, options: DetectOptions, world: World) -> None:
        self.options, self.world = options, world
        self.local_batch = local_batch(options, world.size)
        self.images = CocoImages(options.images, options.annotations, options.split)
        self.validation = _validation(options)
        self.indices = range(len(self.images))
        self.steps_per_epoch = len(self.images) // options.batch_size
        self.epochs = options.epochs
        self.steps = self.epochs * self.steps_per_epoch
        if not self.steps:
            raise UserError(
                f"nothing to train: {options.epochs} epochs of {len(self.images)} images in batches of "
                f"{options.batch_size}; change --epochs or --batch-size"
            )
        self.sched, self.sched_args = options.sched, options.sched_args
        self.warmup_steps = options.warmup_epochs * self.steps_per_epoch
        torch.manual_seed(options.seed)
        with world.main_first():
            self.detector = _build(options, self.images)
        origin = "its own weights" if options.pretrained else "random weights"
        _logger.info("the backbone %s starts from %s", options.model, origin)
        self.model = to_device(self.detector.model, world.device)
        self.transform = train_transform(self.detector.resize, *options.flip, options.color_jitter)
        self.sums: dict[str, float] = {}  # losses of the epoch so far, times images
        self.results: dict[str, Any] = {}  # of the last measurement

    def dataset(self, epoch: int) -> Dataset[Any]:
        """The images of an epoch, augmented, with their boxes."""
        return Augmented(self.images, self.transform, self.options.seed, epoch)

    def add_gradients(self, batch: tuple[list[Tensor], list[Target]], scale: Scale) -> dict[str, Tensor]:
        """Of the sum of the detector's losses; each of them is a figure too."""
        device = self.world.device
        images = [image.to(device, non_blocking=True) for image in batch[0]]
        targets = [{key: value.to(device, non_blocking=True) for key, value in target.items()} for target in batch[1]]
        with autocast(self.options.amp, device):
            losses: dict[str, Tensor] = self.model(images, targets)
            loss = torch.stack(list(losses.values())).sum()
        scale(loss).backward()
        figures = {"loss": loss, **losses}
        return {name: value.detach() / self.options.accumulate for name, value in figures.items()}

    def take_in(self, step: int, figures: dict[str, Tensor]) -> dict[str, float]:
        """Adds to the sums of the epoch."""
        for name, value in figures.items():
            if name != "grad_norm":
                self.sums[name] = self.sums.get(name, 0.0) + value.item() * self.options.batch_size
        return {}

    def measure(self, epoch: int) -> dict[str, float]:
        """Mean losses of the epoch, and every few epochs COCO's figures on the validation images."""
        images = self.steps_per_epoch * self.options.batch_size
        row = {name: value / images for name, value in self.sums.items()}
        self.sums = {}
        due = (epoch + 1) % self.options.val_every == 0 or epoch + 1 == self.epochs
        if self.validation is None or not due:
            return row
        self.results, _ = score(self.detector, self.validation, self.local_batch, self.options.workers, self.world)
        return row | {f"val_{name}": self.results[name] for name in FIGURES if self.results[name] is not None}

    def state(self) -> dict[str, Any]:
        """The sums of the epoch so far, and the last figures of average precision."""
        return {"sums": self.sums, "results": self.results}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes them back."""
        self.sums, self.results = state["sums"], state["results"]

    def fixed(self) -> dict[str, Any]:
        """The images and their boxes."""
        return {"data": self.images.digest()}


def _build(options: DetectOptions, images: CocoImages) -> Detector:
    name = f"local-dir:{options.model}" if Path(options.model).is_dir() else options.model
    config = describe(options.detector, name, options.detector_args, options.image_size, images.categories)
    return Detector(config, name if options.pretrained else "")


def _validation(options: DetectOptions) -> CocoImages | None:
    if not (options.val_annotations or options.val_split):
        return None
    images, annotations = options.val_images or options.images, options.val_annotations or options.annotations
    return CocoImages(images, annotations, options.val_split)
