"""The images that a trained supernet is scored on: held out when it was trained, and some of its training images.

Share, seed and hash of the split come with the supernet, so a score comes from images it was trained on only where
somebody says that the names cannot tell (`other_copy`).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from scarlet_models.errors import UserError
from scarlet_models.options import Ranged, option
from scarlet_models.search.supernet.file import SupernetInfo
from scarlet_models.search.supernet.shipped import is_shipped
from scarlet_models.training import distributed
from scarlet_models.training.data import LabelledImages
from scarlet_models.training.loading import Transformed, load_batches
from scarlet_models.training.options import DataOptions
from scarlet_models.training.split import split_holdout
from scarlet_models.training.transforms import eval_transform

from .population import Batches

_logger = logging.getLogger(__name__)

IN_MEMORY = 2 * 2**30  # bytes of images, float32, that are kept; more are decoded again in each pass


@dataclass
class HeldOutOptions(Ranged):
    """Where the images are, and how many of them to use.

    Args:
        data_dir: Folder of class folders, tar, or where the named data set lies.
        dataset: timm's name of a data set (torch/cifar10, hfds/ORG/NAME, ...); empty for a folder or tar.
        train_split: Split that the supernet was trained on.
        download: Fetch the data set where timm can.
        other_copy: The images are another copy of the data set, of the same classes and split, under names that do
            not tell which were held out. As many are drawn anew; the supernet may have been trained on most of them.
        workers: Processes that decode images; 0 does it in the main process.
        images: How many of the held-out images to use; 0 for all.
        batch_size: Images in a forward pass.
        device: auto, cpu, cuda or cuda:N.
        threads: CPU threads for torch; 0 leaves its own choice.
    """

    data_dir: str = option("", free=True)
    dataset: str = ""
    train_split: str = "train"
    download: bool = option(False, free=True)
    other_copy: bool = False
    workers: int = option(2, least=0, free=True)
    images: int = option(0, least=0)
    batch_size: int = option(250, least=1)
    device: str = option("auto", free=True)
    threads: int = option(0, least=0, free=True)


@dataclass(kw_only=True)
class ScoreOptions(HeldOutOptions):
    """How paths are scored on them.

    Args:
        batch_norm: "calibrated" takes statistics anew for each path; "running" keeps those of training. The first
            ranks better: tau 0.66 against 0.62 with stabilizers, three seeds, and more without (docs/stabilizer.md).
        calibration_images: Training images to take them from.
        amp: Reduced precision, for GPUs.
    """

    batch_norm: Literal["calibrated", "running"] = "calibrated"
    calibration_images: int = option(1000, least=2)
    amp: Literal["none", "bf16", "fp16"] = "none"


@contextmanager
def one_process(options: HeldOutOptions) -> Iterator[torch.device]:
    """The device that the options ask for, with their number of threads.

    Raises:
        UserError: the device is not there, or torchrun started several processes.
    """
    with distributed.start(options.device, options.threads) as world:
        if world.size > 1:
            raise UserError("this command runs in one process: start it without torchrun")
        yield world.device


def folder_of(supernet: str) -> Path:
    """Where results go: the folder of a supernet, given as that or as the file in it; runs/NAME of one that ships."""
    if is_shipped(supernet):
        return Path("runs") / supernet
    return Path(supernet) if Path(supernet).is_dir() else Path(supernet).parent


class HeldOut:
    """The images behind a supernet, with the transform of its evaluation. Which ones: a pure function of the numbers.

    Args:
        options: Where they are.
        info: What came with the supernet.

    Raises:
        UserError: the data cannot be read, are not those of the training, or none are held out.

    Attributes:
        recognised: Whether they are those that were held out in training, by their names.
    """

    def __init__(self, options: HeldOutOptions, info: SupernetInfo) -> None:
        self.options, self.info = options, info
        places = ("data_dir", "dataset", "train_split", "download", "workers")
        data = DataOptions(**{name: getattr(options, name) for name in places})
        self.images = LabelledImages(data, options.train_split)
        self.split = split_holdout(self.images.ids, self.images.labels, info.holdout, info.split_seed)
        where = f"the images in {options.dataset or options.data_dir}"
        if self.images.classes != info.classes:
            raise UserError(f"{where} have other classes than those that the supernet was trained on")
        self.recognised = self.split.hash == info.split_hash
        if not self.recognised and options.train_split != info.train_split:
            raise UserError(f"--train-split {options.train_split}: the supernet was trained on {info.train_split}")
        if not (self.recognised or options.other_copy):
            raise UserError(
                f"{where} are not those that the supernet was trained on (split {options.train_split!r}), by their "
                "names: give the same data; or, for another copy of it, --other-copy, with scores of images that "
                "it may have been trained on"
            )
        if not self.recognised:
            _logger.warning("%s may have been trained on: their scores are no held-out ones (--other-copy)", where)
        if not self.split.holdout:
            raise UserError("the supernet was trained on all images: train one with --holdout to score its paths")
        self.held = self._choose(self.split.holdout, options.images)

    def conditions(self, options: ScoreOptions) -> dict[str, Any]:
        """All that a path's score depends on besides the path, as plain data: the key of a `ScoreCache`."""
        keys = ("interpolation", "crop_pct", "crop_mode", "mean", "std")
        config = {key: self.info.data_config[key] for key in keys if key in self.info.data_config}
        calibrated = options.batch_norm == "calibrated"
        return {
            "supernet": self.info.sha256,
            "split": self.split.hash,
            "held_out": self._digest([self.held]),
            "image_size": self.info.image_size,
            "transform": {key: list(value) if isinstance(value, tuple) else value for key, value in config.items()},
            "batch_norm": options.batch_norm,
            "calibration": self._digest(self._calibration(options.calibration_images)) if calibrated else None,
            "dtype": "float32" if options.amp == "none" else options.amp,
        }

    def batches(self, device: torch.device) -> Batches:
        """Images (N, 3, H, W) and labels (N,) of the chosen held-out images: in memory, or read anew each time."""
        return self._load(self._in_batches(self.held), device)

    def calibration(self, count: int, device: torch.device) -> tuple[Batches, str]:
        """As `batches` of `count` training images, with the transform of evaluation, and a hash that names them."""
        batches = self._calibration(count)
        return self._load(batches, device), self._digest(batches)

    def _calibration(self, count: int) -> list[list[int]]:
        return self._in_batches(self._choose(self.split.train, count))

    @staticmethod
    def _choose(indices: Sequence[int], count: int) -> list[int]:
        """A fixed random choice; a larger one contains the smaller ones."""
        chosen = np.random.default_rng(0).permutation(indices).tolist()
        return chosen[:count] if count else chosen

    def _in_batches(self, indices: Sequence[int]) -> list[list[int]]:
        parts = np.array_split(indices, -(-len(indices) // self.options.batch_size))
        return [part.tolist() for part in parts]

    def _digest(self, batches: Sequence[Sequence[int]]) -> str:
        text = "\n\n".join("\n".join(self.images.ids[i] for i in batch) for batch in batches)
        return hashlib.sha256(text.encode()).hexdigest()

    def _load(self, batches: list[list[int]], device: torch.device) -> Batches:
        size = self.info.image_size
        dataset = Transformed(self.images, eval_transform(size, self.info.data_config))
        loader = load_batches(dataset, batches, self.options.workers, pin_memory=device.type == "cuda")
        if sum(map(len, batches)) * 3 * size**2 * 4 > IN_MEMORY:
            return loader
        return [(images.to(device, memory_format=torch.channels_last), labels.to(device)) for images, labels in loader]
