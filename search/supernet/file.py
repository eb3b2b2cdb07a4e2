"""A trained supernet on disk: supernet.safetensors, and beside it supernet.json with what is needed to use it.

The supernets that ship are supernets/NAME.safetensors and NAME.json; manifest.json has their sha256s.
"""

from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save
from torch import Tensor

from scarlet_models.documents import read_json
from scarlet_models.errors import UserError
from scarlet_models.files import sha256_of, write_bytes, write_json
from scarlet_models.weights.save import half_precision
from scarlet_models.weights.store import read_manifest

NAME = "supernet.safetensors"
PACKAGE = Path(str(files("scarlet_models.search") / "supernets"))  # of the supernets that ship
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


def save_supernet(net: Any, folder: Path, info: SupernetInfo, name: str = NAME, half: bool = False) -> Path:
    """Write both files of a `Supernet` into a folder, the weights first; return their path.

    With `half` the weights but those of batch norms are float16; they load as float32. The sha256 is filled in.
    """
    path = folder / name
    state = half_precision(net) if half else net.state_dict()
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
    write_bytes(path, save(tensors, {"format": "pt"}))
    network = {key: getattr(net, key) for key in NETWORK} | {"space": net.space.to_dict()}
    write_json(path.with_suffix(".json"), {**network, **asdict(info), "sha256": sha256_of(path)})
    return path


def read_supernet(source: Path | str) -> tuple[dict[str, Any], dict[str, Tensor], SupernetInfo]:
    """Arguments of a supernet, its tensors in float32, and the record of its training.

    They are named by the path of the weights, the folder (of a run) that holds them, or the name of one that ships.
    """
    weights = _shipped_weights(str(source)) if is_shipped(source) else Path(source)
    weights = weights / NAME if weights.is_dir() else weights
    record = weights.with_suffix(".json")
    record.stat()  # raises where there is no supernet
    content = read_json(record, dict)
    if sha256_of(weights) != content["sha256"]:
        raise UserError(f"{weights} is damaged or another training's: its sha256 is not the one in the JSON beside it")
    tensors = {name: t.float() if t.is_floating_point() else t for name, t in load_file(weights).items()}
    return {name: content.pop(name) for name in NETWORK}, tensors, SupernetInfo(**content)


def shipped_names() -> list[str]:
    """Every supernet that ships, such as nas_bench_macro.c10."""
    return sorted(name.removesuffix(".json") for name in read_manifest(PACKAGE) if name.endswith(".json"))


def is_shipped(source: str | Path) -> bool:
    """Whether this is the name of one, and of no file or folder of the user's."""
    return str(source) in shipped_names() and not Path(source).exists()


def _shipped_weights(name: str) -> Path:
    """The weights' file, if the installed files are those that the manifest lists."""
    weights, listed = PACKAGE / f"{name}.safetensors", read_manifest(PACKAGE)
    for file in (weights, weights.with_suffix(".json")):
        if not file.is_file() or sha256_of(file) not in listed.get(file.name, ()):
            raise UserError(f"{file} is missing or damaged: install scarlet-models again")
    return weights
