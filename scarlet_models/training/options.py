"""Options that trainings share. Imports no torch."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal, TypeVar

from scarlet_models.errors import UserError
from scarlet_models.options import DeviceOptions, Ranged, option

T = TypeVar("T")

# One for each core; more than eight rarely help.
WORKERS = max(1, min(8, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))


def from_keywords(kind: type[T], **options: Any) -> T:
    """An options dataclass from keyword arguments, in which a path may stand for its text."""
    return kind(**{name: str(value) if isinstance(value, PurePath) else value for name, value in options.items()})


@dataclass
class RunOptions(DeviceOptions):
    """Where a run is kept, and how it goes on.

    Args:
        out: Folder of the run, such as runs/NAME.
        resume: Go on from the newest checkpoint in the folder; start anew if there is none yet.
        allow_drift: Resume although options or the environment changed; the result will differ.
        seed: Seed of everything random except the hold-out split.
        checkpoint_minutes: Longest time between checkpoints; each epoch also ends with one.
    """

    out: str = option("runs/train", free=True)
    resume: bool = option(False, once=True)
    allow_drift: bool = option(False, once=True)
    seed: int = option(0, least=0, most=2**63 - 1)
    checkpoint_minutes: float = option(5.0, least=0, free=True)


@dataclass
class TrainData(Ranged):
    """Where training images come from, and which of them are held out.

    Args:
        data_dir: Folder of class folders, or with one such folder for each split; tar of one split; or the place of
            the named data set, which is downloaded to there if the place does not exist.
        dataset: timm's name of a data set (torch/cifar10, hfds/ORG/NAME, ...); empty for a folder or tar.
        train_split: Split to train on: a folder or tar in data_dir, or the named data set's.
        skip_broken: Leave out images that cannot be read instead of refusing them.
        holdout: Share of every class of the training split that is held out, to choose by.
        split_seed: Seed of the hold-out split; all commands of one search must use the same.
        workers: Threads or processes that prepare images, up to 8 by default; 0 does it in the main process.
    """

    data_dir: str = option("", free=True)
    dataset: str = ""
    train_split: str = "train"
    skip_broken: bool = False
    holdout: float = 0.1
    split_seed: int = 0
    workers: int = option(WORKERS, least=0, free=True)


@dataclass
class DataOptions(TrainData):
    """The same with a test split.

    Args:
        test_split: Split to score once, under --final only.
    """

    test_split: str = "validation"


@dataclass
class CropOptions(Ranged):
    """How training images are varied.

    Args:
        crop: Smallest and largest share of the area that a random resized crop takes; or "pad", which resizes, pads by
            an eighth and crops.
        hflip: Probability of a horizontal flip.
        color_jitter: Strength of brightness, contrast and saturation changes; 0 for none, unused with auto_augment.
    """

    crop: Literal["pad"] | tuple[float, float] = option((0.08, 1.0), least=0.0001, most=1, ascending=True)
    hflip: float = option(0.5, least=0, most=1)
    color_jitter: float = option(0.4, least=0)


@dataclass
class OptimizerOptions(Ranged):
    """How a step updates the weights.

    Args:
        batch_size: Images of an update, over all processes and accumulated parts.
        accumulate: Parts in which each process works through its share of a batch.
        opt: timm's name of an optimizer; momentum is SGD without Nesterov's.
        lr: Peak learning rate, after warm-up.
        weight_decay: Weight decay of weights; biases and norms have none.
        opt_args: More arguments for the optimizer, such as {momentum: 0.9} (its default where there is one).
        warmup_epochs: Epochs in which the learning rate rises linearly to its peak.
        clip_grad: Largest norm of the gradient; 0 for no limit.
        amp: Reduced precision. "auto" is bf16 where it is faster, and none elsewhere; a run that resumes keeps its own.
    """

    batch_size: int = option(256, least=1)
    accumulate: int = option(1, least=1)
    opt: str = "sgd"
    lr: float = option(0.1, least=0)
    weight_decay: float = option(4e-05, least=0)
    opt_args: dict[str, Any] = option({})
    warmup_epochs: float = option(0.0, least=0)
    clip_grad: float = option(0.0, least=0)
    amp: Literal["auto", "none", "bf16", "fp16"] = "auto"


@dataclass
class ScheduleOptions(OptimizerOptions):
    """How the learning rate falls.

    Args:
        sched: timm's name of a schedule; it steps with every update.
        sched_args: More arguments for the schedule, lengths in epochs: warmup_lr (0.0001), min_lr (0), decay_epochs and
            decay_rate of "step", decay_milestones and decay_rate of "multistep", ...
    """

    sched: str = "cosine"
    sched_args: dict[str, Any] = option({})


@dataclass
class ClassifierOptions(ScheduleOptions, CropOptions, TrainData, RunOptions):  # fields: last base first
    """How a classifier is trained.

    Args:
        batch_size: Images of an update, over all processes and accumulated parts. 0 is a power of two from 16 to 256
            that gives an epoch 32 updates if it can.
        lr: Peak learning rate, after warm-up. 0 is 0.1 for every 256 images of a batch, and 0.08 from trained weights.
        model_args: More arguments for timm.create_model, such as {drop_rate: 0.2, drop_path_rate: 0.1}.
        epochs: Passes over the training images.
        image_size: Side of the images in pixels, 0 for the model's own; or a list of [EPOCH, SIZE], the size from each
            epoch on, such as [[0, 48], [3, 64]]. The last is exported.
        crop_pct: Share of the resized image that evaluation looks at; 0 for the model's own.
        auto_augment: timm's policy string (v0, rand-m9-mstd0.5, augmix-m3-w3, ...); empty for none.
        zero_init: From random weights, start every residual branch at zero, as a shallow network.
        label_smoothing: Share of the target that is spread over all classes.
        mixup: Alpha of mixup; 0 for none.
        cutmix: Alpha of cutmix; 0 for none.
        ema_decay: Decay of the moving average of the weights, rising to it as training goes on; 0 for no average.
    """

    batch_size: int = option(0, least=0)
    lr: float = option(0.0, least=0)
    model_args: dict[str, Any] = option({})
    epochs: int = option(100, least=0)
    image_size: int | list[tuple[int, int]] = option(0, least=0)
    warmup_epochs: float = option(1.0, least=0)
    crop_pct: float = option(0.0, least=0, most=1)
    auto_augment: str = ""
    zero_init: bool = False
    label_smoothing: float = option(0.1, least=0, most=1)
    mixup: float = option(0.0, least=0)
    cutmix: float = option(0.0, least=0)
    ema_decay: float = option(0.9998, least=0, most=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes(self.image_size, 0)
        if taken := self.model_args.keys() & {"name", "space", "pretrained", "num_classes"}:
            raise UserError(f"--model-args: leave {min(taken)} out: it follows from the network and the images")


def sizes(image_size: int | Sequence[Sequence[int]], epochs: int) -> list[int]:
    """The image size of each epoch, from the options of those names; a UserError refuses epochs out of order."""
    if isinstance(image_size, int):
        return [image_size] * epochs
    firsts = [first for first, _ in image_size]
    if firsts[:1] != [0] or firsts != sorted(set(firsts)):
        raise UserError(f"--image-size: epochs {firsts} do not ascend from 0, as in [[0, 48], [3, 64]]")
    return [[size for first, size in image_size if first <= epoch][-1] for epoch in range(epochs)]


@dataclass
class TrainOptions(ClassifierOptions):
    """What is trained, and what it starts from.

    Args:
        model: Network to train: a name that timm knows, or a folder that a training exported. A name with a tag and a
            folder start from their weights, a plain name from random ones.
        pretrained: Start a plain name from its default weights.
        inherit: Start from another trained network of the same search space, layer by layer: an exported folder, or
            the name of a network that has weights.
        teacher: Network whose scores the network learns too (knowledge distillation): an exported folder, or the name
            of a network that has weights; of the same classes. Empty for none.
        distill_alpha: Weight of the teacher's scores in the loss; the labels have the rest.
        distill_temperature: Number that the scores of both are divided by before they are compared.
        plan: Print what a training on this many images costs, in updates and hours, and train nothing. Needs no images.
        throughput: Images that one GPU or CPU trains on in a second, for --plan; 0 measures it here.
    """

    model: str = "scarlet_a"
    pretrained: bool = False
    inherit: str = ""
    teacher: str = ""
    distill_alpha: float = option(0.5, least=0, most=1)
    distill_temperature: float = option(2.0, least=0.01)
    plan: int = option(0, least=0, once=True)
    throughput: float = option(0.0, least=0, once=True)


@dataclass(kw_only=True)
class EvaluateOptions(DataOptions, DeviceOptions):
    """What is scored, and on which images.

    Args:
        network: An exported folder, or the name of a network that has weights.
        final: Score the test split instead of the held-out images.
        batch_size: Images in a forward pass.
        results_file: CSV file in the columns of timm's results that gets the figures, one row a model.
    """

    network: str = option(positional=True)
    final: bool = False
    batch_size: int = option(250, least=1)
    results_file: str = option("", free=True)
