"""Training a detector: the task, and `train_detector`, which carries it out and exports the detector."""

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from scarlet_models.training.device import to_device
from scarlet_models.training.distributed import World
from scarlet_models.training.optim import autocast
from scarlet_models.training.task import Scale, Task
from scarlet_models.training.trainer import Trainer
from scarlet_models.weights.source import locate

from .coco import CocoImages
from .data import FIGURES, Augmented, Target, check_scoring, score, train_transform, transpose
from .detector import Detector, describe
from .options import DetectOptions

_logger = logging.getLogger(__name__)


def train_detector(options: DetectOptions, world: World, command: str) -> tuple[Path, dict[str, Any]]:
    """Trains to the end, exports the detector, and returns its folder and the last figures of average precision."""
    task = Detection(options, world)
    trainer = Trainer(task, command)
    trainer.run()
    folder = trainer.folder.exported
    with world.main_first():
        if world.is_main:
            task.detector.save(folder)
            _logger.info("exported the detector to %s", folder)
    return folder, {"steps": trainer.step, **task.kept["results"]}


class Detection(Task):
    """Images with boxes and a detector over a network that finds them."""

    collate = staticmethod(transpose)

    def __init__(self, options: DetectOptions, world: World) -> None:
        super().__init__(options, world)
        self.images = CocoImages(options.images, options.annotations, options.split)
        self.validation: CocoImages | None = None
        if options.val_annotations or options.val_split:
            images, annotations = options.val_images or options.images, options.val_annotations or options.annotations
            self.validation = CocoImages(images, annotations, options.val_split)
        self.plan(range(len(self.images)), options.epochs)
        torch.manual_seed(options.seed)
        with world.main_first():
            name, categories = locate(options.model), self.images.categories
            config = describe(options.detector, name, options.detector_args, options.image_size, categories)
            self.detector = Detector(config, name if options.pretrained else "")
            if self.validation:
                check_scoring(categories, self.validation)
            digests = [part.digest(options.workers) for part in (self.images, self.validation) if part]
        origin = "its own weights" if options.pretrained else "random weights"
        _logger.info("the backbone %s starts from %s", options.model, origin)
        self.model = to_device(self.detector.model, world.device)
        self.transform = train_transform(self.detector.resize, *options.flip, options.color_jitter)
        self.kept = {"sums": {}, "results": {}}  # losses of the epoch so far, times images; the last measurement
        advice = "had other images or boxes, or is of an older version: restore its data, or start another run"
        self.fixed = {"data": (" ".join(digests), advice)}

    def dataset(self, epoch: int) -> Dataset[Any]:
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
        sums = self.kept["sums"]
        for name, value in figures.items():
            if name != "grad_norm":
                sums[name] = sums.get(name, 0.0) + value.item() * self.options.batch_size
        return {}

    def measure(self, epoch: int) -> dict[str, float]:
        """Mean losses of the epoch, and every few epochs COCO's figures on the validation images."""
        images = self.steps_per_epoch * self.options.batch_size
        row = {name: value / images for name, value in self.kept["sums"].items()}
        self.kept["sums"] = {}
        due = (epoch + 1) % self.options.val_every == 0 or epoch + 1 == self.epochs
        if self.validation is None or not due:
            return row
        results, _ = score(self.detector, self.validation, self.local_batch, self.options.workers, self.world)
        self.kept["results"] = results
        return row | {f"val_{name}": results[name] for name in FIGURES if results[name] is not None}
