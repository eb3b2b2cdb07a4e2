"""What the tests of trainings share: reading a run's folder, comparing states, and killing a run."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from scarlet_models.training.checkpoint import list_checkpoints, load_checkpoint

TIMED = "images_per_second"
# Options of classifiers that learn a few small images in seconds, in this process.
QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 32, "lr": 0.05, "workers": 0, "threads": 1}


def metrics(run: str | Path) -> list[dict[str, str]]:
    """The rows of metrics.csv, without what no two runs share."""
    with (Path(run) / "metrics.csv").open(newline="") as file:
        return [{key: value for key, value in row.items() if key != TIMED} for row in csv.DictReader(file)]


def newest(run: str | Path) -> dict[str, Any]:
    """The newest checkpoint."""
    return load_checkpoint(list_checkpoints(Path(run) / "checkpoints")[0])


def same(a: Any, b: Any) -> bool:
    """Equality bit for bit of nested containers of tensors."""
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def command_line(command: str, options: Any, *more: str, processes: int = 1) -> list[str]:
    """The command line of a command, such as "scarlet-models train", with these options, for another process.

    Args:
        command: As a user types it.
        options: A dataclass.
        more: Further arguments.
        processes: To start under torchrun.
    """
    arguments = []
    for name, value in dataclasses.asdict(options).items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            arguments.append(f"--{'' if value else 'no-'}{flag}")
        else:
            arguments.append(f"--{flag}={value if isinstance(value, str) else json.dumps(value)}")
    start = []
    if processes > 1:
        start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
        start += ["--master-port", free_port(), "--no-python"]
    program, *words = command.split()
    return [*start, str(Path(sys.executable).with_name(program)), *words, *arguments, *more]


def free_port() -> str:
    """A port of this machine that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def kill_after(command: list[str], run: str | Path, step: int, delay: float = 0.0) -> None:
    """Starts a training and SIGKILLs it and its children once a checkpoint of this step or later is there."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True, env=environment
    ) as process:
        folder, deadline = Path(run) / "checkpoints", time.monotonic() + 300
        while not any(int(path.stem[5:]) >= step for path in list_checkpoints(folder)):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline, "no checkpoint in time"
            time.sleep(0.01)
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


class NothingRead(TorchDispatchMode):
    """While it is on, no tensor's value may be read back: on a GPU that would wait for all work before it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func is not torch.ops.aten._local_scalar_dense.default, "a value was read back from the device"
        return func(*args, **(kwargs or {}))
