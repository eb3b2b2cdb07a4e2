"""Supernets that come with the package: supernets/NAME.safetensors and NAME.json, their sha256s in manifest.json."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from scarlet_models.errors import UserError
from scarlet_models.files import sha256_of
from scarlet_models.weights.store import read_manifest


def package_dir() -> Path:
    return Path(str(files("scarlet_models.search") / "supernets"))


def names() -> list[str]:
    """Every supernet that ships, such as nas_bench_macro.c10."""
    return sorted(name.removesuffix(".json") for name in read_manifest(package_dir()) if name.endswith(".json"))


def is_shipped(source: str | Path) -> bool:
    """Whether this is the name of one, and of no file or folder of the user's."""
    return str(source) in names() and not Path(source).exists()


def weights_of(name: str) -> Path:
    """The weights' file of a supernet that ships, if the installed files are those that the manifest lists."""
    folder = package_dir()
    listed = read_manifest(folder)
    for file in (f"{name}.safetensors", f"{name}.json"):
        if not (folder / file).is_file() or sha256_of(folder / file) not in listed.get(file, ()):
            raise UserError(f"{folder / file} is missing or damaged: install scarlet-models again")
    return folder / f"{name}.safetensors"
