"""Batches of images: order and augmentation are pure functions of (seed, epoch, index), however many workers."""

import os
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from scarlet_models.errors import UserError

from .data import Decoded, LabelledImages
from .transforms import Transform, mix_seed

_AHEAD = 3  # batches
_CACHED = 200_000  # values that a CPU's cache holds while all is done to them: twice as fast as a whole batch

_Parts = tuple[Tensor, Tensor, Tensor]  # of a batch: pixels (N, H, W, 3), random numbers (N, ...), labels (N,)


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """Images on their way to the network: bytes, and what the device has to do to them."""

    transform: Transform  # has the device's part
    pixels: Tensor  # uint8 (N, H, W, 3)
    rows: Tensor  # random numbers for each image
    whole: bool  # whether the device crops them

    def __len__(self) -> int:
        return len(self.pixels)

    def to(
        self,
        device: torch.device | str,
        non_blocking: bool = False,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> Tensor:
        """The network's input on a device: float (N, 3, size, size), as if it were moved by `Tensor.to`."""
        pixels = self.pixels.to(device, non_blocking=non_blocking)
        rows = self.rows.to(device, non_blocking=non_blocking)
        part = max(1, _CACHED // pixels[0].numel()) if pixels.device.type == "cpu" else len(pixels)
        parts = zip(pixels.split(part), rows.split(part), strict=True)
        whole = torch.cat([self.transform.finish(*each, self.whole) for each in parts])
        return whole.contiguous(memory_format=memory_format)


class Transformed(Dataset[tuple[Tensor, int]]):
    """Images through a transform whose randomness depends on (seed, epoch, index) only."""

    def __init__(self, images: LabelledImages, transform: Transform, seed: int = 0, epoch: int = 0) -> None:
        self.images, self.transform, self.seed, self.epoch = images, transform, seed, epoch
        self.whole = images.size is not None and transform.takes_whole(*images.size)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        batch, labels = self.batch(self.read([index]))
        return batch.to("cpu")[0], int(labels.numpy()[0])

    def batch(self, parts: _Parts) -> tuple[ImageBatch, Tensor]:
        """Images and labels (N,) from what `read` gave."""
        pixels, rows, labels = parts
        return ImageBatch(self.transform, pixels, rows, self.whole), labels

    def read(self, indices: Sequence[int], decoded: Decoded | None = None, spread: Callable[..., Any] = map) -> _Parts:
        """The host's part of a batch, of images that are `decoded` or read now; `spread` maps a function over them."""
        seeds = [mix_seed(self.seed, self.epoch, index) for index in indices]
        labels = torch.from_numpy(self.images.labels[indices])
        if decoded and self.whole and self.images.size:
            rows = self.transform.draw(seeds, [self.images.size] * len(seeds))
            return torch.from_numpy(decoded.take(indices, spread)), rows, labels
        kept = map(Image.fromarray, decoded.take(indices, spread)) if decoded else map(self.images.image, indices)
        images = list(kept)
        rows = self.transform.draw(seeds, [image.size for image in images])
        arrays = map(np.asarray, images) if self.whole else spread(self._host, images, indices, rows)
        return torch.from_numpy(np.stack(list(arrays))), rows, labels

    __getitems__ = read  # what torch's loader calls

    def _host(self, image: Image.Image, index: int, row: Tensor) -> np.ndarray:
        with seeded(self.seed, self.epoch, index) if self.transform.is_random else nullcontext():
            return self.transform.pixels(image, row)


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


def epoch_batches(indices: Sequence[int], batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """The shuffled batches of one epoch, int64 of shape (steps, batch_size); a last, smaller batch is left out."""
    steps = len(indices) // batch_size
    order = np.random.default_rng([seed, epoch]).permutation(np.asarray(indices))
    return order[: steps * batch_size].reshape(steps, batch_size)


@dataclass(frozen=True)
class _Threads:
    """Batches of images that are kept once they are decoded, by threads; without workers, made when asked for."""

    dataset: Transformed
    decoded: Decoded
    batches: Sequence[Sequence[int]]
    workers: int
    pin_memory: bool

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        if not self.workers:
            yield from map(self._read, self.batches)
            return
        waiting: deque[Future[Any]] = deque()
        with ThreadPoolExecutor(self.workers) as pool, ThreadPoolExecutor(1) as ahead:
            for indices in self.batches:
                waiting.append(ahead.submit(self._read, indices, pool.map))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
            yield from (batch.result() for batch in waiting)

    def _read(self, indices: Sequence[int], spread: Callable[..., Any] = map) -> tuple[ImageBatch, Tensor]:
        pixels, rows, labels = self.dataset.read(indices, self.decoded, spread)
        if self.pin_memory:
            pixels, labels = pixels.pin_memory(), labels.pin_memory()
        return self.dataset.batch((pixels, rows, labels))


class _Loader(DataLoader[Any]):
    """Gives a user's mistake that a worker came upon in one line, where torch makes its whole traceback the message."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # a generator is all that callers need
        batches = self._in_one_line(super().__iter__())  # the workers start here, not with the first batch
        return map(self.dataset.batch, batches) if isinstance(self.dataset, Transformed) else batches

    def _in_one_line(self, batches: Iterator[Any]) -> Iterator[Any]:
        try:
            yield from batches
        except UserError as error:
            raise UserError(str(error).rpartition("scarlet_models.errors.UserError: ")[2]) from None


def _leave_group(_: int) -> None:
    """Ctrl-C reaches the whole process group; a worker outside goes on while the main process finishes its step."""
    if os.name == "posix":
        os.setpgrp()


def load_batches(
    dataset: Dataset[Any],
    batches: Sequence[Sequence[int]],
    workers: int,
    pin_memory: bool = False,
    collate: Callable[[list[Any]], Any] | None = None,
) -> DataLoader[Any] | _Threads:
    """A loader that gives exactly these batches in this order: of `Transformed` an `ImageBatch` and labels (N,).

    With `collate` a batch is what that makes of the list of the data set's items. This is torch's loader: timm's
    chooses batches and seeds by itself, so a run that resumes inside an epoch would see other images.
    """
    if isinstance(dataset, Transformed):
        if not dataset.transform.is_random and (decoded := dataset.images.decoded):
            return _Threads(dataset, decoded, batches, workers, pin_memory)
        collate = tuple  # which `read` gives
    return _Loader(
        dataset,
        batch_sampler=batches,  # type: ignore[arg-type]  # any iterable of index lists will do
        num_workers=workers,
        pin_memory=pin_memory,
        collate_fn=collate,
        worker_init_fn=_leave_group,
        generator=torch.Generator(),  # else starting the workers would advance the global generator
    )


def shard(indices: Sequence[int], rank: int, world: int, batch_size: int) -> list[list[int]]:
    """This rank's share of the indices, in batches, in order and with no tail dropped."""
    mine = list(indices[rank::world])
    return [mine[i : i + batch_size] for i in range(0, len(mine), batch_size)]
