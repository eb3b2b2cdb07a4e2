"""Supernets that come with the package: supernets/NAME.safetensors and NAME.json, their sha256s in manifest.json.

A maintainer adds one, in half precision, from a clone that is installed with -e:

  python -m scarlet_models.search.shipped runs/macro nas_bench_macro.c10
"""

from __future__ import annotations

import re
import sys
from importlib.resources import files
from pathlib import Path

from scarlet_models.errors import UserError
from scarlet_models.files import sha256_of
from scarlet_models.weights.store import read_manifest


def package_dir() -> Path:
    """The folder of the supernets that ship."""
    return Path(str(files("scarlet_models.search") / "supernets"))


def names() -> list[str]:
    """Every supernet that ships, such as nas_bench_macro.c10."""
    return sorted(name.removesuffix(".json") for name in read_manifest(package_dir()) if name.endswith(".json"))


def is_shipped(source: str | Path) -> bool:
    """Whether this is the name of one, and of no file or folder of the user's."""
    return str(source) in names() and not Path(source).exists()


def weights_of(name: str) -> Path:
    """The weights' file of a supernet that ships.

    Raises:
        UserError: the installed files are not those that the manifest lists.
    """
    folder = package_dir()
    listed = read_manifest(folder)
    for file in (f"{name}.safetensors", f"{name}.json"):
        if not (folder / file).is_file() or sha256_of(folder / file) not in listed.get(file, ()):
            raise UserError(f"{folder / file} is missing or damaged: install scarlet-models again")
    return folder / f"{name}.safetensors"


def ship(source: Path | str, name: str) -> Path:
    """Puts a trained supernet into the package, in half precision; returns the weights' file.

    Args:
        source: What `load_supernet` reads.
        name: SPACE.DATA, such as nas_bench_macro.c10.

    Raises:
        UserError: a bad name, no supernet, or the folder cannot be written.
    """
    from scarlet_models.weights.store import write_manifest

    from .file import load_supernet, save_supernet

    if not re.fullmatch(r"[a-z0-9_]+\.[a-z0-9_]+", name):
        raise UserError(f"{name!r} is not a name such as nas_bench_macro.c10: SPACE.DATA, in small letters and digits")
    net, info = load_supernet(source)
    folder = package_dir()
    path = save_supernet(net, folder, info, name=f"{name}.safetensors", half=True)
    listed = read_manifest(folder) | {file.name: (sha256_of(file),) for file in (path, path.with_suffix(".json"))}
    write_manifest(folder, listed)
    return path


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: python -m scarlet_models.search.shipped FOLDER NAME, not {len(sys.argv) - 1} arguments")
    try:
        print(ship(*sys.argv[1:]))
    except UserError as error:
        sys.exit(str(error))
