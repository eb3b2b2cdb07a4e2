"""Data sets: folders and tars of images, and any that timm reads, as images and labels by index."""

import functools
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from tarfile import TarError
from typing import Any

import numpy as np
from PIL import EpsImagePlugin, Image
from timm.data import ImageDataset, create_dataset
from torch.utils.data import Dataset, IterableDataset

from scarlet_models.errors import UserError, as_user_error, first_line
from scarlet_models.images import check_image, read_image, turn_upright

from ..options import DataOptions, TrainData
from .listing import Listing, list_images
from .survey import MOST_CHECKED, Finding, digest, refuse_broken, survey

_ONLINE = ("hfds/", "hfids/", "tfds/")  # timm's prefixes of data sets that need no folder
_STREAM_LIMIT = 16 << 30  # bytes
MOST_IN_MEMORY = 4 << 30  # bytes of decoded images, and a quarter of the machine's; more go into a file
MOST_IN_FILE = 128 << 30  # bytes, and half of what the disk has free; more are decoded again each time
_UNREADABLE = (UserError, OSError, ValueError, SyntaxError, TarError)
FEW = 0.01  # share of images that are also in another split in data sets as people have them; more is a mistake

_logger = logging.getLogger(__name__)


class LabelledImages(Dataset[tuple[Image.Image, int]]):
    """A split of a data set, undistorted: PIL images and labels by index. What cannot be read is a UserError.

    Up to 200,000 images are read when it is opened, unless they were before; of more, only names and sizes are known.

    Attributes:
        ids: What names each image wherever the data lies: its path below the split, or its zero-padded index.
        labels: Class indices, int64 of shape (images,).
        classes: The name of each class.
        marks: What names the content of each image; of more than 200,000, its size.
        fingerprint: sha256 of all names, labels and contents.
        size: Width and height of the images, if all have the same.
    """

    def __init__(self, options: TrainData, split: str, flag: str = "") -> None:
        self._source = _open(options, split, flag)
        self.where = f"{options.dataset or options.data_dir}, split {split}"
        is_listing = isinstance(self._source, Listing)
        self.ids = self._source.names if is_listing else _ids(self._source)
        read: tuple[np.ndarray, list[str]] = self._source.labels() if is_listing else _labels(self._source, self.where)
        self.labels, self.classes = read
        ignored = self._source.ignored if is_listing else {}
        more = f", {sum(ignored.values()):,} files ignored ({', '.join(list(ignored)[:8])})" if ignored else ""
        _logger.info("%s: %s images, %s classes%s", self.where, f"{len(self.ids):,}", f"{len(self.classes):,}", more)
        self.checked = len(self.ids) <= MOST_CHECKED or options.skip_broken
        self.size: tuple[int, int] | None = None
        self._kept, self._folder = np.arange(len(self.ids)), Path(getattr(options, "out", tempfile.gettempdir()))
        sizes = self._source.places[:, 1].tolist() if is_listing else [""] * len(self.ids)
        self.marks = self._check(options) if self.checked else list(map(str, sizes))
        rows = sorted(map("{}\t{}\t{}".format, self.ids, self.labels, self.marks))
        self.fingerprint = hashlib.sha256("\n".join(rows).encode()).hexdigest()

    def _check(self, options: TrainData) -> list[str]:
        """Reads what is not known yet; keeps what can be decoded. Returns the marks."""
        source = self._source
        if isinstance(source, Listing):
            root: Path | str = source.root
            stamps = [" ".join(map(str, place)) for place in source.places.tolist()]
        else:
            version = str(getattr(getattr(getattr(source, "reader", None), "dataset", None), "_fingerprint", ""))
            root, stamps = f"{options.dataset} {options.data_dir}", [version] * len(self.ids)  # Hugging Face's
        stamps = [stamp and f"{stamp} upright" for stamp in stamps]  # without the word, a known size is of one unturned
        findings = survey(root, self.ids, stamps, self._inspect, options.workers)
        kept = refuse_broken(self.where, self.ids, findings, options.skip_broken)
        self.ids, self.labels, self._kept = [self.ids[i] for i in kept], self.labels[kept], self._kept[kept]
        sizes = {(findings[i].width, findings[i].height) for i in kept}
        self.size = sizes.pop() if len(sizes) == 1 else None
        return [findings[i].digest for i in kept]

    def _inspect(self, index: int) -> Finding:
        try:
            content = self._content(index)
            if isinstance(content, bytes):
                return Finding(digest(content), *check_image(content), "")
            image = turn_upright(content).convert("RGB")
            return Finding(digest(image.tobytes()), image.width, image.height, "")
        except _UNREADABLE as error:
            return Finding("", 0, 0, getattr(error, "strerror", None) or first_line(error))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return self.image(index), int(self.labels[index])

    def image(self, index: int) -> Image.Image:
        """An image in RGB, upright; a UserError names one that cannot be read."""
        try:
            content = self._content(int(self._kept[index]))
            return read_image(content) if isinstance(content, bytes) else turn_upright(content).convert("RGB")
        except _UNREADABLE as error:
            reason = getattr(error, "strerror", None) or first_line(error)
            roots = (getattr(each, "root", None) for each in (self._source, getattr(self._source, "reader", None)))
            path = Path(next(filter(None, roots), ""), self.ids[index])
            raise UserError(f"cannot read image {path}: {reason}; mend or remove it") from error

    @functools.cached_property
    def decoded(self) -> "Decoded | None":
        """The images as bytes, kept once they are read; None where they differ in size or are too many."""
        if self.size is None:
            return None
        return Decoded.within_limits(self.image, (len(self), *self.size[::-1], 3), self._folder)

    def _content(self, index: int) -> Any:
        """The bytes of an image's file, or the image where only that is there."""
        if isinstance(self._source, Listing):
            return self._source.read(index)
        if isinstance(self._source, ImageDataset):  # which takes the next image in place of one that it cannot decode
            with self._source.reader[index][0] as file:
                return file.read()
        return self._source[index][0]


class Decoded:
    """Images as uint8 (count, height, width, 3): in memory, or in a nameless file that goes when the process does."""

    def __init__(self, read: Callable[[int], Image.Image], store: np.ndarray) -> None:
        self._read, self._store = read, store
        self._known = np.zeros(len(store), dtype=bool)

    @classmethod
    def within_limits(
        cls, read: Callable[[int], Image.Image], shape: tuple[int, ...], folder: Path
    ) -> "Decoded | None":
        """Room for images of a shape (count, height, width, 3); None where there is too little."""
        size, ranks = int(np.prod(shape)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 8 << 30
        if ranks * size <= min(MOST_IN_MEMORY, memory // 4):
            return cls(read, np.empty(shape, dtype=np.uint8))
        folder = folder if folder.is_dir() else Path(tempfile.gettempdir())
        gigabytes = f"{size / 1e9:.1f} GB of decoded images"
        if ranks * size > min(MOST_IN_FILE, shutil.disk_usage(folder).free // 2):
            _logger.info("%s are too many to keep in %s: they are decoded in each epoch", gigabytes, folder)
            return None
        _logger.info("%s are kept in a file in %s, which goes when the run ends", gigabytes, folder)
        with tempfile.TemporaryFile(dir=folder) as file:
            return cls(read, np.memmap(file, np.uint8, "w+", shape=shape))

    def take(self, indices: Sequence[int], spread: Callable[..., Iterable[Any]] = map) -> np.ndarray:
        """These images, uint8 of shape (images, height, width, 3). `spread` maps over those not known yet."""
        list(spread(self._decode, [index for index in indices if not self._known[index]]))
        return self._store[indices]

    def _decode(self, index: int) -> None:
        self._store[index] = np.asarray(self._read(index))
        self._known[index] = True


def check_test_split(options: DataOptions, train: LabelledImages) -> LabelledImages:
    """The test split, unless it has other classes, or more than a few images of the training split."""
    test = LabelledImages(options, options.test_split)
    if test.classes != train.classes:
        raise UserError(f"--test-split {options.test_split} has {len(test.classes)} classes, not those of training")
    copies = test.ids if test.fingerprint == train.fingerprint else []
    if test.checked and train.checked:
        known = set(train.marks)
        copies = [name for name, mark in zip(test.ids, test.marks, strict=True) if mark in known]
    what = f"--test-split {options.test_split} holds {len(copies):,} images of the training split {options.train_split}"
    if len(copies) > FEW * len(test):
        raise UserError(f"{what}, {copies[0]} for one; name another split, or do without (--no-final)")
    if copies:
        _logger.warning("%s: %s", what, ", ".join(copies[:10]))
    return test


def _open(options: TrainData, split: str, flag: str) -> Any:
    """A listing of files for folders and tars; for named data sets what timm makes, streams as a list.

    Errors name the option `flag` that gives the split.
    """
    if not options.dataset:
        if not Path(options.data_dir or "-").exists():
            where = options.data_dir or "(empty)"
            raise UserError(f"--data-dir {where} does not exist; give a folder of class folders or a tar")
        usual = "--train-split" if split == options.train_split else "--test-split, or do without (--no-final)"
        return list_images(options.data_dir, split, flag or usual)
    name, root = options.dataset, options.data_dir
    where = f"{name} {root}".strip()
    if not root and not name.startswith(_ONLINE):
        raise UserError(f"--data-dir is missing: the folder where {name} lies, or will lie once downloaded")
    if download := bool(root) and not Path(root).exists():
        _logger.info("%s does not exist: downloading %s to it, if timm can", root, name)
    kinds = RuntimeError, OSError, ValueError, KeyError, AssertionError, ImportError, NameError, TarError
    with as_user_error(f"cannot read split {split!r} of {where}", *kinds):
        source = create_dataset(name, root=root or None, split=split, download=download, is_training=False)
    if hasattr(getattr(source, "reader", None), "samples"):
        raise UserError(f"timm knows no --dataset {name}; leave it out to read the folder or tar {root}")
    if hasattr(source, "loader"):  # torchvision's folders: decode as everywhere else
        source.loader = lambda path: read_image(Path(path))
    return _index_stream(source, where) if isinstance(source, IterableDataset) else source


def _index_stream(stream: IterableDataset[Any], where: str) -> Any:
    """The decoded images of a stream (wds/, hfids/, tfds/), kept in memory, as holding out needs an index."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:  # such readers share a stream out among the ranks by themselves
        raise UserError(f"{where} is a stream, which torchrun cannot share out here; unpack it into folders or a tar")
    EpsImagePlugin.gs_binary = False  # timm opens these images, of any format: Ghostscript must not start
    items, size = [], 0
    for image, label in stream:
        pixels = np.asarray(turn_upright(image).convert("RGB"))
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


def _labels(source: Any, where: str) -> tuple[np.ndarray, list[str]]:
    """Class indices of the images, int64, and the name of each class."""
    reader = getattr(source, "reader", source)
    with as_user_error(f"{where}: cannot read the labels", *_UNREADABLE, LookupError, TypeError):
        if hasattr(reader, "targets"):  # torchvision
            labels = np.asarray(reader.targets)
        elif hasattr(reader, "iter_targets"):  # Hugging Face datasets
            labels = np.array(list(reader.iter_targets()))
        else:
            labels = np.array([source[i][1] for i in range(len(source))])
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or labels.min() < 0:
        found = f"{labels.dtype} of shape {labels.shape}"
        raise UserError(f"{where}: labels must be one class index from 0 an image, not {found}; unpack it into folders")
    index = getattr(reader, "class_to_idx", None) or {}
    names = {number: name for name, number in reversed(index.items())}  # the first of a class's synonyms
    count = max([*names, int(labels.max())]) + 1
    return labels.astype(np.int64), [str(names.get(number, number)) for number in range(count)]
