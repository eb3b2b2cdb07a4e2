"""Data sets: any that timm reads, as images and labels by index."""

from __future__ import annotations

import os
from pathlib import Path
from tarfile import TarError
from typing import Any

import numpy as np
from PIL import Image
from timm.data import ImageDataset, create_dataset
from torch.utils.data import Dataset, IterableDataset

from scarlet_models.errors import UserError, first_line

from .options import DataOptions, TrainData

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

    def __init__(self, options: TrainData, split: str) -> None:
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


def _open(options: TrainData, split: str) -> Any:
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


def _check_one_split(source: Any, options: TrainData, split: str) -> None:
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
