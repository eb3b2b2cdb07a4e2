"""A trained supernet on disk: supernet.safetensors, and beside it supernet.json with what is needed to use it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from safetensors.torch import save

from scarlet_models.files import sha256_of, write_bytes, write_json
from scarlet_models.weights.save import half_precision

from .stored import NAME, SupernetInfo, read, readable
from .supernet import Supernet


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
        return Supernet.of_stored(stored), stored.info
