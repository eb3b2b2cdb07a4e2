"""Which weights are here, and whether their files are whole."""

from __future__ import annotations

from pathlib import Path

from scarlet_models.errors import UserError
from scarlet_models.files import sha256_of

from .install import install, tags
from .store import find, package_dir, read_manifest, store_dir


def available() -> list[dict[str, str]]:
    """Where the weights of every tag are: store, package, or not here (the path is then empty)."""
    rows = []
    for tag in tags():
        path = find(*tag.split(".", 1))
        state = "not here" if path is None else "store" if path.parent == store_dir() else "package"
        rows.append({"name": tag, "state": state, "path": str(path or "")})
    return rows


def verify() -> list[dict[str, str]]:
    """The state of every file that store or package hold or list: ok, damaged, missing or unlisted."""
    rows = []
    for folder in (store_dir(), package_dir()):
        listed = read_manifest(folder)
        for name in sorted({*listed, *(path.name for path in folder.glob("*.safetensors"))}):
            path = folder / name
            state = "missing" if not path.is_file() else "unlisted" if name not in listed else "ok"
            if state == "ok" and sha256_of(path) not in listed[name]:
                state = "damaged"
            rows.append({"name": name.removesuffix(".safetensors"), "state": state, "path": str(path)})
    return rows


def install_file(path: Path, name: str = "") -> Path:
    """Put a safetensors file into the store and return its place there.

    Args:
        path: The file.
        name: NAME.TAG of the weights; empty to read it from the file's name.

    Raises:
        UserError: The file cannot be read, or `store.install` refuses it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    try:
        return install(data, name or path.name.removesuffix(".safetensors"))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
