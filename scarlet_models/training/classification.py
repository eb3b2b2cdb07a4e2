"""Trains one network on any data set that timm reads, from scratch or from weights, and exports it.

One process a GPU or CPU: start it plainly, or with torchrun. Killed at any moment, --resume goes on to the same result.
"""

from __future__ import annotations

import itertools
import json
import logging
import pickle
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import timm
import torch
from timm.data import Mixup, resolve_model_data_config
from timm.models import load_state_dict
from timm.models._efficientnet_blocks import InvertedResidual
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from scarlet_models import Genotype
from scarlet_models.errors import UserError, first_line
from scarlet_models.files import sha256_of
from scarlet_models.networks import MISTAKES
from scarlet_models.options import option
from scarlet_models.weights import save as saving
from scarlet_models.weights.inherit import inherit_from

from . import distributed
from .checkpoint import restore_parts
from .data import LabelledImages, check_test_split
from .device import to_device
from .distributed import World
from .environment import describe_environment
from .loading import Transformed, epoch_batches, load_batches, mix_seed, shard
from .optim import apply_gradients, autocast, average, local_batch, make_optimizer, make_scheduler
from .options import AugmentOptions, DataOptions, OptimizerOptions, RunOptions
from .progress import Progress
from .run_folder import RunFolder
from .split import Split, read_record, record, refuse_mixing, split_holdout
from .transforms import eval_transform, train_transform

EXAMPLE = """  scarlet-search retrain --config cifar10_cpu --data-dir cifar10 --model scarlet_a --out runs/a
  scarlet-search retrain --config runs/a/config.yaml --resume
  scarlet-search retrain --config runs/a/config.yaml --resume --final
  scarlet-search retrain --evaluate scarlet_a.c10 --final --data-dir cifar10 --test-split test --json
  torchrun --nproc-per-node 8 -m scarlet_models.search retrain --config imagenet_mnasnet --data-dir imagenet"""

_logger = logging.getLogger(__name__)


@dataclass
class Options(OptimizerOptions, AugmentOptions, DataOptions, RunOptions):  # fields: last base first
    """Options of retrain.

    Args:
        model: timm's name of a network; ignored where a genotype is given.
        genotype: Choice indices, comma-separated, of a network of the space.
        space: Search space of the genotype: a name or a YAML file.
        model_args: More arguments for timm.create_model.
        weights: Start from these: "pretrained" for the model's own, a file, or a folder that retrain exported.
        inherit: Start from another trained network of the space, layer by layer: a folder that retrain exported, or
            timm's name of a network that has weights.
        name: Name of the exported folder; empty for the name of --out.
        epochs: How often to see every training image.
        image_size: Side of the images in pixels; 0 for the model's own.
        phases: Progressive image size: [[epochs, size], ...] instead of epochs and image_size. The last is exported.
        decay_epochs: Epochs between the drops of schedule "step".
        decay_rate: Factor of each drop of schedule "step".
        zero_init: From scratch, start every residual branch at zero, so that training begins with a shallow network.
        label_smoothing: Share of the target spread over all classes.
        mixup: Alpha of mixup; 0 for none.
        cutmix: Alpha of cutmix; 0 for none.
        drop_rate: Dropout before the classifier.
        drop_path_rate: Stochastic depth.
        ema_decay: Of the moving average of the weights; 0 for none.
        ema_warmup: Let the decay rise to ema_decay as training goes on.
        channels_last: Memory layout of images and convolutions.
        fast_depthwise: Faster depthwise gradients on a CPU, equal up to rounding.
        interpolation: Of resizing in evaluation; empty for the model's own.
        crop_pct: Share of the resized image that evaluation looks at; 0 for the model's own.
        half: Export float16 weights.
        final: Afterwards score the exported network on the test split, once, and write final.json. A run that begins
            with it keeps it in config.yaml: leave it out of what starts from that file with --no-final.
        evaluate: Train nothing; score this network on the held-out images, or on the test split with --final: an
            exported folder, or timm's name of a network that has weights. Its own image size and transform hold;
            options of the network, of its images and of training count for nothing.
    """

    model: str = "scarlet_a"
    genotype: str = ""
    space: str = "scarlet"
    model_args: dict[str, Any] = field(default_factory=dict)
    weights: str = ""
    inherit: str = ""
    name: str = option("", free=True)
    epochs: int = 100
    image_size: int = option(0, least=0)
    phases: list[tuple[int, int]] = option([], least=0)
    warmup_epochs: float = option(1.0, least=0)
    decay_epochs: float = option(2.4, least=0.001)
    decay_rate: float = option(0.97, least=0)
    zero_init: bool = False
    label_smoothing: float = option(0.1, least=0, most=1)
    mixup: float = option(0.0, least=0)
    cutmix: float = option(0.0, least=0)
    drop_rate: float = option(0.0, least=0, most=1)
    drop_path_rate: float = option(0.0, least=0, most=1)
    ema_decay: float = option(0.9998, least=0, most=1)
    ema_warmup: bool = True
    channels_last: bool = False
    fast_depthwise: bool = True
    interpolation: str = ""
    crop_pct: float = option(0.0, least=0, most=1)
    half: bool = False
    final: bool = option(False, free=True)
    evaluate: str = ""


def main(options: Options) -> None:
    """Trains and exports, or only scores, as the options say.

    Raises:
        UserError: A bad option, unreadable data or weights, a full disk, a loss that is not finite.
    """
    with distributed.start_training(options.device, options.threads) as world:
        report = score(options, options.evaluate, world) if options.evaluate else retrain(options, world)
        if world.is_main and options.json:
            print(json.dumps(report))


def retrain(options: Options, world: World) -> dict[str, Any]:
    """Trains to the end, exports, and scores the export under --final. Returns what it measured."""
    training = Training(options, world)
    training.run()
    folder = training.run_folder.exported
    with world.main_first():
        if world.is_main:
            training.export(folder)
    report: dict[str, Any] = {"exported": str(folder), **training.results}
    if options.final:
        report["final"] = _score_once(options, folder, training.run_folder, world)
    return report


class Training:
    """A run: the network, what trains it, and how far it is.

    Randomness is no part of the state: every step and every image seeds its own from the seed and its number.
    """

    def __init__(self, options: Options, world: World) -> None:
        self.options, self.world = options, world
        self.phases = options.phases or [(options.epochs, options.image_size)]
        self.local_batch = local_batch(options, world.size)
        with world.main_first():
            self.images = LabelledImages(options, options.train_split)
            if options.final:
                check_test_split(options, self.images)
        self.split = split_holdout(self.images.ids, self.images.labels, options.holdout, options.split_seed)
        weights = options.model if options.weights == "pretrained" else options.weights
        for source in (weights, options.inherit):
            refuse_mixing(source, self.split)
        self.epochs = sum(count for count, _ in self.phases)
        self.steps_per_epoch = len(self.split.train) // options.batch_size
        if self.steps_per_epoch < 1 or self.epochs < 1:
            raise UserError(
                f"nothing to train: {self.epochs} epochs of {len(self.split.train)} images in batches of "
                f"{options.batch_size}; change --epochs, --phases or --batch-size"
            )
        self._build()
        self.run_folder = RunFolder(options, world)
        self.step = 0
        self.sums = {"loss": 0.0, "correct": 0.0, "images": 0}  # of the epoch so far
        self.results: dict[str, float] = {}  # of the last whole epoch
        self.saved = time.monotonic()
        if state := self.run_folder.take_state():
            self._restore(state)

    def _build(self) -> None:
        options, device = self.options, self.world.device
        torch.manual_seed(options.seed)
        self.model, self.model_args = build_model(options, len(self.images.classes))
        self.data_config = _data_config(self.model, options, self.phases[-1][1])
        self._check_network()
        fill_model(self.model, options)
        to_device(self.model, device, options.channels_last, options.fast_depthwise)
        train_transform(self._image_size(0), self.data_config, options)  # here a bad policy costs nothing yet
        self.ema = None
        if options.ema_decay:
            self.ema = ModelEmaV3(self.model, decay=options.ema_decay, use_warmup=options.ema_warmup)
        self.optimizer = make_optimizer(self.model, options)
        drops = {"decay_epochs": options.decay_epochs, "decay_rate": options.decay_rate}
        self.scheduler = make_scheduler(
            self.optimizer, options, self.epochs, self.steps_per_epoch, options.warmup_epochs, **drops
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=options.amp == "fp16")
        self.loss = nn.CrossEntropyLoss(label_smoothing=options.label_smoothing)
        self.mixup = None
        if options.mixup or options.cutmix:
            if self.local_batch % 2:
                raise UserError(f"--mixup and --cutmix need an even number of images a part, not {self.local_batch}")
            classes = len(self.images.classes)
            self.mixup = Mixup(options.mixup, options.cutmix, label_smoothing=0.0, num_classes=classes)

    def _check_network(self) -> None:
        """Shows the network a black image of each size.

        Raises:
            UserError: It takes images of one size only or of other channels, or gives something else than scores.
        """
        self.model.eval()
        try:
            with torch.no_grad():
                for size in {self._size(size) for _, size in self.phases}:
                    logits = self.model(torch.zeros(1, 3, size, size))
                    if getattr(logits, "shape", None) != (1, len(self.images.classes)):
                        raise ValueError("it does not give each class a score")
        except (RuntimeError, AssertionError, TypeError, ValueError) as error:
            name = self.options.genotype or self.options.model
            raise UserError(f"{name} cannot see such images: {first_line(error)}") from error

    def run(self) -> None:
        """All epochs that remain."""
        total = self.epochs * self.steps_per_epoch
        with Progress(total, self.step, self.run_folder.path.name, quiet=not self.world.is_main) as progress:
            while self.step < total:
                epoch = self.step // self.steps_per_epoch
                size = self._image_size(epoch)
                speed = self._train_epoch(epoch, size, progress)
                self.results = self._measure(size)
                row = {"epoch": epoch + 1, "image_size": size, "lr": self.optimizer.param_groups[0]["lr"]}
                self.run_folder.record(self.step, {**row, **self.results, "images_per_second": round(speed, 1)})
                self.sums = dict.fromkeys(self.sums, 0)
                self._checkpoint()
                figures = "  ".join(f"{key} {value:.3f}" for key, value in self.results.items())
                _logger.info("epoch %d/%d  %s  %.0f images/s", epoch + 1, self.epochs, figures, speed)
        self.run_folder.close()

    def _train_epoch(self, epoch: int, size: int, progress: Progress) -> float:
        """The steps of an epoch that remain. Returns images per second."""
        options, world = self.options, self.world
        first = self.step % self.steps_per_epoch
        batches = epoch_batches(self.split.train, options.batch_size, options.seed, epoch)[first:]
        parts = batches[:, world.rank :: world.size].reshape(-1, self.local_batch)
        transform = train_transform(size, self.data_config, options)
        dataset = Transformed(self.images, transform, options.seed, epoch)
        loader = iter(load_batches(dataset, parts.tolist(), options.workers, pin_memory=world.device.type == "cuda"))
        started = time.monotonic()
        for _ in range(len(batches)):
            loss = self._train_step(loader)
            progress.advance(f"epoch {epoch + 1}/{self.epochs}  loss {loss:.3f}")
            within = self.step % self.steps_per_epoch  # the end of an epoch is saved once its figures are recorded
            if within and time.monotonic() - self.saved > 60 * options.checkpoint_minutes:
                self._checkpoint()
        return len(batches) * options.batch_size / (time.monotonic() - started)

    def _train_step(self, loader: Iterator[tuple[Tensor, Tensor]]) -> float:
        """One optimizer step, over the parts of a batch and over all ranks. Returns the loss before it."""
        options, world = self.options, self.world
        self.scheduler.step_update(self.step)
        seed = mix_seed(options.seed, self.step, world.rank)
        torch.manual_seed(seed)  # dropout and stochastic depth
        np.random.seed(seed & 0xFFFFFFFF)  # mixup
        self.model.train()
        loss, correct = torch.zeros((), device=world.device), torch.zeros((), device=world.device)
        for _ in range(options.accumulate):
            part_loss, part_correct = self._forward(*next(loader))
            self.scaler.scale(part_loss / options.accumulate).backward()
            loss += part_loss.detach() / options.accumulate
            correct += part_correct
        average(self.model, world, loss, correct)
        self._update(loss)
        self.sums["loss"] += loss.item() * options.batch_size
        self.sums["correct"] += correct.item() * world.size
        self.sums["images"] += options.batch_size
        return loss.item()

    def _forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss, and how many of the (unmixed) labels are met."""
        images = images.to(self.world.device, non_blocking=True)
        labels = labels.to(self.world.device, non_blocking=True)
        if self.options.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        targets = labels
        if self.mixup:
            images, targets = self.mixup(images, labels)
        with autocast(self.options.amp, self.world.device):
            logits = self.model(images)
            return self.loss(logits, targets), (logits.argmax(1) == labels).sum()

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
        if self.ema:
            self.ema.update(self.model, step=self.step)

    def _measure(self, size: int) -> dict[str, float]:
        """Training figures of the epoch, and top-1 in percent on the held-out images."""
        results = {
            "train_loss": self.sums["loss"] / self.sums["images"],
            "train_top1": 100 * self.sums["correct"] / self.sums["images"],
        }
        held = Transformed(self.images, eval_transform(size, self.data_config))
        networks = {"holdout_top1": self.model} | ({"ema_holdout_top1": self.ema.module} if self.ema else {})
        if self.split.holdout:
            for name, network in networks.items():
                results[name] = evaluate(network, held, self.split.holdout, self.options, self.world)["top1"]
        return results

    def export(self, folder: Path) -> None:
        """Writes the moving average of the weights, or the last weights if they do better on the held-out images."""
        use_ema = self.ema and self.results.get("ema_holdout_top1", 0) >= self.results.get("holdout_top1", 0)
        network = self.ema.module if self.ema and use_ema else self.model
        saving.save(
            network,
            folder,
            self.model_args,
            self.data_config,
            self.images.classes,
            self.options.half,
            notes=record(self.split),
        )
        _logger.info("exported the %s to %s", "moving average" if use_ema else "last weights", folder)

    def _image_size(self, epoch: int) -> int:
        ends = itertools.accumulate(count for count, _ in self.phases)
        return self._size(next(size for end, (_, size) in zip(ends, self.phases, strict=True) if epoch < end))

    def _size(self, size: int) -> int:
        return size or int(self.data_config["input_size"][-1])

    def _parts(self) -> dict[str, Any]:
        parts = {"model": self.model, "optimizer": self.optimizer, "scaler": self.scaler}
        return parts | ({"ema": self.ema.module} if self.ema else {})

    def _checkpoint(self) -> None:
        state = {name: part.state_dict() for name, part in self._parts().items()}
        self.run_folder.save(self.step, {**state, "sums": self.sums, "results": self.results, "split": self.split.hash})
        self.saved = time.monotonic()

    def _restore(self, state: dict[str, Any]) -> None:
        if state["split"] != self.split.hash:
            raise UserError(
                f"{self.run_folder.path} holds out other images: restore its --holdout, --split-seed and data"
            )
        restore_parts(self._parts(), state)
        self.step, self.sums, self.results = state["step"], state["sums"], state["results"]
        _logger.info("resumed at step %d of %d", self.step, self.epochs * self.steps_per_epoch)


def build_model(options: Options, num_classes: int) -> tuple[nn.Module, dict[str, Any]]:
    """The network to train, and what create_model needs besides its name to build it again.

    Raises:
        UserError: There is no such network, or the options name two kinds of first weights.
    """
    if options.weights and options.inherit:
        raise UserError("--weights and --inherit both say where to start: leave one out")
    name, arguments = options.model, dict(options.model_args)
    if options.genotype:
        genotype = Genotype.parse(options.genotype, options.space)
        name, arguments = "scarlet_net", arguments | {"genotype": str(genotype), "space": genotype.space.to_dict()}
    try:
        model = timm.create_model(
            name,
            pretrained=options.weights == "pretrained",
            num_classes=num_classes,
            drop_rate=options.drop_rate or None,
            drop_path_rate=options.drop_path_rate or None,
            **arguments,
        )
    except MISTAKES as error:
        raise UserError(f"cannot build {name}: {first_line(error)}") from error
    return model, arguments


def fill_model(model: nn.Module, options: Options) -> None:
    """Gives a network that create_model has built the first weights that the options name.

    Raises:
        UserError: The weights are absent, damaged, or of another network.
    """
    if options.weights not in ("", "pretrained"):
        load_weights(model, Path(options.weights))
    elif options.inherit:
        inherit_from(model, options.genotype or options.model, options.space, options.inherit)
    elif options.zero_init and not options.weights:
        silence_branches(model)


def silence_branches(model: nn.Module) -> None:
    """Sets the last batch norm's scale of every block with a shortcut to zero (Goyal et al., arXiv 1706.02677)."""
    for block in model.modules():
        if isinstance(block, InvertedResidual) and block.has_skip:
            nn.init.zeros_(block.bn3.weight)


def load_weights(model: nn.Module, path: Path) -> None:
    """Fills the model from a file of weights or an exported folder; a classifier of another size starts anew.

    Raises:
        UserError: The file is absent, damaged, or of another network.
    """
    file = path / saving.WEIGHTS if path.is_dir() else path
    try:
        if not file.is_file():
            raise FileNotFoundError("there is no such file")
        state = load_state_dict(str(file), weights_only=True)
    except (OSError, RuntimeError, KeyError, EOFError, pickle.UnpicklingError, safetensors.SafetensorError) as error:
        raise UserError(f"--weights {path}: {first_line(error)}") from error
    own = model.state_dict()
    head = model.get_classifier()  # type: ignore[operator]  # every timm model has it, nn.Module does not
    names = [name for name, module in model.named_modules() if module is head]
    head_keys = {f"{name}.{key}" for name in names for key in head.state_dict()}
    wrong = {key for key in own.keys() | state.keys() if _shape(own, key) != _shape(state, key)}
    if wrong - head_keys:
        count, first = len(wrong - head_keys), min(wrong - head_keys)
        raise UserError(f"--weights {path} is of another network: {count} tensors do not fit, {first} for one")
    model.load_state_dict({key: tensor for key, tensor in state.items() if key not in wrong}, strict=False)
    if wrong:
        _logger.info("the classifier of %s has other classes; a new one is trained", path)


def _shape(state: dict[str, Tensor], key: str) -> torch.Size | None:
    return state[key].shape if key in state else None


def _data_config(model: nn.Module, options: Options, size: int) -> dict[str, Any]:
    """timm's data config of the network that will be exported."""
    wanted: dict[str, Any] = {"interpolation": options.interpolation, "crop_pct": options.crop_pct}
    if size:
        wanted["input_size"] = (3, size, size)
    config: dict[str, Any] = resolve_model_data_config(model, args={k: v for k, v in wanted.items() if v})
    try:
        eval_transform(config["input_size"][-1], config)
    except KeyError as error:
        raise UserError(f"--interpolation {error} is unknown; it is bilinear, bicubic, ...") from error
    return config


@torch.inference_mode()
def evaluate(
    model: nn.Module, dataset: Transformed, indices: Sequence[int], options: Options, world: World
) -> dict[str, float]:
    """Top-1 and top-5 in percent over these images, shared among the ranks with none left out, and their number."""
    model.eval()
    top1 = top5 = count = 0
    for images, labels in load_batches(dataset, shard(indices, world.rank, world.size, 250), options.workers):
        if options.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        logits = model(images.to(world.device))
        hits = logits.topk(min(5, logits.shape[1])).indices == labels.to(world.device)[:, None]
        top1 += int(hits[:, 0].sum())
        top5 += int(hits.any(1).sum())
        count += len(labels)
    top1_sum, top5_sum, total = world.sum([top1, top5, count])
    return {"top1": 100 * top1_sum / total, "top5": 100 * top5_sum / total, "images": int(total)}


def score(options: Options, source: str, world: World) -> dict[str, Any]:
    """What a network reaches on the held-out images, or on the test split under --final.

    Args:
        options: Where the images are, and how to run.
        source: An exported folder, or timm's name of a network that has weights.
        world: The processes that share the work.

    Raises:
        UserError: There is no such network, the data has other classes, or nothing is held out.
    """
    model = saving.load(source) if Path(source).is_dir() else _with_own_weights(source)
    model.to(world.device)
    data_config = resolve_model_data_config(model)
    if (channels := data_config["input_size"][0]) != 3:
        raise UserError(f"{source} takes images of {channels} channels, and those of the data have 3")
    split = options.test_split if options.final else options.train_split
    images = LabelledImages(options, split)
    _check_classes(source, model, images, options.dataset)
    indices: Sequence[int] = range(len(images))
    if not options.final:
        held = split_holdout(images.ids, images.labels, options.holdout, options.split_seed)
        indices = _held_out_of(source, held)
    dataset = Transformed(images, eval_transform(data_config["input_size"][-1], data_config))
    report = {
        "network": source,
        "split": split if options.final else f"holdout of {split}",
        **evaluate(model, dataset, indices, options, world),
        "weights_sha256": _weights_sha256(source, model),
        "command": shlex.join(sys.argv),
        "seed": options.seed,
        "machine": describe_environment(options.workers, world),
    }
    _logger.info("%s: top-1 %.2f%%, top-5 %.2f%% of %d images (%s)", source, *_figures(report))
    return report


def _held_out_of(source: str, held: Split) -> list[int]:
    """The held-out images, which the network must not have been trained on.

    Raises:
        UserError: there are none, or it was.
    """
    if not held.holdout:
        raise UserError("--holdout 0 leaves no images to score on; give a share, or --final for the test split")
    kept = read_record(source)
    if not kept:
        _logger.warning("it is not on record which images %s was trained on: these may be among them", source)
    elif kept["held_out"] != held.hash:
        raise UserError(
            f"{source} held out other images: give the data, --holdout and --split-seed of its training, or --final"
        )
    return held.holdout


def _check_classes(source: str, model: Any, images: LabelledImages, dataset: str) -> None:
    """Compares numbers of classes, and in folders and tars names: a named data set may call the same ones otherwise.

    Raises:
        UserError: they differ.
    """
    known, there = list(model.pretrained_cfg.get("label_names") or ()), images.classes
    if len(there) != model.num_classes:
        raise UserError(f"{source} knows {model.num_classes} classes, the data has {len(there)}")
    if dataset or any(all(map(str.isdigit, names)) for names in (known, there)):  # numbers stand for unknown names
        return
    for ours, theirs in zip(known, there, strict=False):
        if ours != theirs:
            raise UserError(
                f"{source} knows other classes, or in another order: {ours!r} where the data has {theirs!r}; if only "
                "the names differ, rename the folders"
            )


def _with_own_weights(name: str) -> nn.Module:
    try:
        model: nn.Module = timm.create_model(name, pretrained=True)
    except MISTAKES as error:
        reason = first_line(error)
        raise UserError(f"{name} is neither an exported folder nor a network with weights: {reason}") from error
    return model


def _weights_sha256(source: str, model: Any) -> str:
    """Of the file that the weights came from, where it is known."""
    file = Path(source) / saving.WEIGHTS if Path(source).is_dir() else Path(model.pretrained_cfg.get("file") or "")
    return sha256_of(file) if file.is_file() else ""


def _figures(report: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(report[key] for key in ("top1", "top5", "images", "split"))


def _score_once(options: Options, folder: Path, run: RunFolder, world: World) -> dict[str, Any]:
    """The test figures in final.json, measured unless they are there for these very weights."""
    path = run.path / "final.json"
    if path.exists():
        known: dict[str, Any] = json.loads(path.read_text())
        if known["weights_sha256"] == sha256_of(folder / saving.WEIGHTS):
            return known
    report = score(options, str(folder), world)
    run.write_json("final.json", report)
    return report
