"""A trained supernet, and the images to score it on: held out when it was trained; training images to recalibrate.

Share, seed and hash of the split come with the supernet. So a score never comes from images that it was trained on,
unless the user says that the file names cannot tell (`other_copy`).
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from scarlet_models.errors import UserError
from scarlet_models.search.supernet.file import SupernetInfo, is_shipped
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.training import distributed
from scarlet_models.training.data import LabelledImages
from scarlet_models.training.loading import Transformed, load_batches
from scarlet_models.training.options import DataOptions
from scarlet_models.training.split import split_holdout
from scarlet_models.training.transforms import eval_transform

from .options import HeldOutOptions, ScoreOptions
from .population import Batches

_logger = logging.getLogger(__name__)

IN_MEMORY = 2 * 2**30  # bytes of float32 images to keep; more are decoded again in each pass


class TrainedSupernet(NamedTuple):
    """A supernet with the record of its training."""

    net: Supernet
    info: SupernetInfo  # its sha256 is that of the file, or of the tensors of a supernet in memory
    name: str  # the folder, file or name it was loaded from; "SPACE-SHA256" of a supernet in memory
    folder: Path  # default folder for results


def open_supernet(source: Supernet | str | Path) -> TrainedSupernet:
    """A trained supernet from its folder, its file, the name of one that ships, or a Supernet that was loaded."""
    if not isinstance(source, Supernet):
        net = Supernet.from_pretrained(source)
        assert net.info
        return TrainedSupernet(net, net.info, str(source), folder_of(source))
    if source.info is None:
        raise UserError(
            "this Supernet has no record of its training images: take it from train_supernet, or load it by "
            "Supernet.from_pretrained(FOLDER)"
        )
    digest = hashlib.sha256()  # of the tensors in memory, which may differ from those on disk
    for key, tensor in source.state_dict().items():
        digest.update(key.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    name = f"{source.space.name}-{digest.hexdigest()[:12]}"
    return TrainedSupernet(source, replace(source.info, sha256=digest.hexdigest()), name, Path("runs") / name)


def folder_of(supernet: str | Path) -> Path:
    """The default folder for results: the supernet's own, or runs/NAME for one that ships."""
    if is_shipped(supernet):
        return Path("runs") / supernet
    return Path(supernet) if Path(supernet).is_dir() else Path(supernet).parent


@contextmanager
def one_process(options: HeldOutOptions) -> Iterator[torch.device]:
    """The device of the options, with their number of threads; a UserError under torchrun."""
    with distributed.start(options.device, options.threads) as world:
        if world.size > 1:
            raise UserError("this command runs in one process: start it without torchrun")
        yield world.device


class HeldOut:
    """The images of a supernet's training run, with the transform of evaluation.

    The choice of images is a pure function of the options and of the supernet's record. They are `recognised` if their
    names say that they were held out in training. A UserError says why they cannot be used.
    """

    def __init__(self, options: HeldOutOptions, info: SupernetInfo) -> None:
        self.options, self.info = options, info
        places = ("data_dir", "dataset", "train_split", "skip_broken", "workers")
        data = DataOptions(**{name: getattr(options, name) for name in places})
        self.images = LabelledImages(data, options.train_split)
        self.split = split_holdout(self.images.ids, self.images.labels, info.holdout, info.split_seed)
        where = f"the images in {options.dataset or options.data_dir}"
        if self.images.classes != info.classes:
            raise UserError(f"{where} have other classes than those of the supernet's training")
        self.recognised = self.split.hash == info.split_hash
        if not self.recognised:
            if options.train_split != info.train_split:
                raise UserError(f"--train-split {options.train_split}: the supernet was trained on {info.train_split}")
            if not options.other_copy:
                raise UserError(
                    f"{where}, split {options.train_split!r}, have other names than those of the supernet's training: "
                    "give the same data; or, for another copy of it, --other-copy (the supernet may have been trained "
                    "on them)"
                )
            _logger.warning("the supernet may have been trained on %s: scores are not held out (--other-copy)", where)
        if not self.split.holdout:
            raise UserError("the supernet was trained on all images: train one with --holdout to score its paths")
        self.held = self._choose(self.split.holdout, options.images)

    def conditions(self, options: ScoreOptions) -> dict[str, Any]:
        """What a path's score depends on besides the path, as plain data: the conditions of a `ScoreCache`."""
        config, keys = self.info.data_config, ("interpolation", "crop_pct", "crop_mode", "mean", "std")
        transform = {key: config[key] for key in keys if key in config}
        recalibrated = options.batch_norm == "recalibrated"
        return {
            "supernet": self.info.sha256,
            "split": self.split.hash,
            "held_out": self._digest([self.held]),
            "image_size": self.info.image_size,
            "transform": {key: list(value) if isinstance(value, tuple) else value for key, value in transform.items()},
            "batch_norm": options.batch_norm,
            "calibration": self._digest(self._calibration(options.calibration_images)) if recalibrated else None,
            "dtype": "float32" if options.amp == "none" else options.amp,
        }

    def batches(self, device: torch.device) -> Batches:
        """Held-out images (N, 3, H, W) and labels (N,): in memory, or read in each pass."""
        return self._load(self._in_batches(self.held), device)

    def calibration(self, count: int, device: torch.device) -> tuple[Batches, str]:
        """`count` training images like `batches`, and a hash of them."""
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
        ids, marks = self.images.ids, self.images.marks
        text = "\n\n".join("\n".join(f"{ids[i]} {marks[i]}" for i in batch) for batch in batches)
        return hashlib.sha256(text.encode()).hexdigest()

    def _load(self, batches: list[list[int]], device: torch.device) -> Batches:
        size = self.info.image_size
        dataset = Transformed(self.images, eval_transform(size, self.info.data_config))
        loader = load_batches(dataset, batches, self.options.workers, pin_memory=device.type == "cuda")
        if sum(map(len, batches)) * 3 * size**2 * 4 > IN_MEMORY:
            return loader
        return [(images.to(device, memory_format=torch.channels_last), labels.to(device)) for images, labels in loader]
