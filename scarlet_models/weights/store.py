"""Folders of weights: the local store and the package, and the manifest that lists what each holds.

A folder of weights holds files `NAME.TAG.safetensors` and a `manifest.json` that maps each file's name to its sha256,
or to several while `install` replaces the file: wherever that is killed, the file that is there is listed.
"""

import os
from importlib.resources import files
from pathlib import Path

from scarlet_models.documents import read_json
from scarlet_models.errors import UserError
from scarlet_models.files import sha256_of, write_json


def store_dir() -> Path:
    """The local store: `SCARLET_HOME`, or a folder in the user's cache. It need not exist."""
    try:
        if home := os.environ.get("SCARLET_HOME"):
            return Path(home).expanduser()
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scarlet_models"
    except RuntimeError as error:
        raise UserError("the store of weights has no home folder to be in: set SCARLET_HOME to a folder") from error


def package_dir() -> Path:
    """The folder of the weights that ship."""
    return Path(str(files("scarlet_models") / "weights"))


def find(name: str, tag: str) -> Path | None:
    """The local file of `name.tag`, in the store or else the package; None if there is none. Not yet checked."""
    paths = [folder / f"{name}.{tag}.safetensors" for folder in (store_dir(), package_dir())]
    try:
        return next((path for path in paths if path.is_file()), None)
    except OSError as error:
        raise _unreadable(store_dir(), error) from error


def find_checked(name: str, tag: str) -> Path | None:
    """What `find` gives, once it has passed `check`."""
    if path := find(name, tag):
        check(path)
    return path


def registered_file(name: str, tag: str) -> str | None:
    """The file for timm's registry, which names only what loads. Never raises."""
    try:
        path = find_checked(name, tag)
        return str(path) if path else None
    except UserError:
        return None


def read_manifest(folder: Path) -> dict[str, tuple[str, ...]]:
    """File name -> accepted sha256s, from the folder's manifest.json; empty where there is none."""
    path = folder / "manifest.json"
    try:
        path.stat()
        entries = read_json(path, dict)
        return {name: (value,) if isinstance(value, str) else tuple(value) for name, value in entries.items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _unreadable(path, error) from error
    except (UserError, TypeError) as error:
        raise UserError(f"{error}; {path} is damaged: remove it and install the weights again") from error


def write_manifest(folder: Path, entries: dict[str, tuple[str, ...]]) -> None:
    """Write manifest.json: a file's sha256, or while it is replaced its new and old ones."""
    plain = {name: hashes[0] if len(hashes) == 1 else hashes for name, hashes in sorted(entries.items())}
    write_json(folder / "manifest.json", plain)


def check(path: Path) -> None:
    """Compare a file's sha256 with the manifest of its folder."""
    listed = read_manifest(path.parent).get(path.name)
    if listed is None:
        raise UserError(f"{path} is not listed in manifest.json beside it: use `scarlet-models weights install`")
    try:
        found = sha256_of(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    if found not in listed:
        raise UserError(f"{path} is damaged (its sha256 is not the listed one): remove it and install it again")


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"cannot read {path}: {error.strerror}; mend that, or set SCARLET_HOME to another store")
