"""Options that trainings share. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from scarlet_models.options import Ranged, option


@dataclass
class DataOptions(Ranged):
    """Where images come from, and which are held out.

    Args:
        data_dir: Folder of class folders, or with one such folder for each split; tar of one split; or where the named
            data set lies.
        dataset: timm's name of a data set (torch/cifar10, hfds/ORG/NAME, ...); empty for a folder or tar.
        train_split: Split to train on: a folder or tar in data_dir, or the named data set's.
        test_split: Split to score once, under --final only.
        download: Fetch the data set where timm can.
        holdout: Share of every class of the training split that is kept out of training, to choose by.
        split_seed: Which images are held out; all commands of one search must use the same.
        workers: Processes that decode and augment images; 0 does it in the main process.
    """

    data_dir: str = option("", free=True)
    dataset: str = ""
    train_split: str = "train"
    test_split: str = "validation"
    download: bool = option(False, free=True)
    holdout: float = 0.1
    split_seed: int = 0
    workers: int = option(2, least=0, free=True)


@dataclass
class AugmentOptions(Ranged):
    """How training images are varied.

    Args:
        crop: "resize" resizes a random part (RandomResizedCrop); "pad" resizes, pads by an eighth and crops.
        crop_scale: Smallest and largest share of the area that crop "resize" takes.
        crop_ratio: Smallest and largest aspect ratio that crop "resize" takes.
        hflip: Probability of a horizontal flip.
        color_jitter: Strength of brightness, contrast and saturation changes; 0 for none, unused with auto_augment.
        auto_augment: timm's policy string (v0, rand-m9-mstd0.5, augmix-m3-w3, ...); empty for none.
        random_erasing: Probability that a rectangle is erased.
        train_interpolation: bilinear, bicubic or random; empty for the model's own.
    """

    crop: Literal["resize", "pad"] = "resize"
    crop_scale: tuple[float, float] = option((0.08, 1.0), least=0.0001, most=1, ascending=True)
    crop_ratio: tuple[float, float] = option((0.75, 1.3333333333333333), least=0.001, most=1000, ascending=True)
    hflip: float = option(0.5, least=0, most=1)
    color_jitter: float = option(0.4, least=0)
    auto_augment: str = ""
    random_erasing: float = option(0.0, least=0, most=1)
    train_interpolation: str = "random"


@dataclass
class OptimizerOptions(Ranged):
    """Options of an update.

    Args:
        batch_size: Images in an update, over all processes and accumulated parts.
        accumulate: Parts in which each process works through its share of a batch.
        opt: timm's name of an optimizer; momentum is SGD without Nesterov's.
        lr: Highest learning rate.
        momentum: Of the optimizer, where it has one.
        weight_decay: Of weights; biases and norms are not decayed.
        opt_args: More arguments for the optimizer.
        sched: timm's name of a schedule; it steps with every update. Step and multistep are for commands that have
            options for when they drop.
        warmup_epochs: Linear rise of the learning rate at the start.
        warmup_lr: Where the rise begins.
        min_lr: Where the cosine ends.
        clip_grad: Largest norm of the gradient; 0 for no limit.
        amp: Reduced precision on a GPU.
    """

    batch_size: int = option(256, least=1)
    accumulate: int = 1
    opt: str = "sgd"
    lr: float = option(0.1, least=0)
    momentum: float = option(0.9, least=0, most=1)
    weight_decay: float = option(4e-05, least=0)
    opt_args: dict[str, Any] = field(default_factory=dict)
    sched: str = "cosine"
    warmup_epochs: float = option(0.0, least=0)
    warmup_lr: float = option(0.0001, least=0)
    min_lr: float = option(0.0, least=0)
    clip_grad: float = option(0.0, least=0)
    amp: Literal["none", "bf16", "fp16"] = "none"


@dataclass
class RunOptions(Ranged):
    """Where a run is kept and how it goes on.

    Args:
        out: The run's folder, such as runs/NAME.
        resume: Go on from the newest checkpoint in the folder; start anew where there is none yet.
        allow_drift: Resume although options or the environment changed; the result is then another.
        seed: Of everything random but the held-out split.
        threads: CPU threads for torch; 0 leaves its own choice.
        device: auto, cpu, cuda or cuda:N.
        checkpoint_minutes: Longest time between checkpoints; one is also written after each epoch.
        json: Print the result as one JSON object on stdout.
    """

    out: str = option("runs/retrain", free=True)
    resume: bool = option(False, once=True)
    allow_drift: bool = option(False, once=True)
    seed: int = option(0, least=0, most=2**63 - 1)
    threads: int = option(0, least=0, free=True)
    device: str = option("auto", free=True)
    checkpoint_minutes: float = option(5.0, least=0, free=True)
    json: bool = option(False, once=True)
