"""Where a tag's weights come from: the local store, then the package, then the Hub. Every file is checked by sha256.

`weights/manifest.json` in the package and `manifest.json` in the store map file names to sha256s.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from scarlet_models.errors import UserError

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PUBLISHED, SHIPPED = "xiaomi_in1k", "c10"


def store_dir() -> Path:
    """The local store: `SCARLET_HOME`, or the user's cache folder. It need not exist."""
    home = os.environ.get("SCARLET_HOME")
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) if home else Path(cache) / "scarlet_models"


def package_dir() -> Path:
    """The folder of the weights that ship."""
    return Path(str(files("scarlet_models") / "weights"))


def find(name: str, tag: str) -> str | None:
    """Path of the local file of `name.tag`, in the store or the package; None if there is none. Not yet checked."""
    for folder in (store_dir(), package_dir()):
        path = folder / f"{name}.{tag}.safetensors"
        if path.is_file():
            return str(path)
    return None


def resolve(name: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a model built with `pretrained=True`, with the weights of its tag found, checked and filled in.

    Without a tag: the published ImageNet weights if they are in the store, else the shipped CIFAR-10 weights, with a
    warning. An explicit tag, cfg or overlay wins.

    Raises:
        UserError: the tag has no weights here, or its file is not what the manifest says.
    """
    cfg, overlay = kwargs.get("pretrained_cfg"), dict(kwargs.get("pretrained_cfg_overlay") or {})
    if isinstance(cfg, dict) or any(overlay.get(source) for source in ("file", "url", "hf_hub_id", "state_dict")):
        return kwargs
    tag = cfg or (PUBLISHED if find(name, PUBLISHED) else SHIPPED)
    path = find(name, tag)
    if path is None:
        raise UserError(f"no weights for {name}.{tag} here: {_how_to_get(name, tag)}")
    if not cfg and tag == SHIPPED:
        warnings.warn(
            f"{name}: loading {name}.{SHIPPED}, trained by this project on CIFAR-10 (10 classes, 64 px). "
            f"For the published ImageNet weights: {_how_to_get(name, PUBLISHED)}",
            stacklevel=4,
        )
    check(Path(path))
    return {**kwargs, "pretrained_cfg": tag, "pretrained_cfg_overlay": {"file": path} | overlay}


def _how_to_get(name: str, tag: str) -> str:
    if tag == PUBLISHED:
        return (
            "get the checkpoint from https://github.com/xiaomi-automl/SCARLET-NAS, then run "
            f"`scarlet-models convert CHECKPOINT.pth.tar --install` ({name})"
        )
    return f"`scarlet-models weights list` shows what there is; `scarlet-models weights install` adds a file to {store_dir()}"


def check(path: Path) -> None:
    """Compare a file's sha256 with its folder's manifest.

    Raises:
        UserError: no manifest entry, or another hash.
    """
    manifest = path.parent / "manifest.json"
    expected = json.loads(manifest.read_text()).get(path.name) if manifest.is_file() else None
    if expected is None:
        raise UserError(f"{path} is not listed in {manifest}: install weights with `scarlet-models weights install`")
    stat = path.stat()
    if _sha256(str(path), stat.st_size, stat.st_mtime_ns) != expected:
        raise UserError(f"{path} is damaged (its sha256 is not the one in {manifest}): remove it and install it again")


@lru_cache(maxsize=32)
def _sha256(path: str, size: int, mtime_ns: int) -> str:
    """sha256 of a file; size and time are in the signature so that a changed file is read again."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file.read())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
