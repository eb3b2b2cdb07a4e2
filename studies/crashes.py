"""Commands in forked processes that are killed, or whose disk fails, before their n-th file operation.

The process that forks imports what the commands need, once; it must not have run any network itself.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import scarlet_models.detection.training
import scarlet_models.search.evolution.search
import scarlet_models.search.retraining.retraining
import scarlet_models.search.supernet.training  # noqa: F401  # the children would import it each
from scarlet_models.cli import main as scarlet_models_main
from scarlet_models.files import _UNFINISHED
from scarlet_models.search.cli import main as scarlet_search_main
from scarlet_models.training.checkpoint import list_checkpoints, load_checkpoint

HANG = 120  # seconds; a run takes a few

_FAILURES = {"full": errno.ENOSPC, "readonly": errno.EROFS}
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}


@dataclass(frozen=True)
class Fault:
    """What happens before a file operation in a folder: kill; full or readonly, from then on; count only counts.

    Args:
        kind: One of those.
        point: Number of the operation, from 1.
        folder: Where operations count.
    """

    kind: str
    point: int
    folder: Path


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its status (negative for a signal), its stderr, its seconds, and those of the CPU."""

    status: int
    error: str
    seconds: float
    cpu: float

    @property
    def is_one_line(self) -> bool:
        """Whether it ended as a user's mistake does."""
        return self.status == 2 and "Traceback" not in self.error


def run(arguments: Sequence[str], fault: Fault | None = None, before: Callable[[], object] | None = None) -> Outcome:
    """Run a command to its end, or for `HANG` seconds (status -SIGALRM).

    Args:
        arguments: Of the shell, such as ["scarlet-models", "train", ...].
        fault: What goes wrong.
        before: Called in the forked process first.
    """
    return start(arguments, fault, before).wait()


@dataclass
class Started:
    """A command in a forked process."""

    process: int
    error: Path
    since: float

    def send(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.process, number)

    def wait(self) -> Outcome:
        """Wait for its end."""
        while not (ended := os.wait4(self.process, os.WNOHANG))[0]:
            if time.monotonic() - self.since > HANG:
                os.kill(self.process, signal.SIGKILL)
                os.waitpid(self.process, 0)
                return self._outcome(-signal.SIGALRM, HANG)
            time.sleep(0.005)
        return self._outcome(os.waitstatus_to_exitcode(ended[1]), ended[2].ru_utime + ended[2].ru_stime)

    def _outcome(self, status: int, cpu: float) -> Outcome:
        error = self.error.read_text(errors="replace")
        self.error.unlink()
        return Outcome(status, error, time.monotonic() - self.since, cpu)


def start(arguments: Sequence[str], fault: Fault | None = None, before: Callable[[], object] | None = None) -> Started:
    """Start a command; arguments as for `run`."""
    handle, error = tempfile.mkstemp()
    since = time.monotonic()
    if process := os.fork():
        os.close(handle)
        return Started(process, Path(error), since)
    os.dup2(handle, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        sys.argv = list(arguments)
        if before:
            before()
        if fault:
            _install(fault)
        main = scarlet_models_main if arguments[0] == "scarlet-models" else scarlet_search_main
        status = main(arguments[1:])
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stderr.flush()
    os._exit(status)


def _install(fault: Fault) -> None:
    """From now on every file operation in the folder counts. (An audit hook stays for the life of a process.)"""
    count, real_fsync = 0, os.fsync

    def reach(removes: bool) -> None:
        nonlocal count
        count += 1
        if fault.kind == "kill" and count == fault.point:
            os.kill(os.getpid(), signal.SIGKILL)
        if fault.kind == "count":
            os.write(2, b"operation\n")
        if count >= fault.point and fault.kind in _FAILURES and not (fault.kind == "full" and removes):
            number = _FAILURES[fault.kind]
            raise OSError(number, os.strerror(number))

    def watch(event: str, values: tuple[Any, ...]) -> None:
        if event == "open":
            writes = isinstance(values[2], int) and values[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        else:
            writes = event in _CHANGES
        if writes and isinstance(values[0], str | os.PathLike) and os.fspath(values[0]).startswith(str(fault.folder)):
            reach(event in ("os.remove", "os.rmdir"))

    def fsync(descriptor: int) -> None:
        reach(False)
        real_fsync(descriptor)

    os.fsync = fsync
    sys.addaudithook(watch)


def count_operations(arguments: Sequence[str], folder: Path) -> int:
    """File operations in the folder of a run that nothing interrupts."""
    done = run(arguments, Fault("count", 0, folder))
    assert done.status == 0, done.error
    return done.error.count("operation\n")


# What is run


def write_images(folder: Path, count: int = 8) -> None:
    """Noise of two brightnesses, 16 px: train/ and test/ with two classes."""
    noise = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in range(2):
            place = folder / split / f"class{label}"
            place.mkdir(parents=True)
            for number in range(count):
                pixels = noise.integers(0, 120, (16, 16, 3)) + 100 * label
                Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number}.png")


def write_boxes(folder: Path, count: int = 4) -> None:
    """Noise of 64 px with a box each, in COCO's format, with a split train."""
    noise, images, boxes = np.random.default_rng(0), [], []
    (folder / "images").mkdir(parents=True)
    for number in range(1, count + 1):
        name = f"{number}.png"
        Image.fromarray(noise.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(folder / "images" / name)
        images.append({"id": number, "file_name": name, "width": 64, "height": 64})
        box = {"id": number, "image_id": number, "category_id": 1, "bbox": [8, 8, 24, 24], "area": 576, "iscrowd": 0}
        boxes.append(box)
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "thing"}]}
    content["splits"] = {"train": [image["file_name"] for image in images]}
    (folder / "boxes.json").write_text(json.dumps(content))


def commands(root: Path) -> dict[str, list[str]]:
    """Small commands over data below `root`, which is made if absent; each wants --out."""
    data, supernet = root / "data", root / "supernet"
    training = ["--data-dir", str(data), "--workers", "0", "--threads", "1", "--checkpoint-minutes", "0"]
    short = [*training, "--image-size", "16", "--epochs", "2", "--batch-size", "6", "--holdout", "0.25"]
    learn = ["--warmup-epochs", "0", "--color-jitter", "0"]
    train = ["scarlet-search", "train", "--space", "mini", *short, "--choices-every", "2", "--eval-images", "4"]
    detect = ["scarlet-models", "detect", "train", "--images", str(root / "boxes/images"), "--workers", "0"]
    detect += ["--annotations", str(root / "boxes/boxes.json"), "--split", "train", "--val-split", "train"]
    detect += ["--model", "scarlet_c", "--no-pretrained", "--image-size", "[32,48]", "--epochs", "2"]
    detect += ["--detector-args", "{out_channels: 8, extra_levels: 0, anchor_scale: 2.0, score_thresh: 0.0}"]
    detect += ["--batch-size", "2", "--threads", "1", "--checkpoint-minutes", "0", "--lr", "0.001"]
    evolve = ["scarlet-search", "evolve", str(supernet), "--data-dir", str(data), "--workers", "0", "--threads", "1"]
    evolve += ["--population", "4", "--generations", "2", "--batch-size", "4", "--calibration-images", "4"]
    if not data.exists():
        write_images(data)
        write_boxes(root / "boxes")
        made = run([*train, "--out", str(supernet)])
        assert made.status == 0, made.error
    return {
        "train": ["scarlet-models", "train", "--model", "test_efficientnet", *short, *learn],
        "retrain": ["scarlet-search", "retrain", "--genotype", "0,0,0,0,0", "--space", "mini", *short, *learn],
        "supernet": train,
        "detect": detect,
        "evolve": evolve,
    }


# What a run leaves


def digest(folder: Path) -> str:
    """A hash of all that a run's folder says of its result: the newest checkpoint, tables, exports, fronts, scores."""
    found = hashlib.sha256()
    for path in list_checkpoints(folder / "checkpoints")[:1]:
        _add(found, load_checkpoint(path))
    for name in ("metrics.csv", "choices.csv"):
        if (folder / name).exists():
            with (folder / name).open(newline="") as file:
                _add(
                    found, [{k: v for k, v in row.items() if k != "images_per_second"} for row in csv.DictReader(file)]
                )
    if (folder / "evaluations.jsonl").exists():
        _add(found, sorted((folder / "evaluations.jsonl").read_text().splitlines()))
    for pattern in ("exported/*/*", "supernet.*", "search.json", "generations/*.json"):
        for path in sorted(folder.glob(pattern)):
            _add(found, [path.name, path.read_bytes()])
    return found.hexdigest()


def _add(found: Any, value: Any) -> None:
    if isinstance(value, dict):
        for key in sorted(value, key=str):
            _add(found, [key, value[key]])
    elif isinstance(value, list | tuple):
        for item in value:
            _add(found, item)
    elif isinstance(value, torch.Tensor):
        found.update(value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    else:
        found.update(repr(value).encode())


def debris(folder: Path) -> list[Path]:
    """Unfinished files and folders."""
    return [path for path in folder.rglob(".*") if _UNFINISHED.fullmatch(path.name)]


def jump_clock() -> None:
    """In a forked process: the wall clock jumps by up to a day with each look at it, back and forth."""
    real, jumps = time.time, random.Random(0)
    time.time = lambda: real() + jumps.uniform(-86400, 86400)
