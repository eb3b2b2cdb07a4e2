"""The device that computes: picking it, moving a network to it, and the C library's allocator beside it."""

import ctypes
import os

import torch
from torch import nn

from scarlet_models.errors import UserError, first_line

from .depthwise import Network, accelerate_depthwise

# malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST = 2**31 - 1  # bytes, the largest int


def pick_device(name: str, threads: int = 0) -> torch.device:
    """The torch device of a name, which becomes this process's current one; a UserError says that there is none.

    "auto" is this process's GPU, or the CPU if there is none. A CPU's freed memory is kept. `threads` are torch's CPU
    threads; 0 keeps its own number.
    """
    if threads:
        torch.set_num_threads(threads)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        if device.type == "cuda":
            torch.cuda.set_device(device)
        torch.empty(1, device=device).cpu()  # fails on meta, which computes nothing
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name} cannot be used here ({first_line(error)}); try --device cpu") from None
    if device.type == "cpu":
        keep_freed_memory()
    return device


def to_device(model: Network, device: torch.device, channels_last: bool = True, fast_depthwise: bool = True) -> Network:
    """Moves a model to the device, in place, with fast depthwise gradients if that is a CPU.

    Convolutions keep their weights in the layout `channels_last`, which is the faster one nearly everywhere.
    """
    if fast_depthwise and device.type == "cpu":
        accelerate_depthwise(model)
    for module in model.modules():
        if isinstance(module, nn.Hardswish):
            module.inplace = False  # in place, autograd copies the input first
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return model.to(device, memory_format=layout)  # type: ignore[call-overload]  # torch's stub lacks this


def keep_freed_memory() -> bool:
    """Lets this process keep the memory that it frees. Returns whether the C library could be told; glibc can.

    glibc hands each freed block of some megabytes back to the system and then gets it anew, page by page. For a
    training step on a CPU these page faults cost a fifth of the time (benchmarks/supernet_step.py).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    told = [mallopt(parameter, _LARGEST) for parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD)]
    return all(told)
