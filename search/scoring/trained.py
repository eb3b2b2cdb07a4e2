"""A trained supernet to score with: a folder, a name, or a Supernet in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from scarlet_models.errors import UserError
from scarlet_models.search.supernet.file import SupernetInfo, is_shipped
from scarlet_models.search.supernet.supernet import Supernet, load_supernet


@dataclass(frozen=True)
class TrainedSupernet:
    """A supernet with the record of its training.

    Args:
        net: The supernet.
        info: The record; its sha256 is that of the file, or of the tensors of a supernet in memory.
        name: The folder, file or name it was loaded from; "SPACE-SHA256" of a supernet in memory.
        folder: Default folder for results.
    """

    net: Supernet
    info: SupernetInfo
    name: str
    folder: Path


def open_supernet(source: Supernet | str | Path) -> TrainedSupernet:
    """A trained supernet from its folder, its file, the name of one that ships, or a Supernet that was loaded.

    Raises:
        UserError: There is no such supernet, or it has no record of its training.
    """
    if isinstance(source, Supernet):
        if source.info is None:
            raise UserError(
                "this Supernet has no record of its training images: take it from train_supernet, or load it by "
                "Supernet.from_pretrained(FOLDER)"
            )
        info = replace(source.info, sha256=_sha256(source))
        name = f"{source.space.name}-{info.sha256[:12]}"
        return TrainedSupernet(source, info, name, Path("runs") / name)
    net, info = load_supernet(source)
    return TrainedSupernet(net, info, str(source), folder_of(source))


def folder_of(supernet: str | Path) -> Path:
    """The default folder for results: the supernet's own, or runs/NAME for one that ships."""
    if is_shipped(supernet):
        return Path("runs") / supernet
    return Path(supernet) if Path(supernet).is_dir() else Path(supernet).parent


def _sha256(net: Supernet) -> str:
    """Of the tensors in memory, which may differ from those on disk."""
    digest = hashlib.sha256()
    for name, tensor in net.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
