"""Batches of transformed images in a repeatable order.

Order and augmentation are pure functions of (seed, epoch, index): neither the number of workers nor where a run was
interrupted changes an image.
"""

from __future__ import annotations

import hashlib
import os
import random
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info
from torchvision import transforms

from scarlet_models.errors import UserError

from .data import LabelledImages


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
        worker_init_fn=_leave_group,
        generator=torch.Generator(),  # else starting the workers would advance the global generator
    )


def shard(indices: Sequence[int], rank: int, world: int, batch_size: int) -> list[list[int]]:
    """This rank's share of the indices, in batches, in order and with no tail dropped."""
    mine = list(indices[rank::world])
    return [mine[i : i + batch_size] for i in range(0, len(mine), batch_size)]
