"""The local store of weights: what there is, where it is, whether it is whole, and adding a file.

list     every tag, and whether its weights are in the store, in the package or not here
dir      the store's folder; the environment variable SCARLET_HOME moves it
verify   compare every file in store and package with its sha256
install  put safetensors files into the store, such as scarlet_a.c10.safetensors
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scarlet_models.errors import UserError
from scarlet_models.options import option

EXAMPLE = """  scarlet-models weights list
  scarlet-models weights install scarlet_a.c10.safetensors"""


@dataclass
class Options:
    """Options of weights.

    Args:
        action: list, dir, verify or install.
        files: With install, safetensors files.
        name: With install, NAME.TAG of the one file; read from its file name if not given.
        json: With list and verify, print JSON.
    """

    action: Literal["list", "dir", "verify", "install"] = option(positional=True)
    files: list[str] = option([], positional=True)
    name: str | None = option(None, free=True)
    json: bool = option(False, once=True)


def main(options: Options) -> None:
    """Run one action."""
    from scarlet_models.weights.store import store_dir

    if options.action != "install" and (options.files or options.name):
        raise UserError(f"{options.action} takes no files")
    if options.action == "dir":
        print(store_dir())
    elif options.action == "list":
        _show(available(), options.json)
    elif options.action == "verify":
        found = verify()
        _show(found, options.json)
        if bad := [row["path"] for row in found if row["state"] != "ok"]:
            raise UserError(f"not as listed: {', '.join(bad)}; remove and install again")
    else:
        _install([Path(file) for file in options.files], options.name)


def available() -> list[dict[str, str]]:
    """For every tag, where its weights are: store, package, or not here (the path is then empty)."""
    from scarlet_models.weights.install import tags
    from scarlet_models.weights.store import find, store_dir

    rows = []
    for tag in tags():
        path = find(*tag.split(".", 1))
        state = "not here" if path is None else "store" if path.parent == store_dir() else "package"
        rows.append({"name": tag, "state": state, "path": str(path or "")})
    return rows


def verify() -> list[dict[str, str]]:
    """Every file that is in store or package, or listed there: ok, damaged, missing or unlisted."""
    from scarlet_models.files import sha256_of
    from scarlet_models.weights.store import package_dir, read_manifest, store_dir

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


def _show(rows: list[dict[str, str]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        print(f"{row['name']:{width}}  {row['state']:8}  {row['path']}".rstrip())


def _install(files: list[Path], name: str | None) -> None:
    from scarlet_models.weights.install import install

    if not files:
        raise UserError("install needs a file, such as scarlet_a.c10.safetensors")
    if name and len(files) > 1:
        raise UserError("--name is for one file")
    for file in files:
        try:
            data = file.read_bytes()
        except OSError as error:
            raise UserError(f"cannot read {file}: {error.strerror}") from error
        try:
            print(install(data, name or file.name.removesuffix(".safetensors")))
        except UserError as error:
            raise UserError(f"{file}: {error}") from error
