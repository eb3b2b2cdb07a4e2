"""Checkpoints that survive a kill at any moment: written atomically, checksummed, the newest two kept."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from scarlet_models.documents import read_text
from scarlet_models.errors import UserError, as_user_error
from scarlet_models.files import remove, sha256_of, write_atomically, write_text

_OURS = re.compile(r"\.?step_\d+\.(pt|sha256)(\.\d+\.tmp)?")  # what `save_checkpoint` writes, also half written

_logger = logging.getLogger(__name__)


def save_checkpoint(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Writes step_N.pt and its checksum (the format of sha256sum), then deletes all of its own but the newest two.

    The state has what torch.load(weights_only=True) reads. Where writing fails (UserError), earlier files stay.
    """
    path = folder / f"step_{step:09d}.pt"
    write_atomically(path, lambda file: torch.save(state, file))
    write_text(_checksum(path), f"{sha256_of(path)}  {path.name}\n")
    kept = [earlier for earlier in list_checkpoints(folder) if earlier <= path][:2]
    # Besides older ones this removes what a kill left half written, and later ones that resuming found damaged.
    for file in set(folder.iterdir()) - {*kept, *map(_checksum, kept)}:
        if _OURS.fullmatch(file.name):
            remove(file)
    return path


def list_checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints (those with a checksum), the newest first."""
    return sorted((p for p in folder.glob("step_*.pt") if _checksum(p).exists()), reverse=True)


def load_newest(folder: Path) -> dict[str, Any] | None:
    """The state of the newest checkpoint that is whole, with a warning of damaged ones; None without any."""
    paths = list_checkpoints(folder)
    for path in paths:
        try:
            return load_checkpoint(path)
        except UserError as error:
            _logger.warning("%s; falling back to the one before it", error)
    if paths:
        raise UserError(f"every checkpoint in {folder} is damaged; delete the folder and start again without --resume")
    return None


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads one checkpoint onto the CPU, without running code from it; a UserError says that it is damaged."""
    with as_user_error(f"cannot read checkpoint {path}", Exception):  # torch.load raises many kinds
        if read_text(_checksum(path), 1000).split()[:1] != [sha256_of(path)]:
            raise UserError(f"checkpoint {path} is damaged: its sha256 is not the recorded one")
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise UserError(f"checkpoint {path} holds no state of a training")
    return state


def restore_parts(parts: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Loads the states of a training's parts from a checkpoint; a UserError names a part of another kind."""
    for name, part in parts.items():
        try:
            if isinstance(part, Optimizer):
                _restore_optimizer(part, state[name])
            else:
                part.load_state_dict(state[name])
        except (KeyError, RuntimeError, ValueError) as error:
            raise UserError(
                f"the checkpoint does not fit the options: it holds another {name}, or none; restore what they were"
            ) from error


def _restore_optimizer(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """State and learning rate are the checkpoint's, other settings, which --allow-drift may change, the options'."""
    own = optimizer.defaults.keys() - {"lr", "lookahead_step"}  # Lookahead counts its steps among its settings
    settings = [{key: group[key] for key in own} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, ours in zip(optimizer.param_groups, settings, strict=True):
        if missing := ours.keys() - group.keys():
            raise ValueError(f"the settings of another kind of optimizer, without {missing}")
        group.update(ours)


def _checksum(path: Path) -> Path:
    return path.with_suffix(".sha256")
