"""The weights that are here, and installing others so that a full disk or a kill at any moment loses nothing."""

from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import safetensors.torch
import torch
from filelock import FileLock
from safetensors import SafetensorError
from timm.models import get_arch_pretrained_cfgs, split_model_name_tag

from scarlet_models.errors import UserError, as_user_error
from scarlet_models.files import remove, sha256_of, write_bytes
from scarlet_models.models import refresh
from scarlet_models.networks import create_on_meta
from scarlet_models.space.released import GENOTYPES

from . import store
from .save import half_precision, load
from .source import mismatch


def tags() -> list[str]:
    """Every `NAME.TAG` that can have weights."""
    return [tag for name in GENOTYPES for tag in get_arch_pretrained_cfgs(name)]


@lru_cache
def shapes(name: str) -> dict[str, torch.Size]:
    """Names and shapes of the tensors of `NAME.TAG`."""
    return {key: tensor.shape for key, tensor in create_on_meta(name).state_dict().items()}


def install(data: bytes, name: str) -> Path:
    """Install a safetensors file's content as the weights of `NAME.TAG`, known to timm; return its place."""
    if name not in tags():
        raise UserError(f"there are no weights called {name!r}: they are {', '.join(tags())}")
    with as_user_error("not a safetensors file, or a damaged one", SafetensorError, KeyError, ValueError):
        tensors = safetensors.torch.load(data)
    if problem := mismatch(tensors, shapes(name)):
        raise UserError(f"these are not weights of {name}: {problem}")
    folder = store.store_dir()
    path = folder / f"{name}.safetensors"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            for stale in (*folder.glob(f".{path.name}.*.tmp"), *folder.glob(".manifest.json.*.tmp")):
                remove(stale)  # from an installation that was killed
            _replace(path, data)
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.strerror or error}; SCARLET_HOME can move the store"
        ) from error
    refresh(split_model_name_tag(name)[0])
    return path


def available() -> list[dict[str, str]]:
    """Where the weights of every tag are: store, package, or not here (the path is then empty)."""
    rows = []
    for tag in tags():
        path = store.find(*tag.split(".", 1))
        state = "not here" if path is None else "store" if path.parent == store.store_dir() else "package"
        rows.append({"name": tag, "state": state, "path": str(path or "")})
    return rows


def verify() -> list[dict[str, str]]:
    """The state of every file that store or package hold or list: ok, damaged, missing or unlisted."""
    rows = []
    for folder in (store.store_dir(), store.package_dir()):
        listed = store.read_manifest(folder)
        for name in sorted({*listed, *(path.name for path in folder.glob("*.safetensors"))}):
            path = folder / name
            state = "missing" if not path.is_file() else "unlisted" if name not in listed else "ok"
            if state == "ok" and sha256_of(path) not in listed[name]:
                state = "damaged"
            rows.append({"name": name.removesuffix(".safetensors"), "state": state, "path": str(path)})
    return rows


def install_file(path: Path, name: str = "") -> Path:
    """Put weights into the store as `name`, by default the file's own. Returns their place there.

    A safetensors file is kept as it is. Weights of an exported network's folder, or of its run, are rounded to float16,
    batch norms excepted.
    """
    try:
        if path.is_dir():
            data = safetensors.torch.save(half_precision(load(path)), {"format": "pt"})
        else:
            data = path.read_bytes()
        return install(data, name or path.name.removesuffix(".safetensors"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _replace(path: Path, data: bytes) -> None:
    """List old and new hash, then write the file, then list the new hash: wherever it stops, the file is listed."""
    before = store.read_manifest(path.parent)
    new = sha256(data).hexdigest()
    store.write_manifest(path.parent, {**before, path.name: (new, *before.get(path.name, ()))})
    try:
        write_bytes(path, data)
    except UserError:
        store.write_manifest(path.parent, before)
        raise
    store.write_manifest(path.parent, {**before, path.name: (new,)})
