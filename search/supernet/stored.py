"""The files of a trained supernet: supernet.safetensors and supernet.json, found, checked and read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

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
    """What came with a supernet's weights.

    Args:
        image_size: Side in pixels of the images it was trained on.
        data_config: timm's data config of them: input_size, mean, std, interpolation, crop_pct, crop_mode.
        classes: Names of the classes in the order of the outputs.
        holdout: Share of the training split that was held out.
        split_seed: Which images were held out.
        split_hash: Names the held-out images; commands that read others must refuse.
        steps: Fair steps it was trained for.
        sampling: "fair" or "uniform".
        train_split: The split it was trained on.
        sha256: Of the weights' file; empty before it is written.
    """

    image_size: int
    data_config: dict[str, Any]
    classes: list[str]
    holdout: float
    split_seed: int
    split_hash: str
    steps: int
    sampling: str
    train_split: str = "train"
    sha256: str = ""


class Stored(NamedTuple):
    """What the files hold: arguments of the network, its tensors in float32, and the record of its training."""

    network: dict[str, Any]
    tensors: dict[str, Tensor]
    info: SupernetInfo


def read(path: Path | str) -> Stored:
    """The files of a supernet: of its weights, of the folder (of a run) that holds them, or of one that ships by name.

    Raises:
        UserError: The two files do not belong together, or those that shipped are damaged.
    """
    weights = _locate(path)
    record = weights.with_suffix(".json")
    record.stat()  # raises where there is no supernet
    content = read_json(record, dict)
    if sha256_of(weights) != content["sha256"]:
        raise UserError(f"{weights} is damaged or another training's: its sha256 is not the one in the JSON beside it")
    tensors = {name: t.float() if t.is_floating_point() else t for name, t in load_file(weights).items()}
    return Stored({name: content.pop(name) for name in NETWORK}, tensors, SupernetInfo(**content))


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


def _locate(path: Path | str) -> Path:
    if shipped.is_shipped(path):
        return shipped.weights_of(str(path))
    return Path(path) / NAME if Path(path).is_dir() else Path(path)
