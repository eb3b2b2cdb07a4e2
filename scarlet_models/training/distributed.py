"""Data parallelism under torchrun: start-up, ranks, and what they exchange."""

import logging
import os
import re
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from scarlet_models.errors import UserError
from scarlet_models.files import owning
from scarlet_models.signals import StopSignals

from .device import pick_device

_PATIENCE = "SCARLET_RANK_TIMEOUT"  # seconds after which a rank that does not answer ends the run
_GRACE = 10  # seconds to write a checkpoint in, once torchrun has gone


@dataclass(frozen=True)
class World:
    """This process among those that train together; one process alone is rank 0 of 1."""

    rank: int
    size: int
    device: torch.device
    signals: StopSignals = field(default_factory=StopSignals, compare=False)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def mean_(self, tensors: Sequence[Tensor]) -> None:
        """Replaces each tensor by its mean over all ranks, which pass the same shapes, by a flat all-reduce a dtype."""
        if self.size == 1:
            return
        for dtype in sorted({t.dtype for t in tensors}, key=str):
            group = [t for t in tensors if t.dtype == dtype]
            flat = torch.cat([t.detach().reshape(-1) for t in group])
            dist.all_reduce(flat)
            flat /= self.size
            for tensor, values in zip(group, flat.split([t.numel() for t in group]), strict=True):
                tensor.detach().copy_(values.view_as(tensor))

    def sum(self, values: Sequence[float]) -> list[float]:
        """The sums of each value over all ranks."""
        return list(map(sum, zip(*self.gather(values), strict=True)))

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, in the order of ranks, on every rank; tensors in it must lie on the CPU."""
        if self.size == 1:
            return [value]
        box: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(box, value)
        return box

    def broadcast(self, value: Any) -> Any:
        """Rank 0's value, on every rank; tensors in it must lie on the CPU."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Rank 0 runs the block before the others do: for what it downloads or writes and they read."""
        if not self.is_main:
            dist.barrier()
        yield
        if self.is_main and self.size > 1:
            dist.barrier()


@contextmanager
def start(device: str = "auto", threads: int = 0) -> Iterator[World]:
    """Joins the processes that torchrun started (nccl on GPUs, gloo on CPUs), or stands alone.

    At the end all folders are released that were locked meanwhile. SIGINT and SIGTERM end the processes in order. A
    UserError says that there is no such device, or that another rank is gone or does not answer.
    """
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    place = pick_device(device, threads)
    with owning(), StopSignals() as signals, _group(place, size):
        yield World(rank, size, place, signals)


@contextmanager
def _group(device: torch.device, size: int) -> Iterator[None]:
    """The group of processes, which none may leave alone."""
    if size == 1:
        yield
        return
    if "TORCHELASTIC_RUN_ID" in os.environ:
        threading.Thread(target=_follow, args=[os.getppid()], daemon=True).start()
    patience = float(os.environ.get(_PATIENCE, 1800))
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(seconds=patience))
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and not re.search("gloo|Connection|Timed out", str(error)):
            raise
        limit = f"within {patience:g} seconds ({_PATIENCE} changes that)"
        raise UserError(f"another rank has ended or did not answer {limit}; its reason is above; resume") from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _follow(launcher: int) -> None:
    """Ends this rank once torchrun is gone: with a checkpoint if it can, by force if it hangs."""
    while os.getppid() == launcher:
        time.sleep(1)
    logging.getLogger(__name__).warning("torchrun is gone: this rank ends")
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE)
    os._exit(128 + signal.SIGTERM)


@contextmanager
def start_training(device: str, threads: int) -> Iterator[World]:
    """`start` for what trains: only rank 0 logs what is no warning; on a CPU only deterministic algorithms run."""
    with start(device, threads) as world:
        if not world.is_main:
            logging.disable(logging.INFO)
        torch.use_deterministic_algorithms(world.device.type == "cpu", warn_only=True)  # costs nothing there
        yield world
