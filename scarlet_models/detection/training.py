"""Trains a detector over a network on images with boxes in COCO's format, and exports it.

One process a GPU or CPU: start it plainly, or with torchrun. Killed at any moment, --resume goes on to the same result.
The run's folder gets metrics.csv with average precision on the validation images, TensorBoard events, and the
detector, which eval and predict take.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from scarlet_models.errors import UserError
from scarlet_models.options import option
from scarlet_models.training import distributed
from scarlet_models.training.checkpoint import restore_parts
from scarlet_models.training.device import to_device
from scarlet_models.training.distributed import World
from scarlet_models.training.loading import epoch_batches, load_batches, mix_seed
from scarlet_models.training.optim import (
    apply_gradients,
    autocast,
    average,
    local_batch,
    make_optimizer,
    make_scheduler,
)
from scarlet_models.training.options import OptimizerOptions, RunOptions
from scarlet_models.training.progress import Progress
from scarlet_models.training.run_folder import RunFolder

from .average_precision import FIGURES
from .coco import CocoImages
from .data import Augmented, Target, score, train_transform, transpose
from .detector import Detector, describe

EXAMPLE = """  scarlet-models detect train --config bccd_cpu --images bccd.tar --annotations bccd.json --out runs/bccd
  scarlet-models detect train --config runs/bccd/config.yaml --resume
  torchrun --nproc-per-node 8 --no-python scarlet-models detect train --config retinanet_coco_1x \\
      --images train2017 --annotations instances_train2017.json --val-images val2017 \\
      --val-annotations instances_val2017.json --out runs/coco"""

_logger = logging.getLogger(__name__)


@dataclass
class Options(OptimizerOptions, RunOptions):  # fields: last base first
    """Options of detect train.

    Args:
        images: Folder or uncompressed tar of the images.
        annotations: Their boxes: JSON in COCO's instances format.
        split: Train on this split of the JSON's own "splits"; empty for all images.
        val_images: Images to measure on after epochs; those of --images if empty.
        val_annotations: Their boxes; those of --annotations if empty.
        val_split: Split to measure on. With neither this nor --val-annotations nothing is measured.
        val_every: Epochs between measurements; the last epoch is always measured.
        workers: Processes that decode and augment images; 0 does it in the main process.
        detector: What is built over the network's features.
        model: The network: a name, a genotype, or local-dir:FOLDER of a trained one.
        space: Search space of a genotype: a name or a YAML file.
        pretrained: Start from the network's weights.
        detector_args: More arguments of the detector: out_channels, taps, extra_levels, anchor_scale, trainable_stages,
            frozen_norm, and torchvision's own.
        short_side: Shorter side in pixels that images are resized to; for ssdlite the side of a square.
        long_side: Where the longer side would exceed this, it becomes this.
        hflip: Probability of a horizontal flip.
        vflip: Probability of a vertical flip.
        color_jitter: Strength of brightness, contrast and saturation changes; 0 for none.
        epochs: How often to see every training image.
        decay_milestones: Epochs after which schedule "multistep" lowers the learning rate.
        decay_rate: Factor of each of these drops.
        channels_last: Memory layout of convolutions.
        fast_depthwise: Faster depthwise gradients on a CPU, equal up to rounding.
        name: Name of the exported folder; empty for the name of --out.
    """

    out: str = option("runs/detect", free=True)
    images: str = option("", free=True)
    annotations: str = option("", free=True)
    split: str = ""
    val_images: str = option("", free=True)
    val_annotations: str = option("", free=True)
    val_split: str = ""
    val_every: int = 1
    workers: int = option(2, least=0, free=True)
    detector: Literal["retinanet", "fasterrcnn", "ssdlite"] = "retinanet"
    model: str = "scarlet_a"
    space: str = "scarlet"
    pretrained: bool = True
    detector_args: dict[str, Any] = field(default_factory=dict)
    short_side: int = 800
    long_side: int = 1333
    hflip: float = option(0.5, least=0, most=1)
    vflip: float = option(0.0, least=0, most=1)
    color_jitter: float = option(0.0, least=0)
    epochs: int = 12
    batch_size: int = option(16, least=1)
    lr: float = option(0.01, least=0)
    weight_decay: float = option(0.0001, least=0)
    decay_milestones: list[float] = field(default_factory=list)
    decay_rate: float = option(0.1, least=0)
    channels_last: bool = False
    fast_depthwise: bool = True
    name: str = option("", free=True)


def main(options: Options) -> None:
    """Trains to the end and exports.

    Raises:
        UserError: A bad option, unreadable data or weights, a full disk, a loss that is not finite.
    """
    with distributed.start_training(options.device, options.threads) as world:
        training = Training(options, world)
        training.run()
        report = training.export()
        if world.is_main and options.json:
            print(json.dumps(report))


class Training:
    """A run: the detector, what trains it, and how far it is.

    Randomness is no part of the state: every step and every image seeds its own from the seed and its number.
    """

    def __init__(self, options: Options, world: World) -> None:
        self.options, self.world = options, world
        self.local_batch = local_batch(options, world.size)
        self.images = CocoImages(options.images, options.annotations, options.split)
        self.validation = _validation(options)
        self.steps_per_epoch = len(self.images) // options.batch_size
        if self.steps_per_epoch < 1 or options.epochs < 1 or options.val_every < 1:
            raise UserError(
                f"nothing to train: {options.epochs} epochs of {len(self.images)} images in batches of "
                f"{options.batch_size}; change --epochs, --batch-size or --val-every"
            )
        self._build()
        self.run_folder = RunFolder(options, world)
        self.step = 0
        self.sums: dict[str, float] = {}  # losses of the epoch so far, times images
        self.results: dict[str, Any] = {}  # of the last measurement
        self.saved = time.monotonic()
        if state := self.run_folder.take_state():
            self._restore(state)

    def _build(self) -> None:
        options, device = self.options, self.world.device
        torch.manual_seed(options.seed)
        sides = (options.short_side, options.long_side)
        arguments = (options.model, options.space, options.detector_args, sides, self.images.categories)
        with self.world.main_first():
            self.detector = Detector(
                describe(options.detector, *arguments), options.model if options.pretrained else ""
            )
        self.model: nn.Module = self.detector.model
        to_device(self.model, device, options.channels_last, options.fast_depthwise)
        self.transform = train_transform(self.detector.resize, options.hflip, options.vflip, options.color_jitter)
        self.optimizer = make_optimizer(self.model, options)
        drops = {"decay_milestones": options.decay_milestones, "decay_rate": options.decay_rate}
        self.scheduler = make_scheduler(
            self.optimizer, options, options.epochs, self.steps_per_epoch, options.warmup_epochs, **drops
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=options.amp == "fp16")

    def run(self) -> None:
        """All epochs that remain."""
        total = self.options.epochs * self.steps_per_epoch
        with Progress(total, self.step, self.run_folder.path.name, quiet=not self.world.is_main) as progress:
            while self.step < total:
                epoch = self.step // self.steps_per_epoch
                speed = self._train_epoch(epoch, progress)
                row = {"epoch": epoch + 1, "lr": self.optimizer.param_groups[0]["lr"]}
                seen = self.steps_per_epoch * self.options.batch_size
                row |= {name: value / seen for name, value in self.sums.items()}
                if (epoch + 1) % self.options.val_every == 0 or self.step == total:
                    row |= self._measure()
                self.run_folder.record(self.step, {**row, "images_per_second": round(speed, 2)})
                self.sums = {}
                self._checkpoint()
                figures = "  ".join(f"{name} {value:.3f}" for name, value in row.items() if name not in ("epoch", "lr"))
                _logger.info("epoch %d/%d  %s  %.1f images/s", epoch + 1, self.options.epochs, figures, speed)
        self.run_folder.close()

    def _train_epoch(self, epoch: int, progress: Progress) -> float:
        """The steps of an epoch that remain. Returns images per second."""
        options, world = self.options, self.world
        first = self.step % self.steps_per_epoch
        batches = epoch_batches(range(len(self.images)), options.batch_size, options.seed, epoch)[first:]
        parts = batches[:, world.rank :: world.size].reshape(-1, self.local_batch)
        dataset = Augmented(self.images, self.transform, options.seed, epoch)
        pin = world.device.type == "cuda"
        loader = iter(load_batches(dataset, parts.tolist(), options.workers, pin, collate=transpose))
        started = time.monotonic()
        for _ in range(len(batches)):
            loss = self._train_step(loader)
            progress.advance(f"epoch {epoch + 1}/{options.epochs}  loss {loss:.3f}")
            within = self.step % self.steps_per_epoch  # the end of an epoch is saved once its figures are recorded
            if within and time.monotonic() - self.saved > 60 * options.checkpoint_minutes:
                self._checkpoint()
        return len(batches) * options.batch_size / (time.monotonic() - started)

    def _train_step(self, loader: Iterator[tuple[list[Tensor], list[Target]]]) -> float:
        """One optimizer step, over the parts of a batch and over all ranks. Returns the loss before it."""
        options, world = self.options, self.world
        self.scheduler.step_update(self.step)
        torch.manual_seed(mix_seed(options.seed, self.step, world.rank))  # Faster R-CNN draws the regions it trains on
        self.model.train()
        losses: dict[str, Tensor] = {}
        for _ in range(options.accumulate):
            part = self._forward(*next(loader))
            self.scaler.scale(part["loss"] / options.accumulate).backward()
            for name, value in part.items():
                losses[name] = losses.get(name, 0) + value.detach() / options.accumulate
        average(self.model, world, *losses.values())
        self._update(losses["loss"])
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.item() * options.batch_size
        return losses["loss"].item()

    def _forward(self, images: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
        """The detector's losses, and "loss", their sum."""
        device = self.world.device
        moved = [{key: value.to(device, non_blocking=True) for key, value in target.items()} for target in targets]
        with autocast(self.options.amp, device):
            losses: dict[str, Tensor] = self.model([image.to(device, non_blocking=True) for image in images], moved)
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}

    def _update(self, loss: Tensor) -> None:
        """Applies the gradients, unless the loss or they are not finite: then nothing changes and the run stops."""
        apply_gradients(
            self.model,
            self.optimizer,
            self.scaler,
            self.options.clip_grad,
            loss,
            lambda what: self.run_folder.diverged(what, self.step + 1),
        )
        self.step += 1

    def _measure(self) -> dict[str, float]:
        """COCO's figures on the validation images, where there are any."""
        if self.validation is None:
            return {}
        self.results, _ = score(self.detector, self.validation, self.local_batch, self.options.workers, self.world)
        return {f"val_{name}": self.results[name] for name in FIGURES if self.results[name] is not None}

    def export(self) -> dict[str, Any]:
        """Writes the detector on rank 0. Returns where it is, and the last figures."""
        folder = self.run_folder.exported
        with self.world.main_first():
            if self.world.is_main:
                self.detector.save(folder)
                _logger.info("exported the detector to %s", folder)
        return {"exported": str(folder), "steps": self.step, **self.results}

    def _parts(self) -> dict[str, Any]:
        return {"model": self.model, "optimizer": self.optimizer, "scaler": self.scaler}

    def _checkpoint(self) -> None:
        state = {name: part.state_dict() for name, part in self._parts().items()}
        more = {"sums": self.sums, "results": self.results, "data": self.images.digest()}
        self.run_folder.save(self.step, {**state, **more})
        self.saved = time.monotonic()

    def _restore(self, state: dict[str, Any]) -> None:
        if state["data"] != self.images.digest():
            raise UserError(f"{self.run_folder.path} was trained on other images or boxes: restore its data")
        restore_parts(self._parts(), state)
        self.step, self.sums, self.results = state["step"], state["sums"], state["results"]
        _logger.info("resumed at step %d of %d", self.step, self.options.epochs * self.steps_per_epoch)


def _validation(options: Options) -> CocoImages | None:
    if not (options.val_annotations or options.val_split):
        return None
    images, annotations = options.val_images or options.images, options.val_annotations or options.annotations
    return CocoImages(images, annotations, options.val_split)
