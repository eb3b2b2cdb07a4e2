"""Files that survive crashes: written whole or not at all, in folders that one process owns at a time."""

import contextlib
import csv
import errno
import hashlib
import io
import json
import os
import platform
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from scarlet_models.errors import UserError, first_line

LOCK = ".lock"  # in a folder: the file that the kernel locks, with a line about its owner

_held: dict[Path, int] = {}  # the folders that this process owns, each with the descriptor of its lock
_UNFINISHED = re.compile(r"\..+\.\d+\.(tmp|old)")  # what a killed process was writing: .NAME.PID.tmp


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Create or replace a file. After an error or a crash at any moment, the old or the new file is there, whole."""
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
        raise cannot_write(path, error) from error
    finally:
        remove(temporary)


def cannot_write(path: Path, error: Exception) -> UserError:
    """The error for a user whose file or folder cannot be written, with what to do about it."""
    number, reason = getattr(error, "errno", None), getattr(error, "strerror", None) or first_line(error)
    advice = "free space, then go on with --resume"
    if number in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
        reason, advice = "a file is in the place of a folder, or a folder in that of a file", "choose another --out"
    elif number in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT):
        advice = "mend the folder's permissions or choose another --out"
    return UserError(f"cannot write {path}: {reason}; {advice}")


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes with `write_atomically`."""
    write_atomically(path, lambda file: file.write(data))


def write_text(path: Path, text: str) -> None:
    """Write text with `write_atomically`."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Any, indent: int = 2) -> None:
    """Write plain data as JSON with `write_atomically`."""
    write_text(path, json.dumps(content, indent=indent) + "\n")


def append(path: Path, text: str, durable: bool = False) -> None:
    """Append to a file; with `durable`, the text survives a power cut from now on."""
    try:
        with path.open("a", encoding="utf-8", newline="") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        raise cannot_write(path, error) from error


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


def lock(folder: Path) -> None:
    """Make this process the owner of a folder, and remove what killed owners left unfinished in it.

    The folder is made if there is none. The kernel holds the lock, so it ends with the process, however that ends;
    `owning` ends it earlier. A process may lock a folder that it owns again; one that another owns is a UserError.
    """
    folder = folder.resolve()
    if folder in _held or os.name != "posix":
        return
    import fcntl

    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o644)
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(descriptor, 1000, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise UserError(f"{folder} is in use by {owner or 'another process'}; wait for it or end it") from None
    except OSError:  # a file system without locks
        os.close(descriptor)
        return
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])[:500]
    owner = f"process {os.getpid()} on {platform.node()} since {time.strftime('%Y-%m-%d %H:%M:%S')}: {command}\n"
    os.ftruncate(descriptor, 0)
    with contextlib.suppress(OSError):  # a full disk
        os.pwrite(descriptor, owner.encode(errors="backslashreplace"), 0)
    _held[folder] = descriptor
    for place in (folder, *(folder / name for name in ("checkpoints", "exported", "generations"))):
        for path in place.glob(".*"):
            if _UNFINISHED.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else remove(path)


@contextlib.contextmanager
def owning(*folders: Path) -> Iterator[None]:
    """Lock folders; at the end release them and all that were locked meanwhile."""
    before = set(_held)
    try:
        for folder in folders:
            lock(folder)
        yield
    finally:
        for folder in _held.keys() - before:
            os.close(_held.pop(folder))


def _disown() -> None:
    """In a forked child, such as a worker that reads images: the lock ends with the parent."""
    for descriptor in _held.values():
        os.close(descriptor)
    _held.clear()


if os.name == "posix":
    os.register_at_fork(after_in_child=_disown)
