"""A trained supernet on disk: supernet.safetensors, and beside it supernet.json with what is needed to use it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from safetensors.torch import save

from scarlet_models.files import sha256_of, write_bytes, write_json
from scarlet_models.weights.save import half_precision

from .stored import NAME, SupernetInfo
from .supernet import Supernet


def save_supernet(net: Supernet, folder: Path, info: SupernetInfo, name: str = NAME, half: bool = False) -> Path:
    """Write both files into a folder, the weights first; return their path.

    With `half` the weights but those of batch norms are float16; they load as float32. The sha256 is filled in.
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
    """What `Supernet.from_pretrained` reads, and what came with it."""
    net = Supernet.from_pretrained(path)
    assert net.info
    return net, net.info
