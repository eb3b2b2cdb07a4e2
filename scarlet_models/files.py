"""Writing files atomically, so that a crash never leaves half of one; and their sha256."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

from scarlet_models.errors import UserError, first_line


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Create or replace a file. After a crash at any moment, either the old or the new file is there, whole.

    Raises:
        UserError: The disk is full or the folder cannot be written. The old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        fsync(path.parent)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as a RuntimeError
        reason = getattr(error, "strerror", None) or first_line(error)
        raise UserError(f"cannot write {path}: {reason}; free space or mend the folder, then go on") from error
    finally:
        remove(temporary)


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes with `write_atomically`."""
    write_atomically(path, lambda file: file.write(data))


def write_text(path: Path, text: str) -> None:
    """Write text with `write_atomically`."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Any, indent: int = 2) -> None:
    """Write plain data as JSON with `write_atomically`."""
    write_text(path, json.dumps(content, indent=indent) + "\n")


def write_csv(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Write rows, the first of which is the header, as CSV with `write_atomically`."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(path, text.getvalue())


def fsync(path: Path) -> None:
    """Make a file's content or a folder's entries survive a power cut, on systems that have such a call."""
    if os.name == "posix":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file if possible; do nothing if not."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
