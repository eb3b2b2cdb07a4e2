"""Networks in timm's layout, in a local folder or a Hub repository: checked before anything is built from them.

timm builds whatever config.json says. These checks refuse what would give random weights, load anything but
safetensors, or ask for more memory than any machine has.
"""

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
from torch import Tensor

from scarlet_models.documents import read_json
from scarlet_models.errors import UserError
from scarlet_models.files import remove, sha256_of
from scarlet_models.space.reading import MAX_CLASSES, MAX_INPUT_SIZE, names

CONFIG, WEIGHTS = "config.json", "model.safetensors"
LOCAL, HUB = "local-dir", "hf-hub"  # timm's names of sources
MAX_CONFIG = 16 << 20  # bytes: ImageNet-21k's classes and their descriptions take 3 MB

# Complex, quantized and 8-bit numbers, which float32 does not simply take, are refused.
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int32, torch.int64)


def locate(name: str) -> str:
    """What timm takes for a network that a user names: local-dir:FOLDER for a folder, or for a run that exported one.

    A file of weights stands for the folder that it is in. A folder without a network hides no network of its name.
    """
    folder = Path(name.removeprefix(f"{LOCAL}:"))
    if folder.is_file() and (folder.parent / CONFIG).is_file():
        return f"{LOCAL}:{folder.parent}"
    if not name or not folder.is_dir():
        return name
    exported = [] if (folder / CONFIG).is_file() else sorted(folder.glob(f"exported/*/{CONFIG}"))
    if len(exported) > 1:
        raise UserError(f"{folder} holds several networks: name one of {', '.join(str(p.parent) for p in exported)}")
    if not exported and not (folder / CONFIG).is_file() and name == folder.name:
        return name
    return f"{LOCAL}:{exported[0].parent if exported else folder}"


def read_config(source: str, where: str, cache_dir: Any = None) -> dict[str, Any]:
    """The config.json of a folder (`source` is LOCAL) or a repository (HUB)."""
    path = Path(where) / CONFIG if source == LOCAL else download(where, CONFIG, cache_dir)
    config: dict[str, Any] = read_json(path, dict, MAX_CONFIG)
    if problem := _problem(config):
        raise UserError(f"{source}:{where}: its {CONFIG} describes no network: {problem}")
    return config


def check_weights(source: str, where: str, cache_dir: Any = None, filename: str | None = None) -> None:
    """Check that a network has weights in safetensors, the one format that is loaded from folders and the Hub."""
    filename = filename or WEIGHTS
    if not filename.endswith(".safetensors"):
        raise UserError(f"{source}:{where}: {filename} is not loaded, only safetensors are: convert it to {WEIGHTS}")
    if source == HUB:
        download(where, filename, cache_dir)
    elif not (Path(where) / WEIGHTS).is_file():
        raise UserError(f"{where} holds no {WEIGHTS}, the one file that weights are loaded from in a folder")


def download(hub_id: str, filename: str, cache_dir: Any = None) -> Path:
    """A file of a Hub repository (`user/repo` or `user/repo@revision`), from the Hub's cache or the network.

    The Hub names large files in its cache by their sha256, so that a damaged download is noticed. It is then removed.
    """
    repo, _, revision = hub_id.partition("@")
    try:
        path = Path(huggingface_hub.hf_hub_download(repo, filename, revision=revision or None, cache_dir=cache_dir))
    except Exception as error:  # the client also raises what its HTTP library does, and which that is has changed
        reason = hub_reason(error)
        raise UserError(f"cannot download {filename} of {repo} from the Hugging Face Hub: {reason}") from error
    expected = _blob(path).name
    if len(expected) == 64 and sha256_of(path) != expected:
        discard(path)
        raise UserError(f"{filename} of {repo} came damaged from the Hugging Face Hub (wrong sha256): try again")
    return path


def hub_reason(error: Exception) -> str:
    """What an error of the Hub's client says, as one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]) or type(error).__name__


def discard(path: Path) -> None:
    """Remove a file from the Hub's cache, so that the next download starts anew."""
    remove(_blob(path))
    remove(path)


def _blob(path: Path) -> Path:
    """What a file in the Hub's cache links to; that may itself be a link, into a store that goes by other hashes."""
    return path.parent / path.readlink() if path.is_symlink() else path


def mismatch(tensors: Mapping[str, Tensor], expected: Mapping[str, torch.Size]) -> str:
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
    return not_finite(tensors)


def not_finite(tensors: Mapping[str, Tensor]) -> str:
    """Which tensor holds NaN or infinity, or would as float32; empty if none does."""
    wrong = (key for key, tensor in tensors.items() if not tensor.float().isfinite().all())
    return next((f"{key} is not finite in float32" for key in wrong), "")


def _problem(config: Mapping[str, Any]) -> str:
    """Why a network must not be built from a config.json; empty if it may be."""
    cfg, arguments = config.get("pretrained_cfg", config), config.get("model_args") or {}
    architecture = config.get("architecture")
    if "detector" in config:
        return "it is a detector, which `scarlet-models detect eval` and `detect predict` take"
    if not isinstance(architecture, str):
        return "it names no architecture"
    if not isinstance(cfg, Mapping) or not isinstance(arguments, Mapping):
        return "pretrained_cfg and model_args must be mappings"
    classes = config.get("num_classes", cfg.get("num_classes", 1000))
    channels, size = arguments.get("in_chans", 3), cfg.get("input_size", (3, 224, 224))
    if not _whole(classes, 0, MAX_CLASSES):
        return f"num_classes {reprlib.repr(classes)} is not a number from 0 to {MAX_CLASSES}"
    if arguments.get("num_classes", classes) != classes:
        asked = reprlib.repr(arguments["num_classes"])
        return f"model_args ask for {asked} classes, the weights have {classes}, so the classifier would be random"
    if not isinstance(size, list | tuple) or len(size) != 3 or not all(_whole(n, 1, MAX_INPUT_SIZE) for n in size):
        return f"input_size {reprlib.repr(size)} is not three numbers from 1 to {MAX_INPUT_SIZE}"
    if not _whole(channels, 1, MAX_INPUT_SIZE):
        return f"in_chans {reprlib.repr(channels)} is not a number from 1 to {MAX_INPUT_SIZE}"
    if not arguments.get("pretrained_strict", True):
        return "pretrained_strict is false, so missing weights would be random"
    if cfg.get("custom_load"):
        return "custom_load asks for another format than safetensors"
    ours, space = architecture == "scarlet_net", arguments.get("space", "scarlet")
    if ours and "genotype" not in arguments:
        return "model_args hold no genotype"
    if ours and not isinstance(space, Mapping) and space not in names():
        return f"space {reprlib.repr(space)} is neither a whole space nor one of {', '.join(names())}"
    return ""


def _whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
