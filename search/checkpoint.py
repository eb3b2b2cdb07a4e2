"""Checkpoints that survive a kill at any moment: written atomically, checksummed, the newest two kept."""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch

from scarlet_models.errors import UserError

_logger = logging.getLogger(__name__)
KEEP = 2


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Creates or replaces a file such that after a crash at any moment either the old or the new one is there, whole.

    Raises:
        UserError: The disk is full or the folder cannot be written; the old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _fsync_folder(path.parent)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as a RuntimeError
        temporary.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(f"cannot write {path}: {reason}; free space or mend the folder, then go on") from error


def sha256_of(path: Path) -> str:
    """The file's sha256 in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def save_checkpoint(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Writes step_N.pt and its checksum (the format of sha256sum), then deletes all but the newest two.

    Args:
        folder: Made if absent.
        step: Optimizer steps done; names the file.
        state: Tensors, numbers, strings and containers of them: what torch.load(weights_only=True) reads.

    Raises:
        UserError: The disk is full or the folder cannot be written; earlier checkpoints are untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step_{step:09d}.pt"
    write_atomically(path, lambda file: torch.save(state, file))
    line = f"{sha256_of(path)}  {path.name}\n"
    write_atomically(_checksum(path), lambda file: file.write(line.encode()))
    kept = list_checkpoints(folder)[:KEEP]
    for file in set(folder.iterdir()) - {*kept, *map(_checksum, kept)}:  # older ones, and what a kill left half written
        file.unlink()
    return path


def list_checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints (those with a checksum), the newest first."""
    return sorted((p for p in folder.glob("step_*.pt") if _checksum(p).exists()), reverse=True)


def load_newest(folder: Path) -> dict[str, Any] | None:
    """The state of the newest checkpoint that is whole; None where there is none at all.

    A damaged checkpoint is named in a warning and the one before it is taken.

    Raises:
        UserError: There are checkpoints, and every one is damaged.
    """
    paths = list_checkpoints(folder)
    for path in paths:
        try:
            return load_checkpoint(path)
        except UserError as error:
            _logger.warning("%s; falling back to the one before it", error)
    if paths:
        raise UserError(f"every checkpoint in {folder} is damaged; delete the folder and start again without --resume")
    return None


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads one checkpoint onto the CPU after comparing its checksum; runs no code from it.

    Raises:
        UserError: The file is absent, truncated, altered or not a checkpoint.
    """
    try:
        if sha256_of(path) != _checksum(path).read_text().split()[0]:
            raise UserError(f"checkpoint {path} is damaged: its sha256 is not the recorded one")
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, IndexError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f"cannot read checkpoint {path}: {str(error).splitlines()[0]}") from error
    return state


def _checksum(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
