"""Folders with a trained network, in the layout that timm loads: config.json and model.safetensors."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors
import timm
import torch
from safetensors.torch import save_file
from timm.models._hub import save_config_for_hf
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from scarlet_models.errors import UserError

# What described other weights than these.
_STALE = ("tag", "license", "origin_url", "file", "label_names", "label_descriptions", "label_offset", "pool_size")


def save_exported(
    model: nn.Module,
    folder: Path,
    model_args: dict[str, Any],
    data_config: dict[str, Any],
    label_names: Sequence[str],
    half: bool = False,
) -> None:
    """Writes a folder that `timm.create_model("local-dir:FOLDER", pretrained=True)` loads, replacing what is there.

    Args:
        model: A timm model.
        folder: Made whole or not at all.
        model_args: What create_model needs besides the architecture's name (a genotype and its space); plain data.
        data_config: input_size, mean, std, interpolation, crop_pct and crop_mode that the network was trained for.
        label_names: Names of the classes in the order of the outputs.
        half: Store float16, batch norm excepted; it loads as float32.

    Raises:
        UserError: The folder cannot be written.
    """
    network: Any = model  # timm sets pretrained_cfg on every model, which nn.Module does not declare
    before = network.pretrained_cfg
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        kept = {key: value for key, value in before.items() if key not in _STALE}
        network.pretrained_cfg = {**kept, **data_config, "num_classes": len(label_names)}
        config = {"label_names": list(label_names), "pretrained_cfg": dict(data_config)}
        save_config_for_hf(model, str(temporary / "config.json"), model_config=config, model_args=model_args)
        save_file(_tensors(model, half), temporary / "model.safetensors", {"format": "pt"})
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"cannot write {folder}: {error}; free space or mend the folder, then go on") from error
    finally:
        network.pretrained_cfg = before
        shutil.rmtree(temporary, ignore_errors=True)


def _tensors(model: nn.Module, half: bool) -> dict[str, Tensor]:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if half:
        norms = tuple(name + "." for name, module in model.named_modules() if isinstance(module, _BatchNorm))
        for name, tensor in tensors.items():
            if tensor.dtype == torch.float32 and not name.startswith(norms):
                tensors[name] = tensor.half()
    return tensors


def load_exported(folder: Path) -> nn.Module:
    """The network of such a folder, in float32 and eval mode.

    Raises:
        UserError: The folder is incomplete, damaged, or of another architecture.
    """
    try:
        return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    except (OSError, RuntimeError, ValueError, KeyError, safetensors.SafetensorError) as error:
        raise UserError(f"{folder} is not an exported network: {str(error).splitlines()[0]}") from error
