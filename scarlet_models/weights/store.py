"""Putting weights into the local store, so that a full disk or a kill at any moment loses nothing."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import safetensors.torch
import timm
import torch
from filelock import FileLock
from safetensors import SafetensorError
from timm.models import get_arch_pretrained_cfgs, split_model_name_tag
from torch import Tensor

from scarlet_models.errors import UserError
from scarlet_models.files import remove, write_bytes, write_json
from scarlet_models.models import GENOTYPES, refresh

from .resolve import read_manifest, store_dir


def tags() -> list[str]:
    """Every `NAME.TAG` that can have weights."""
    return [tag for name in GENOTYPES for tag in get_arch_pretrained_cfgs(name)]


@lru_cache
def shapes(name: str) -> dict[str, torch.Size]:
    """The tensors that the weights of `NAME.TAG` consist of."""
    with torch.device("meta"):
        return {key: tensor.shape for key, tensor in timm.create_model(name).state_dict().items()}


def install(data: bytes, name: str) -> Path:
    """Put the content of a safetensors file into the store as the weights of `NAME.TAG`, and tell timm's registry.

    Returns:
        The file in the store.

    Raises:
        UserError: no such tag, not its weights, or the store cannot be written; what was there before is untouched.
    """
    if name not in tags():
        raise UserError(f"there are no weights called {name!r}: they are {', '.join(tags())}")
    _check_weights(data, name)
    store = store_dir()
    path = store / f"{name}.safetensors"
    try:
        store.mkdir(parents=True, exist_ok=True)
        with FileLock(store / ".lock"):
            for stale in (*store.glob(f".{path.name}.*.tmp"), *store.glob(".manifest.json.*.tmp")):
                remove(stale)  # from an installation that was killed
            _replace(path, data)
    except OSError as error:
        raise UserError(
            f"cannot write to {store}: {error.strerror or error}; SCARLET_HOME can move the store"
        ) from error
    refresh(split_model_name_tag(name)[0])
    return path


def _replace(path: Path, data: bytes) -> None:
    """List old and new hash, then write the file, then list the new hash: wherever it stops, the file is listed."""
    before = read_manifest(path.parent)
    new = sha256(data).hexdigest()
    write_manifest(path.parent, {**before, path.name: (new, *before.get(path.name, ()))})
    try:
        write_bytes(path, data)
    except UserError:
        write_manifest(path.parent, before)
        raise
    write_manifest(path.parent, {**before, path.name: (new,)})


def write_manifest(folder: Path, entries: dict[str, tuple[str, ...]]) -> None:
    """Write manifest.json: a file's sha256, or while it is replaced its new and old ones."""
    plain = {name: hashes[0] if len(hashes) == 1 else hashes for name, hashes in sorted(entries.items())}
    write_json(folder / "manifest.json", plain)


def _check_weights(data: bytes, name: str) -> None:
    try:
        tensors = safetensors.torch.load(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"not a safetensors file, or a damaged one: {error}") from error
    if problem := mismatch(tensors, shapes(name)):
        raise UserError(f"these are not weights of {name}: {problem}")


# What files of weights hold; complex, quantized and 8-bit numbers, which float32 does not simply take, are refused.
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int32, torch.int64)


def mismatch(tensors: dict[str, Tensor], expected: dict[str, torch.Size]) -> str:
    """How tensors differ from the expected keys and shapes; empty if they do not and all are finite as float32."""
    missing, extra = expected.keys() - tensors.keys(), tensors.keys() - expected.keys()
    for keys, what in (missing, "is missing"), (extra, "is too much"):
        if keys:
            return f"{min(keys)} {what}" + (f", and {len(keys) - 1} more" if len(keys) > 1 else "")
    for key, shape in expected.items():
        tensor = tensors[key]
        if tensor.dtype not in _DTYPES or tensor.layout != torch.strided or tensor.is_meta:
            return f"{key} is no plain tensor of numbers"
        if tensor.shape != shape:
            return f"{key} has shape {tuple(tensor.shape)}, not {tuple(shape)}"
        if not tensor.float().isfinite().all():
            return f"{key} is not finite in float32"
    return ""
