"""Trains a supernet on any data set that timm reads: in each step a fair step of paths, one batch and one update.

One process a GPU or CPU: start it plainly, or with torchrun. Killed at any moment, --resume goes on to the same result.
The run's folder gets metrics.csv (a row a step), choices.csv (how accurate the paths of each choice were) and, at the
end, supernet.safetensors with supernet.json, which rank, evolve and export read.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from timm.data import resolve_data_config
from torch import Tensor, nn

from scarlet_models.errors import UserError
from scarlet_models.models import default_cfgs
from scarlet_models.options import option
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.training import distributed
from scarlet_models.training.checkpoint import restore_parts
from scarlet_models.training.data import LabelledImages
from scarlet_models.training.device import to_device
from scarlet_models.training.distributed import World
from scarlet_models.training.loading import Transformed, epoch_batches, load_batches
from scarlet_models.training.optim import (
    apply_gradients,
    autocast,
    average,
    local_batch,
    make_optimizer,
    make_scheduler,
)
from scarlet_models.training.options import AugmentOptions, DataOptions, OptimizerOptions, RunOptions
from scarlet_models.training.progress import Progress
from scarlet_models.training.run_folder import MetricsTable, RunFolder
from scarlet_models.training.split import refuse_mixing, split_holdout
from scarlet_models.training.transforms import eval_transform, train_transform

from .fair_step import add_gradients, batch_statistics, shared_parameters
from .file import SupernetInfo, save_supernet
from .inherit import inherit_supernet
from .sampler import FairSampler, Sampler, UniformSampler
from .stabilizer import DEFAULT_INIT
from .supernet import Supernet

EXAMPLE = """  scarlet-search train --config supernet_nas_bench_macro --data-dir cifar10 --out runs/macro
  scarlet-search train --config runs/macro/config.yaml --resume
  scarlet-search train --config supernet_imagenette --data-dir imagenette.tar --steps 200 --threads 1 --out runs/few
  torchrun --nproc-per-node 8 -m scarlet_models.search train --config supernet_imagenet --data-dir imagenet"""

_logger = logging.getLogger(__name__)


@dataclass
class Options(OptimizerOptions, AugmentOptions, DataOptions, RunOptions):  # fields: last base first
    """Options of train.

    Args:
        out: The run's folder, such as runs/NAME.
        space: Search space: a name or a YAML file.
        stabilizer: What an identity trains as: true (or linear), false (or skip), bn, relu.
        init: How stabilizers begin: torch (as any convolution), identity, orthogonal or identity_noise.
        inherit: Fill all choices from a trained network of the space, layer by layer, for few images or little time;
            a folder that retrain exported, or a name that has weights.
        sampling: "fair" runs each choice equally often (FairNAS); "uniform" draws every path on its own.
        uniform_paths: Paths a step of sampling "uniform": 1 is SPOS, 0 as many as a fair step has.
        epochs: How often to see every training image.
        steps: Fair steps to train instead of epochs; 0 for epochs.
        image_size: Side of the images in pixels; 0 for the space's own.
        label_smoothing: Share of the target spread over all classes.
        average_shared: Divide the gradient of stem and head, which every path adds to, by the number of paths.
        clip_grad: Largest norm of the gradient of the whole fair step; 0 for no limit.
        channels_last: Memory layout of images and convolutions; faster nearly everywhere.
        fast_depthwise: Faster depthwise gradients on a CPU, equal up to rounding.
        interpolation: Of resizing in evaluation; empty for bilinear.
        crop_pct: Share of the resized image that evaluation looks at; 0 for 0.875.
        choices_every: Fair steps between the rows of choices.csv.
        eval_paths: Paths, always the same, to score on held-out images after each epoch; 0 for none.
        eval_images: How many held-out images to score them on.
    """

    out: str = option("runs/supernet", free=True)
    space: str = "scarlet"
    stabilizer: bool | str = True
    init: str = DEFAULT_INIT
    inherit: str = ""
    sampling: Literal["fair", "uniform"] = "fair"
    uniform_paths: int = option(0, least=0)
    epochs: int = 60
    steps: int = option(0, least=0)
    image_size: int = option(0, least=0)
    opt: str = "momentum"
    lr: float = option(0.045, least=0)
    label_smoothing: float = option(0.0, least=0, most=1)
    average_shared: bool = True
    clip_grad: float = option(20.0, least=0)
    channels_last: bool = True
    fast_depthwise: bool = True
    interpolation: str = ""
    crop_pct: float = option(0.0, least=0, most=1)
    choices_every: int = option(50, least=1)
    eval_paths: int = option(8, least=0)
    eval_images: int = option(500, least=0)


def main(options: Options) -> None:
    """Trains to the end and writes the supernet.

    Raises:
        UserError: A bad option, unreadable data, a full disk, a loss that is not finite.
    """
    with distributed.start_training(options.device, options.threads) as world:
        training = Training(options, world)
        training.run()
        report = training.finish()
        if world.is_main and options.json:
            print(json.dumps(report))


class Training:
    """A run: the supernet, what trains it, and how far it is.

    The sampler's generator is the only random state: every image seeds its own from the seed and its number.
    """

    def __init__(self, options: Options, world: World) -> None:
        self.options, self.world = options, world
        self.space = SearchSpace.load(options.space)
        self.image_size = options.image_size or self.space.input_size
        self.local_batch = local_batch(options, world.size)
        with world.main_first():
            self.images = LabelledImages(options, options.train_split)
        self.split = split_holdout(self.images.ids, self.images.labels, options.holdout, options.split_seed)
        self.steps_per_epoch = len(self.split.train) // options.batch_size
        self.steps = options.steps or options.epochs * self.steps_per_epoch
        if self.steps_per_epoch < 1 or self.steps < 1:
            raise UserError(
                f"nothing to train: {options.steps or options.epochs} {'steps' if options.steps else 'epochs'} of "
                f"{len(self.split.train)} images in batches of {options.batch_size}; change --epochs or --batch-size"
            )
        torch.manual_seed(options.seed)
        self.net = Supernet(self.space, len(self.images.classes), options.stabilizer, options.init)
        if options.inherit:
            inherit_supernet(self.net, options.inherit)
        refuse_mixing(options.inherit, self.split)
        self._build()
        self.step = 0
        self.tally = np.zeros((len(self.space.layers), len(self.space.choices), 3))  # paths, their top-1 and its square
        self.row: dict[str, float] = {}  # the last of metrics.csv
        self.saved = time.monotonic()
        self.run_folder = RunFolder(options, world)
        if state := self.run_folder.take_state():
            self._restore(state)
        self.choices = MetricsTable(self.run_folder.path / "choices.csv", self.step) if world.is_main else None

    def _build(self) -> None:
        options, device = self.options, self.world.device
        to_device(self.net, device, options.channels_last, options.fast_depthwise)
        self.optimizer = make_optimizer(self.net, options)
        warmup = round(options.warmup_epochs * self.steps_per_epoch)
        self.scheduler = make_scheduler(self.optimizer, options, self.steps, 1, warmup)  # timm's epochs are our steps
        self.scaler = torch.amp.GradScaler(device.type, enabled=options.amp == "fp16")
        self.loss = nn.CrossEntropyLoss(label_smoothing=options.label_smoothing)
        self.sampler: Sampler = FairSampler(self.space, options.seed)
        if options.sampling == "uniform":
            self.sampler = UniformSampler(self.space, options.seed, options.uniform_paths or None)
        size = (3, self.image_size, self.image_size)
        wanted = {"input_size": size, "interpolation": options.interpolation, "crop_pct": options.crop_pct}
        self.data_config: dict[str, Any] = resolve_data_config(
            {key: value for key, value in wanted.items() if value},
            pretrained_cfg=default_cfgs["scarlet_net"].default.to_dict(),
        )

    def run(self) -> None:
        """All fair steps that remain."""
        self.net.train()
        with Progress(self.steps, self.step, self.run_folder.path.name, quiet=not self.world.is_main) as progress:
            while self.step < self.steps:
                epoch, first = divmod(self.step, self.steps_per_epoch)
                count = min(self.steps_per_epoch - first, self.steps - self.step)
                batches = self._batches(epoch, first, count)
                for left in reversed(range(count)):
                    started = time.monotonic()
                    self.row = {"epoch": epoch + 1, **self.train_step(batches)}
                    self.row["images_per_second"] = round(self.options.batch_size / (time.monotonic() - started), 1)
                    if left == 0:
                        self.row |= self.evaluate()
                    self.run_folder.record(self.step, self.row)
                    if self.step % self.options.choices_every == 0 or self.step == self.steps:
                        self._record_choices()
                    if left == 0 or time.monotonic() - self.saved > 60 * self.options.checkpoint_minutes:
                        self._checkpoint()
                    progress.advance(f"loss {self.row['loss']:.3f}  top-1 {self.row['top1']:.1f}%")

    def _batches(self, epoch: int, first: int, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """This rank's parts of `count` batches of an epoch."""
        options, world = self.options, self.world
        batches = epoch_batches(self.split.train, options.batch_size, options.seed, epoch)[first : first + count]
        parts = batches[:, world.rank :: world.size].reshape(-1, self.local_batch)
        transform = train_transform(self.image_size, self.data_config, options)
        dataset = Transformed(self.images, transform, options.seed, epoch)
        return iter(load_batches(dataset, parts.tolist(), options.workers, pin_memory=world.device.type == "cuda"))

    def train_step(self, batches: Iterator[tuple[Tensor, Tensor]]) -> dict[str, float]:
        """One fair step and one update, over the parts of a batch and over all ranks.

        Returns:
            Of the step: lr, norm of the gradient, and over the paths mean loss, mean and deviation of top-1 in percent.

        Raises:
            UserError: A loss or the gradient is not finite; nothing was updated.
        """
        self.scheduler.step_update(self.step)
        paths = self.sampler.fair_step()
        losses, hits = (torch.zeros(len(paths), device=self.world.device) for _ in range(2))
        for _ in range(self.options.accumulate):
            part_losses, part_hits = self._add_gradients(paths, *self._move(*next(batches)))
            losses = losses + part_losses / self.options.accumulate
            hits = hits + part_hits
        average(self.net, self.world, losses, hits)
        norm = self._update(paths, losses)
        top1 = 100 * hits.cpu().double().numpy() * self.world.size / self.options.batch_size
        for path, value in zip(paths, top1, strict=True):
            self.tally[np.arange(len(path)), path.choices] += (1, value, value**2)
        lr = self.optimizer.param_groups[0]["lr"]
        spread = {"top1": float(top1.mean()), "top1_std": float(top1.std())}
        return {"lr": lr, "grad_norm": norm, "loss": losses.mean().item(), **spread}

    def _move(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        device = self.world.device
        layout = torch.channels_last if self.options.channels_last else torch.contiguous_format
        return images.to(device, non_blocking=True, memory_format=layout), labels.to(device, non_blocking=True)

    def _add_gradients(self, paths: Sequence[Genotype], images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        def scale(loss: Tensor) -> Tensor:
            return self.scaler.scale(loss / self.options.accumulate)

        precision = autocast(self.options.amp, self.world.device)
        return add_gradients(self.net, paths, images, labels, self.loss, scale, precision)

    def _update(self, paths: Sequence[Genotype], losses: Tensor) -> float:
        """Applies the gradients, unless a loss or they are not finite. Returns their norm before clipping.

        Blocks that no path of the next fair step uses are left untouched by it, as they have no gradients then.
        """
        if bad := (~losses.isfinite()).nonzero().flatten().tolist():
            what = f"loss {losses[bad[0]].item():.4g} of path {bad[0]} ({paths[bad[0]]})"
            raise self.run_folder.diverged(what, self.step + 1)
        if self.options.average_shared:
            for parameter in shared_parameters(self.net):
                if parameter.grad is not None:
                    parameter.grad /= len(paths)
        norm = apply_gradients(
            self.net,
            self.optimizer,
            self.scaler,
            self.options.clip_grad,
            losses.mean(),
            lambda what: self.run_folder.diverged(what, self.step + 1),
        )
        self.step += 1
        return norm

    @torch.inference_mode()
    def evaluate(self) -> dict[str, float]:
        """Mean and deviation of fixed paths' top-1 in percent on held-out images, by batch statistics."""
        options, world = self.options, self.world
        paths = _fixed_paths(self.space, options.eval_paths)
        held = np.random.default_rng(0).permutation(self.split.holdout)[: options.eval_images]
        if not paths or not len(held):
            return {}
        batches = np.array_split(held, -(-len(held) // self.local_batch))[world.rank :: world.size]
        dataset = Transformed(self.images, eval_transform(self.image_size, self.data_config))
        hits = [0.0] * len(paths)
        with batch_statistics(self.net), autocast(options.amp, self.world.device):
            for images, labels in load_batches(dataset, [batch.tolist() for batch in batches], options.workers):
                images, labels = self._move(images, labels)
                features = self.net.stem(images)
                for i, path in enumerate(paths):
                    hits[i] += int((self.net.forward_path(features, path).argmax(1) == labels).sum())
        top1 = 100 * np.array(world.sum(hits)) / len(held)
        return {"holdout_top1": float(top1.mean()), "holdout_top1_std": float(top1.std())}

    def _record_choices(self) -> None:
        """Top-1 of the paths that had each choice since the last time: rows of choices.csv and TensorBoard scalars."""
        if self.choices and self.run_folder.events:
            for layer, choice in zip(*np.nonzero(self.tally[:, :, 0]), strict=True):
                count, total, squares = self.tally[layer, choice]
                mean = float(total / count)
                deviation = max(squares / count - mean**2, 0.0) ** 0.5
                row = {"step": self.step, "layer": layer, "choice": choice, "paths": int(count)}
                self.choices.append({**row, "top1": mean, "top1_std": float(deviation)})
                self.run_folder.events.add_scalar(f"top1_of_choice/layer{layer}_{choice}", mean, self.step)
        self.tally[:] = 0

    def finish(self) -> dict[str, Any]:
        """Writes the supernet on rank 0. Returns where it is, and the figures of the last step."""
        self.run_folder.close()
        options = self.options
        info = SupernetInfo(
            image_size=self.image_size,
            data_config=self.data_config,
            classes=self.images.classes,
            holdout=options.holdout,
            split_seed=options.split_seed,
            split_hash=self.split.hash,
            steps=self.step,
            sampling=options.sampling,
            train_split=options.train_split,
        )
        path = self.run_folder.path
        with self.world.main_first():
            if self.world.is_main:
                path = save_supernet(self.net, self.run_folder.path, info)
                _logger.info("%d fair steps done; the supernet is %s", self.step, path)
        return {"supernet": str(path), "steps": self.step, **self.row}

    def _parts(self) -> dict[str, Any]:
        return {"net": self.net, "optimizer": self.optimizer, "scaler": self.scaler, "sampler": self.sampler}

    def _checkpoint(self) -> None:
        state = {name: part.state_dict() for name, part in self._parts().items()}
        state |= {"space": self.space.to_dict(), "split": self.split.hash, "options": asdict(self.options)}
        self.run_folder.save(self.step, {**state, "tally": torch.from_numpy(self.tally), "row": self.row})
        self.saved = time.monotonic()

    def _restore(self, state: dict[str, Any]) -> None:
        if state["split"] != self.split.hash:
            raise UserError(
                f"{self.run_folder.path} holds out other images: restore its --holdout, --split-seed and data"
            )
        if state["space"] != self.space.to_dict():
            raise UserError(f"{self.run_folder.path} trains another space {self.space.name!r}: restore its --space")
        restore_parts(self._parts(), state)
        self.step, self.tally, self.row = state["step"], state["tally"].numpy(), state["row"]
        _logger.info("resumed at step %d of %d", self.step, self.steps)


def _fixed_paths(space: SearchSpace, count: int) -> list[Genotype]:
    """The first paths of a fair sampler of its own."""
    sampler = FairSampler(space)
    paths: list[Genotype] = []
    while len(paths) < count:
        paths += sampler.fair_step()
    return paths[:count]
