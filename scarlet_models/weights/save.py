"""Saving and loading networks in folders of the layout that timm loads: config.json and model.safetensors."""

import copy
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from timm.models._hub import save_config_for_hf
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from scarlet_models.errors import UserError, as_user_error
from scarlet_models.files import cannot_write, fsync
from scarlet_models.networks import create

from .source import CONFIG, LOCAL, WEIGHTS

TRAINED = "trained_images.npy"  # what a training adds: which images it saw

# What described the weights that a network was trained from.
_STALE = ("tag", "license", "origin_url", "label_names", "label_descriptions", "label_offset", "pool_size")


def save(
    model: nn.Module,
    folder: Path | str,
    model_args: Mapping[str, Any] | None = None,
    data_config: Mapping[str, Any] | None = None,
    label_names: Sequence[str] | None = None,
    half: bool = False,
    more: Mapping[str, bytes] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Write a folder that `timm.create_model("local-dir:FOLDER", pretrained=True)` loads, or replace such a folder.

    Args:
        model: A timm model; one of `scarlet_net` is saved with its genotype and its whole space.
        folder: The folder. If it cannot be written or holds other files (UserError), what was there stays.
        model_args: Arguments of create_model besides the architecture's name and the genotype, as plain data.
        data_config: input_size, mean, std, interpolation, crop_pct, crop_mode, where `pretrained_cfg` has others.
        label_names: Classes in the order of the outputs. They mark the weights as new: what the model's cfg says about
            the weights that it was trained from is left out.
        half: Store float16 except for batch norms. It loads as float32.
        more: Further files: name -> content, such as a model card.
        notes: Further entries of config.json, which timm ignores.
    """
    folder, more = Path(folder), more or {}
    if label_names is not None and len(label_names) != model.num_classes:
        raise UserError(f"{len(label_names)} label names for a network with {model.num_classes} classes")
    with whole_folder(folder, {CONFIG, WEIGHTS, TRAINED, *more}) as new:
        write_config(model, new / CONFIG, model_args, data_config, label_names, notes)
        write_weights(half_precision(model) if half else model.state_dict(), new / WEIGHTS)
        for name, content in more.items():
            (new / name).write_bytes(content)


@contextmanager
def whole_folder(folder: Path, names: set[str]) -> Iterator[Path]:
    """A new folder to fill. It replaces `folder` at the end; if filling fails, the old folder stays.

    A folder that holds other files than `names` is not replaced.
    """
    if folder.is_dir() and (other := {path.name for path in folder.iterdir()} - names):
        raise UserError(f"{folder} holds other files, such as {min(other)}: choose another folder")
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True, exist_ok=True)
        yield temporary
        for path in (*temporary.iterdir(), temporary):
            fsync(path)
        old = temporary.with_suffix(".old")
        if folder.exists():
            folder.rename(old)  # a kill here leaves both, under hidden names
        temporary.rename(folder)
        fsync(folder.parent)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_weights(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a safetensors file."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    path.write_bytes(safetensors.torch.save(plain, metadata={"format": "pt"}))


def load(folder: Path | str) -> nn.Module:
    """The network of a saved folder, in float32 and eval mode."""
    with as_user_error(f"{folder} is not a saved network", UserError):
        return create(f"{LOCAL}:{folder}", pretrained=True).eval()


def half_precision(model: nn.Module) -> dict[str, Tensor]:
    """The model's tensors as float16, except those of batch norms, whose variances may overflow in float16."""
    norms = tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, _BatchNorm))
    return {
        key: tensor.half() if tensor.dtype == torch.float32 and not key.startswith(norms) else tensor
        for key, tensor in model.state_dict().items()
    }


def write_config(
    model: Any,
    path: Path,
    model_args: Mapping[str, Any] | None = None,
    data_config: Mapping[str, Any] | None = None,
    label_names: Sequence[str] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Write timm's config.json; arguments are as for `save`."""
    cfg: dict[str, Any] = model.pretrained_cfg
    if label_names is not None or model.num_classes != cfg.get("num_classes"):
        cfg = {key: value for key, value in cfg.items() if key not in _STALE}
    extra = {**(notes or {}), **({"label_names": list(label_names)} if label_names is not None else {})}
    described = copy.copy(model)  # shares everything but its attributes: timm writes the cfg that it finds on a model
    described.pretrained_cfg = {**cfg, **(data_config or {}), "num_classes": model.num_classes}
    arguments = dict(model_args or {})
    if cfg["architecture"] == "scarlet_net":
        arguments |= {"genotype": str(model.genotype), "space": model.genotype.space.to_dict()}
    write: Any = save_config_for_hf  # its path is annotated str, yet older versions of timm need a Path
    with as_user_error("cannot save the model's configuration", ValueError):
        write(described, path, model_config=extra, model_args=arguments)
