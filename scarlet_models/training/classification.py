"""Training a classifier: the task, and `train_classifier`, which carries it out and exports the network."""

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timm.data import Mixup, resolve_model_data_config
from timm.models import parse_model_name, split_model_name_tag
from timm.models._efficientnet_blocks import InvertedResidual
from timm.task import ClassificationTask
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.utils.data import Dataset

from scarlet_models import networks
from scarlet_models.errors import UserError, as_user_error
from scarlet_models.weights import save as saving
from scarlet_models.weights.inherit import inherit_from
from scarlet_models.weights.source import locate

from .data import LabelledImages
from .device import to_device
from .distillation import Distillation
from .distributed import World, start_training
from .evaluation import accuracy, check_classes, load_network, weights_sha256
from .loading import Transformed
from .optim import autocast, automatic_batch_size
from .options import ClassifierOptions, TrainOptions, from_keywords, sizes
from .run_folder import RunFolder
from .split import fixed_data, record, refuse_mixing, split_holdout, trained_images, write_images
from .task import Scale, Task, move
from .trainer import Trainer
from .transforms import eval_transform, train_transform

_logger = logging.getLogger(__name__)

_LR, _LR_FROM_WEIGHTS = 0.1 / 256, 0.08 / 256  # of each image in a batch
_NO_SUMS = (0.0, 0.0, 0)  # of an epoch: losses times images, images that were right, images
_NOT_EXPORTED = ("drop_rate", "drop_path_rate", "pretrained_cfg_overlay")  # arguments that only training needs


@dataclass(frozen=True)
class Start:
    """The network to train, and what it starts from."""

    network: str  # a name that timm knows, `local-dir:FOLDER`, or a genotype
    pretrained: bool = False  # it starts from its own weights
    inherit: str = ""  # folder or name of another network to inherit from, layer by layer
    space: str = "scarlet"  # of a genotype

    @classmethod
    def of_model(cls, model: str, pretrained: bool = False, inherit: str = "") -> "Start":
        """What a user means by a model: a folder and a name with a tag come with weights."""
        name = locate(model)
        source, known_as = parse_model_name(name)
        pretrained = pretrained or bool(source) or bool(split_model_name_tag(known_as)[1])
        if pretrained and inherit:
            raise UserError(f"{model} has weights of its own: leave --inherit out, or give its plain name")
        return cls(name, pretrained, locate(inherit))

    def __str__(self) -> str:
        own = "its own weights" if self.pretrained else "random weights"
        origin = f"the weights of {self.inherit}, layer by layer" if self.inherit else own
        return f"{self.network} starts from {origin}"


@dataclass(frozen=True)
class TrainResult:
    """What came of a training."""

    folder: Path  # the exported network
    top1: float | None  # in percent on the held-out images; None if there are none
    history: list[dict[str, float]]  # the rows of metrics.csv

    def __repr__(self) -> str:
        top1 = "None" if self.top1 is None else f"{self.top1:.2f}"
        return f"TrainResult({str(self.folder)!r}, top1={top1}, epochs={len(self.history)})"


def train(model: str | Path, data_dir: str | Path = "", **options: Any) -> TrainResult:
    """Fine-tunes or trains any network of timm on a folder of images, and exports it.

    `train("scarlet_a.tiny_in", "my_images", out="runs/mine", epochs=10)` is the command
    `scarlet-models train --model scarlet_a.tiny_in --data-dir my_images --out runs/mine --epochs 10`.

    Args:
        model: A name that timm knows, or a folder that a training exported. A name with a tag and a folder start from
            their weights, a plain name from random ones.
        data_dir: Folder of class folders, or with one such folder for each split.
        options: Other options of the command; `TrainOptions` describes them.

    Raises:
        UserError: A bad option, unreadable data or weights, a full disk, or a loss that is not finite.
    """
    asked = from_keywords(TrainOptions, model=model, data_dir=data_dir, **options)
    with start_training(asked.device, asked.threads) as world:
        return train_by_options(asked, world)


def train_by_options(options: TrainOptions, world: World) -> TrainResult:
    """`train` with its options in one object."""
    start = Start.of_model(options.model, options.pretrained, options.inherit)
    lesson = Distillation(locate(options.teacher), options.distill_alpha, options.distill_temperature)
    return train_classifier(options, start, world, "scarlet-models train", lesson if options.teacher else None)


def train_classifier(
    options: ClassifierOptions, start: Start, world: World, command: str, distillation: Distillation | None = None
) -> TrainResult:
    """Trains to the end, by a command as a user types it, and exports the network."""
    task = Classification(options, start, world, distillation)
    trainer = Trainer(task, command)
    trainer.run()
    folder = trainer.folder.exported
    with world.main_first():
        if world.is_main:
            task.export(folder, trainer.row)
    top1 = max(_held_out_top1(trainer.row).values(), default=None)
    return TrainResult(folder, top1, world.broadcast(trainer.folder.history()))


class Classification(Task):
    """Images of classes and a network that tells them apart, with a moving average of its weights."""

    def __init__(
        self, options: ClassifierOptions, start: Start, world: World, distillation: Distillation | None = None
    ) -> None:
        super().__init__(options, world)
        with world.main_first():
            self.images = LabelledImages(options, options.train_split)
        self.split = split_holdout(self.images.ids, self.images.labels, options.holdout, options.split_seed)
        for source in (start.network, start.inherit, distillation.teacher if distillation else ""):
            refuse_mixing(source, self.split, self.images)
        batch = options.batch_size or automatic_batch_size(len(self.split.train), world.size * options.accumulate)
        rate = _LR_FROM_WEIGHTS if start.pretrained or start.inherit else _LR
        self.options = options = dataclasses.replace(options, batch_size=batch, lr=options.lr or rate * batch)
        self.plan(self.split.train, options.epochs)
        self._build(options, start)
        self.kept = {"sums": _NO_SUMS}
        self.parts = {"ema": self.ema.module} if self.ema else {}
        self.fixed = fixed_data(self.split, self.images, options.out)
        loss = nn.CrossEntropyLoss(label_smoothing=options.label_smoothing)
        self.learner: nn.Module = ClassificationTask(self.model, criterion=loss, device=world.device, verbose=False)
        if distillation:
            model = load_network(distillation.teacher).requires_grad_(False)
            check_classes(distillation.teacher, model, self.images, options.dataset)
            self._check_network(distillation.teacher, model)
            advice = "learnt from another teacher: restore its --teacher"
            self.fixed["teacher"] = weights_sha256(distillation.teacher, model), advice
            self.learner = distillation.task(self.model, model, loss, world.device)
            _logger.info("%s teaches it, with a weight of %g", distillation.teacher, distillation.alpha)

    def _build(self, options: ClassifierOptions, start: Start) -> None:
        classes = len(self.images.classes)
        torch.manual_seed(options.seed)
        self.model = networks.create(
            start.network, start.space, start.pretrained, num_classes=classes, **options.model_args
        )
        self.data_config = _data_config(self.model, options)
        own_size = int(self.data_config["input_size"][-1])
        self.sizes = [size or own_size for size in sizes(options.image_size, options.epochs)]
        self._check_network(start.network, self.model)
        if start.inherit:
            inherit_from(self.model, start.network, start.space, start.inherit)
        elif options.zero_init and not start.pretrained:
            silence_branches(self.model)
        cfg: Any = self.model.pretrained_cfg
        is_new = start.pretrained and cfg.get("num_classes") != classes
        _logger.info("%s%s", start, f", with a new classifier for {classes} classes" if is_new else "")
        to_device(self.model, self.world.device)
        self.dataset(0)  # here a bad policy costs nothing yet
        self.ema = ModelEmaV3(self.model, decay=options.ema_decay, use_warmup=True) if options.ema_decay else None
        mixes = options.mixup or options.cutmix
        if mixes and self.local_batch % 2:
            raise UserError(f"--mixup and --cutmix need an even number of images a part, not {self.local_batch}")
        self.mixup = Mixup(options.mixup, options.cutmix, label_smoothing=0.0, num_classes=classes) if mixes else None

    def _check_network(self, name: str, model: nn.Module) -> None:
        """Shows a network a black image of each size."""
        model.eval()
        kinds = RuntimeError, AssertionError, TypeError, ValueError
        with as_user_error(f"{name} cannot see such images", *kinds), torch.no_grad():
            for size in set(self.sizes):
                logits = model(torch.zeros(1, 3, size, size))
                if getattr(logits, "shape", None) != (1, len(self.images.classes)):
                    raise ValueError("it does not give each class a score")

    def open(self, folder: RunFolder, step: int) -> None:
        """Writes down what images the run is about."""
        if self.world.is_main and not step:
            write_images(self.images, folder.path)

    def dataset(self, epoch: int) -> Dataset[Any]:
        """The images of an epoch, augmented, at its size."""
        transform = train_transform(self.sizes[epoch], self.data_config, self.options, self.options.auto_augment)
        return Transformed(self.images, transform, self.options.seed, epoch)

    def add_gradients(self, batch: tuple[Tensor, Tensor], scale: Scale) -> dict[str, Tensor]:
        """Of the mean loss. Also counts the images whose own label, not a mixed one, scores highest."""
        images, labels = move(batch, self.world.device)
        images, targets = self.mixup(images, labels) if self.mixup else (images, labels)
        with autocast(self.options.amp, self.world.device):
            results = self.learner(images, targets)
        scale(results["loss"]).backward()
        correct = (results["output"].argmax(1) == labels).sum()
        return {"loss": results["loss"].detach() / self.options.accumulate, "correct": correct.float()}

    def end_step(self, step: int) -> None:
        if self.ema:
            self.ema.update(self.model, step=step)

    def take_in(self, step: int, figures: dict[str, Tensor]) -> dict[str, float]:
        loss, correct, images = self.kept["sums"]
        batch, right = self.options.batch_size, figures["correct"].item() * self.world.size
        self.kept["sums"] = loss + figures["loss"].item() * batch, correct + right, images + batch
        return {}

    def measure(self, epoch: int) -> dict[str, float]:
        """Training figures of the epoch, and top-1 in percent on the held-out images."""
        size = self.sizes[epoch]
        (loss, correct, images), self.kept["sums"] = self.kept["sums"], _NO_SUMS
        results = {"image_size": size, "train_loss": loss / images, "train_top1": 100 * correct / images}
        held = Transformed(self.images, eval_transform(size, self.data_config))
        models = {"holdout_top1": self.model} | ({"ema_holdout_top1": self.ema.module} if self.ema else {})
        for name, model in models.items() if self.split.holdout else ():
            results[name] = accuracy(model, held, self.split.holdout, self.world, self.options.workers)["top1"]
        return results

    def export(self, folder: Path, row: Mapping[str, float]) -> None:
        """Writes the moving average of the weights, or the last weights if they do better on the held-out images."""
        known = _held_out_top1(row)
        use_ema = self.ema is not None and known.get("ema_holdout_top1", 0) >= known.get("holdout_top1", 0)
        arguments = {key: value for key, value in self.options.model_args.items() if key not in _NOT_EXPORTED}
        best = self.ema.module if self.ema and use_ema else self.model
        seen, notes = trained_images(self.split, self.images), record(self.split, self.images)
        saving.save(best, folder, arguments, self.data_config, self.images.classes, more=seen, notes=notes)
        _logger.info("exported the %s to %s", "moving average" if use_ema else "last weights", folder)


def silence_branches(model: nn.Module) -> None:
    """Sets the last batch norm's scale of every block with a shortcut to zero (Goyal et al., arXiv 1706.02677)."""
    for block in model.modules():
        if isinstance(block, InvertedResidual) and block.has_skip:
            nn.init.zeros_(block.bn3.weight)


def _held_out_top1(row: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name.endswith("holdout_top1")}


def _data_config(model: nn.Module, options: ClassifierOptions) -> dict[str, Any]:
    """timm's data config of the network that will be exported."""
    last = sizes(options.image_size, options.epochs)[-1]
    wanted = {"crop_pct": options.crop_pct or None, "input_size": (3, last, last) if last else None}
    config: dict[str, Any] = resolve_model_data_config(model, args=wanted)
    try:
        eval_transform(config["input_size"][-1], config)
    except KeyError as error:
        raise UserError(f"interpolation {error} is unknown; it is bilinear, bicubic, ...") from error
    return config
