"""The files of a trained supernet: supernet.safetensors and supernet.json, found, checked and read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load_file
from torch import Tensor

from scarlet_models.documents import read_json
from scarlet_models.errors import UserError, first_line
from scarlet_models.files import sha256_of

from . import shipped

NAME = "supernet.safetensors"
NETWORK = ("space", "num_classes", "stabilizer", "in_chans")  # entries of the JSON that describe the network


@dataclass(frozen=True)
class SupernetInfo:
    """What came with a supernet's weights."""

    image_size: int  # side in px
    data_config: dict[str, Any]  # timm's: input_size, mean, std, interpolation, crop_pct, crop_mode
    classes: list[str]  # in the order of the outputs
    holdout: float
    split_seed: int
    split_hash: str  # names the held-out images; commands that read others must refuse
    steps: int  # fair steps
    sampling: str
    train_split: str = "train"
    sha256: str = ""  # of the weights' file; empty before it is written


def read(path: Path | str) -> tuple[dict[str, Any], dict[str, Tensor], SupernetInfo]:
    """Arguments of a supernet, its tensors in float32, and the record of its training.

    They are named by the path of the weights, the folder (of a run) that holds them, or the name of one that ships.
    """
    weights = shipped.weights_of(str(path)) if shipped.is_shipped(path) else Path(path)
    weights = weights / NAME if weights.is_dir() else weights
    record = weights.with_suffix(".json")
    record.stat()  # raises where there is no supernet
    content = read_json(record, dict)
    if sha256_of(weights) != content["sha256"]:
        raise UserError(f"{weights} is damaged or another training's: its sha256 is not the one in the JSON beside it")
    tensors = {name: t.float() if t.is_floating_point() else t for name, t in load_file(weights).items()}
    return {name: content.pop(name) for name in NETWORK}, tensors, SupernetInfo(**content)


@contextmanager
def readable(path: Path | str) -> Iterator[None]:
    """Turn what reading a supernet and building it may raise into a UserError that says what there is."""
    try:
        yield
    except UserError:
        raise
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        ships = ", ".join(shipped.names()) or "none"
        raise UserError(
            f"{path} holds no supernet ({first_line(error)}); scarlet-search train writes one, and of those that ship "
            f"there are: {ships}"
        ) from error
