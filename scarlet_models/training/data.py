"""Images for training and scoring: any data set that timm reads, one held-out split, repeatable order.

Order and augmentation are pure functions of (seed, epoch, index): neither the number of workers nor where a run was
interrupted changes an image.
"""

from __future__ import annotations

import hashlib
import os
import random
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tarfile import TarError
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from timm.data import ImageDataset, create_dataset, create_transform
from timm.data.auto_augment import NAME_TO_OP
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info
from torchvision import transforms

from scarlet_models.errors import UserError, first_line
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


# What Pillow raises for files that it cannot decode.
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)
_ONLINE = ("hfds/", "hfids/", "tfds/")  # timm's prefixes of data sets that need no folder
_STREAM_LIMIT = 16 << 30  # bytes


class LabelledImages(Dataset[tuple[Image.Image, int]]):
    """A split of a data set, undistorted: PIL images and labels by index.

    Attributes:
        ids: What names each image wherever the data lies: its path relative to the split, or its zero-padded index.
        labels: Class indices, int64 of shape (images,).
        classes: The name of each class.
    """

    def __init__(self, options: DataOptions, split: str) -> None:
        self.source = _open(options, split)
        _check_one_split(self.source, options, split)
        self.ids = _ids(self.source)
        self.labels = _labels(self.source)
        self.classes = _classes(self.source, self.labels)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        """Raises UserError with the image's name where it cannot be read."""
        try:
            return self._read(index), int(self.labels[index])
        except (*_BROKEN, TarError) as error:
            place = Path(getattr(getattr(self.source, "reader", None), "root", None) or "", self.ids[index])
            raise UserError(f"cannot read image {place}: {first_line(error)}; mend or remove it") from error

    def _read(self, index: int) -> Image.Image:
        if isinstance(self.source, ImageDataset):  # which takes the next image in place of one that it cannot decode
            with self.source.reader[index][0] as file:
                return Image.open(file).convert("RGB")
        image: Image.Image = self.source[index][0]
        return image.convert("RGB")

    def files(self) -> set[Path]:
        """Where each image lies, links to folders followed, for folders and tars; nothing for other data sets."""
        reader: Any = getattr(self.source, "reader", None)
        if not hasattr(reader, "samples"):
            return set()
        names = [os.path.split(name) for name in self.source.filenames()]
        folders = {folder: Path(reader.root, folder).resolve() for folder in {folder for folder, _ in names}}
        return {folders[folder] / name for folder, name in names}


def check_test_split(options: DataOptions, train: LabelledImages) -> None:
    """Compares the test split with the training split: timm takes the whole folder for a split that it does not find.

    Raises:
        UserError: it has other classes, or images of the training split.
    """
    test = LabelledImages(options, options.test_split)
    if test.classes != train.classes:
        raise UserError(f"--test-split {options.test_split} has {len(test.classes)} classes, not those of training")
    if shared := test.files() & train.files():
        raise UserError(
            f"--test-split {options.test_split}: there is no such split, or it holds {len(shared):,} images of the "
            f"training split {options.train_split}; name another, or do without (--no-final)"
        )


def _open(options: DataOptions, split: str) -> Any:
    where = " ".join(filter(None, [options.dataset, options.data_dir])) or "nothing"
    if not options.dataset and not Path(options.data_dir or "-").exists():
        raise UserError(
            f"--data-dir {options.data_dir or '(empty)'} does not exist; give a folder of class folders or a tar"
        )
    if options.dataset and not options.data_dir and not options.dataset.startswith(_ONLINE):
        raise UserError(f"--data-dir is missing: the folder where {options.dataset} lies, or with --download will lie")
    try:
        source = create_dataset(
            options.dataset, root=options.data_dir or None, split=split, download=options.download, is_training=False
        )
    except (RuntimeError, OSError, ValueError, KeyError, AssertionError, ImportError, NameError, TarError) as error:
        raise UserError(f"cannot read split {split!r} of {where}: {first_line(error)}") from error
    if options.dataset and hasattr(getattr(source, "reader", None), "samples"):
        raise UserError(
            f"timm knows no --dataset {options.dataset}; leave it out to read the folder or tar {options.data_dir}"
        )
    return _index_stream(source, where) if isinstance(source, IterableDataset) else source


def _check_one_split(source: Any, options: DataOptions, split: str) -> None:
    """Refuses what timm makes of a split that it does not find: all of a tar, all of a folder.

    Raises:
        UserError: the images may be of several splits, or of another one.
    """
    if options.dataset:
        return
    root = source.reader.root
    is_tar = Path(root).is_file()
    if not is_tar and root != options.data_dir:
        return
    parents = {Path(folder).parent.as_posix() for folder in set(map(os.path.dirname, source.filenames()))}
    listed = ", ".join(sorted(parents)[:4]) + (", ..." if len(parents) > 4 else "")
    if is_tar and len(parents) > 1:
        raise UserError(f"{root} has class folders in {listed}, and a tar must be one split: unpack it into a folder")
    if not is_tar and parents != {"."}:
        flag = "--train-split" if split == options.train_split else "--test-split, or do without (--no-final)"
        raise UserError(f"{root} has no folder {split}, but class folders in {listed}: name the split by {flag}")


def _index_stream(stream: IterableDataset[Any], where: str) -> Any:
    """The decoded images of a stream (wds/, hfids/, tfds/), kept in memory, as holding out needs an index."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:  # such readers share a stream out among the ranks by themselves
        raise UserError(f"{where} is a stream, which torchrun cannot share out here; unpack it into folders or a tar")
    items, size = [], 0
    for image, label in stream:
        pixels = np.asarray(image.convert("RGB"))
        items.append((Image.fromarray(pixels), int(label)))
        size += pixels.nbytes
        if size > _STREAM_LIMIT:
            raise UserError(f"{where} is a stream too large to keep in memory; unpack it into folders or a tar")
    return items


def _ids(source: Any) -> list[str]:
    numbers = [f"{i:08d}" for i in range(len(source))]
    if not hasattr(source, "filenames"):
        return numbers
    names = [Path(str(name)).as_posix() for name in source.filenames()]
    if all(map(os.path.isabs, names)):  # Hugging Face's folders; names must not depend on where the data lies
        start = len(os.path.commonpath(names)) + 1
        names = [name[start:] for name in names]
    return names if len(set(names)) == len(names) else list(map("/".join, zip(numbers, names, strict=True)))


def _labels(source: Any) -> np.ndarray:
    reader = getattr(source, "reader", source)
    if hasattr(reader, "samples") and hasattr(reader, "class_to_idx"):  # folders
        labels = [label for _, label in reader.samples]
    elif hasattr(reader, "targets"):  # tars and torchvision
        labels = reader.targets
    elif hasattr(reader, "iter_targets"):  # Hugging Face datasets
        labels = list(reader.iter_targets())
    else:
        labels = [source[i][1] for i in range(len(source))]
    return np.asarray(labels, dtype=np.int64)


def _classes(source: Any, labels: np.ndarray) -> list[str]:
    reader = getattr(source, "reader", source)
    index = getattr(reader, "class_to_idx", None) or getattr(reader, "class_name_to_idx", None)
    if not index:
        return [str(i) for i in range(int(labels.max()) + 1)]
    return [str(name) for name in sorted(index, key=index.__getitem__)]


@dataclass(frozen=True)
class Split:
    """Indices to train on and indices held out, both ascending; sha256s of the held-out images' names and of all."""

    train: list[int]
    holdout: list[int]
    hash: str
    images: str


def split_holdout(ids: Sequence[str], labels: Sequence[int] | np.ndarray, share: float, seed: int) -> Split:
    """Holds out the same share of every class, chosen by each image's name and the seed alone.

    Args:
        ids: Unique names of the images; their order does not matter.
        labels: Class index of each.
        share: In [0, 1): share of every class to hold out, rounded to whole images.
        seed: Another seed holds out other images.

    Returns:
        The split.

    Raises:
        UserError: The share is out of range, or too small to hold out a single image.
    """
    if not 0 <= share < 1:
        raise UserError(f"--holdout {share} must be at least 0 and below 1")
    ranked = sorted(range(len(ids)), key=lambda i: hashlib.sha256(f"{seed}:{ids[i]}".encode()).digest())
    classes = zip(*np.unique(labels, return_counts=True), strict=True)
    quota = {int(label): round(share * count) for label, count in classes}
    held: list[int] = []
    for i in ranked:
        if quota[int(labels[i])] > 0:
            quota[int(labels[i])] -= 1
            held.append(i)
    if share and not held:
        raise UserError(f"--holdout {share} of {len(ids)} images holds out none; raise it, or set it to 0")
    rest = sorted(set(range(len(ids))) - set(held))
    return Split(rest, sorted(held), _hash_names(ids[i] for i in held), _hash_names(ids))


def _hash_names(names: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


def _posterize(image: Image.Image, bits: int, **_: Any) -> Image.Image:
    """Keeps the upper bits; 0 bits, which policies of timm ask for and newer versions of Pillow refuse, is black."""
    return ImageOps.posterize(image, bits) if bits else Image.new(image.mode, image.size)


NAME_TO_OP.update(dict.fromkeys(("Posterize", "PosterizeIncreasing", "PosterizeOriginal"), _posterize))


class _RandomShift:
    """torchvision's RandomCrop with reflected padding, draw for draw and pixel for pixel, in a fraction of its time."""

    def __init__(self, size: int, padding: int) -> None:
        self.size, self.range = size, 2 * padding + 1
        self.source = np.pad(np.arange(size), padding, mode="reflect")

    def __call__(self, image: Image.Image) -> Image.Image:
        top, left = (int(torch.randint(0, self.range, (1,))) for _ in range(2))
        rows, columns = self.source[top : top + self.size], self.source[left : left + self.size]
        pixels = np.asarray(image).take(rows, 0).take(columns, 1)
        return Image.frombytes(image.mode, (self.size, self.size), pixels.tobytes())


def train_transform(size: int, data_config: dict[str, Any], options: AugmentOptions) -> transforms.Compose:
    """PIL image to a normalised, augmented float tensor (3, size, size).

    Args:
        size: Side in pixels.
        data_config: timm's data config of the model: mean, std, interpolation.
        options: What to vary.

    Raises:
        UserError: No such policy or interpolation.
    """
    try:
        stages = create_transform(
            size,
            is_training=True,
            scale=options.crop_scale,
            ratio=options.crop_ratio,
            hflip=options.hflip,
            color_jitter=options.color_jitter or None,  # type: ignore[arg-type]  # timm: None switches it off
            auto_augment=options.auto_augment or None,
            interpolation=options.train_interpolation or data_config["interpolation"],
            mean=data_config["mean"],
            std=data_config["std"],
            re_prob=options.random_erasing,
            re_mode="pixel",
            separate=True,
        )
    except (AssertionError, ValueError, KeyError) as error:
        raise UserError(f"--auto-augment or --train-interpolation is unknown to timm: {error}") from error
    if options.crop == "pad":
        mode = transforms.InterpolationMode(data_config["interpolation"])
        pad = [
            transforms.Resize(size, mode),
            transforms.CenterCrop(size),
            _RandomShift(size, size // 8),
        ]
        stages = (transforms.Compose([*pad, transforms.RandomHorizontalFlip(options.hflip)]), *stages[1:])
    return transforms.Compose([step for stage in stages for step in stage.transforms])


def eval_transform(size: int, data_config: dict[str, Any]) -> transforms.Compose:
    """PIL image to a normalised float tensor (3, size, size): resize by the config's crop_pct, centre crop."""
    keys = ("interpolation", "mean", "std", "crop_pct", "crop_mode")
    return create_transform(size, is_training=False, **{key: data_config[key] for key in keys if key in data_config})


class Transformed(Dataset[tuple[Tensor, int]]):
    """Images through a transform whose randomness depends on (seed, epoch, index) only."""

    def __init__(self, images: LabelledImages, transform: transforms.Compose, seed: int = 0, epoch: int = 0) -> None:
        self.images, self.transform, self.seed, self.epoch = images, transform, seed, epoch

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, label = self.images[index]
        with seeded(self.seed, self.epoch, index):
            return self.transform(image), label


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Seeds Python's, numpy's and torch's CPU generators from the numbers; outside of workers puts them back after."""
    torch_cpu = torch.default_generator
    states = None if get_worker_info() else (random.getstate(), np.random.get_state(), torch_cpu.get_state())
    seed = mix_seed(*numbers)
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    torch_cpu.manual_seed(seed)
    try:
        yield
    finally:
        if states:
            random.setstate(states[0])
            np.random.set_state(states[1])
            torch_cpu.set_state(states[2])


def mix_seed(*numbers: int) -> int:
    """A 63-bit seed from whole numbers, unrelated for neighbouring numbers."""
    packed = struct.pack(f"<{len(numbers)}q", *numbers)
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little") >> 1


def epoch_batches(indices: Sequence[int], batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """The shuffled batches of one epoch, int64 of shape (steps, batch_size); a last, smaller batch is left out."""
    steps = len(indices) // batch_size
    order = np.random.default_rng([seed, epoch]).permutation(np.asarray(indices))
    return order[: steps * batch_size].reshape(steps, batch_size)


class _Loader(DataLoader[Any]):
    """Gives a user's mistake that a worker came upon in one line, where torch makes its whole traceback the message."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # a generator is all that callers need
        return self._in_one_line(super().__iter__())  # the workers start here, not with the first batch

    def _in_one_line(self, batches: Iterator[Any]) -> Iterator[Any]:
        try:
            yield from batches
        except UserError as error:
            last = str(error).strip().splitlines()[-1]
            raise UserError(last.removeprefix("scarlet_models.errors.UserError: ")) from None


def load_batches(
    dataset: Dataset[Any],
    batches: Sequence[Sequence[int]],
    workers: int,
    pin_memory: bool = False,
    collate: Callable[[list[Any]], Any] | None = None,
) -> DataLoader[Any]:
    """A loader that gives exactly these batches in this order: images (N, 3, H, W) float32, labels (N,) int64.

    With `collate` a batch is what that makes of the list of the data set's items. Workers start with each iteration, so
    a run that resumes inside an epoch needs no state of theirs. This is torch's loader, as timm's create_loader chooses
    batches and seeds by itself: a run that resumes inside an epoch would see other images, distorted otherwise.
    """
    return _Loader(
        dataset,
        batch_sampler=batches,  # type: ignore[arg-type]  # any iterable of index lists will do
        num_workers=workers,
        pin_memory=pin_memory,
        collate_fn=collate,
        generator=torch.Generator(),  # else starting the workers would advance the global generator
    )


def shard(indices: Sequence[int], rank: int, world: int, batch_size: int) -> list[list[int]]:
    """This rank's share of the indices, in batches, in order and with no tail dropped."""
    mine = list(indices[rank::world])
    return [mine[i : i + batch_size] for i in range(0, len(mine), batch_size)]
