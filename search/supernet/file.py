"""A trained supernet on disk: supernet.safetensors, and beside it supernet.json with what is needed to use it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save

from scarlet_models.files import sha256_of, write_bytes, write_json
from scarlet_models.weights.save import half_precision

from .stored import NAME, read, readable
from .supernet import Supernet


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


def save_supernet(net: Supernet, folder: Path, info: SupernetInfo, name: str = NAME, half: bool = False) -> Path:
    """Writes both files into the folder, the weights first; returns the path of the weights.

    Args:
        net: The supernet.
        folder: Made if need be.
        info: What is written beside the weights; its sha256 is filled in.
        name: Of the weights' file; the other ends in .json.
        half: Store float16, batch norms excepted; it loads as float32.

    Raises:
        UserError: The folder cannot be written.
    """
    path = folder / name
    state = half_precision(net) if half else net.state_dict()
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
    write_bytes(path, save(tensors, {"format": "pt"}))
    network = {"space": net.space.to_dict(), "num_classes": net.num_classes, "stabilizer": net.stabilizer}
    content = {**network, "in_chans": net.in_chans, **asdict(info), "sha256": sha256_of(path)}
    write_json(path.with_suffix(".json"), content)
    return path


def load_supernet(path: Path | str) -> tuple[Supernet, SupernetInfo]:
    """The supernet on the CPU in float32 and eval mode, and what came with it.

    Args:
        path: The weights' file, the folder (of a run) that holds it, or the name of a supernet that ships.

    Raises:
        UserError: A file is absent or damaged, or the two do not belong together.
    """
    with readable(path):
        stored = read(path)
        net = Supernet.of_stored(stored)
        net.info = info = SupernetInfo(**stored.info)
        return net, info
