"""Converting published checkpoints (`.pth.tar`) to tensors in timm's layout."""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scarlet_models.errors import UserError
from scarlet_models.space.released import GENOTYPES
from scarlet_models.space.space import Genotype

from .install import shapes
from .shipped import PUBLISHED
from .source import mismatch

# Modules of the published networks -> modules of timm's. The separable convolution is timm's first block.
_OUTSIDE = {
    "stem.0": "conv_stem",
    "stem.1": "bn1",
    "separable_conv.0": "blocks.0.0.conv_dw",
    "separable_conv.1": "blocks.0.0.bn1",
    "separable_conv.3": "blocks.0.0.conv_pw",
    "separable_conv.4": "blocks.0.0.bn2",
    "conv_before_pooling.0": "conv_head",
    "conv_before_pooling.1": "bn2",
    "classifier": "classifier",
}
_BLOCK = {
    "conv1": "conv_pw",
    "bn1": "bn1",
    "conv2": "conv_dw",
    "bn2": "bn2",
    "mid_se.squeeze_conv": "se.conv_reduce",
    "mid_se.excite_conv": "se.conv_expand",
    "conv3": "conv_pwl",
    "bn3": "bn3",
}


def convert(path: Path) -> tuple[str, dict[str, Tensor]]:
    """A published network's name, and its tensors under timm's keys: float32, and int64 counters.

    The file's `model_state` has the layout of SCARLET-A, B or C, with or without `module.` prefixes. No code in it is
    run: a checkpoint that holds code, is damaged, or is of another network is a UserError.
    """
    published = _read(path)
    nearest = max(GENOTYPES, key=lambda candidate: len(keys(candidate).keys() & published.keys()))
    names, expected = keys(nearest), shapes(f"{nearest}.{PUBLISHED}")
    if problem := mismatch(published, {key: expected[ours] for key, ours in names.items()}):
        raise UserError(f"{path} is not a published checkpoint, nearest is {nearest}: {problem}")
    return nearest, {ours: _plain(published[key], ours) for key, ours in names.items()}


def keys(name: str) -> dict[str, str]:
    """Published key -> timm's key, for each tensor of a released network. Identities have a number but no tensors."""
    modules = dict(_OUTSIDE)
    genotype = Genotype.parse(GENOTYPES[name])
    position = [0] * len(genotype.space.stages)
    for layer in genotype.space.layers:
        choice = genotype.space.choices[genotype.choices[layer.index]]
        if not choice.identity:
            block = f"blocks.{layer.stage + 1}.{position[layer.stage]}"
            modules |= {f"mb_module.{layer.index}.{theirs}": f"{block}.{ours}" for theirs, ours in _BLOCK.items()}
            position[layer.stage] += 1
    theirs = {ours: theirs for theirs, ours in modules.items()}
    split = (key.rpartition(".") for key in shapes(name))
    return {f"{theirs[module]}.{leaf}": f"{module}.{leaf}" for module, _, leaf in split}


def _plain(tensor: Tensor, key: str) -> Tensor:
    """A copy, as safetensors refuses tensors that share memory."""
    dtype = torch.int64 if key.endswith("num_batches_tracked") else torch.float32
    return tensor.detach().to(dtype, copy=True, memory_format=torch.contiguous_format)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about unusual pickles, which the error below covers
            checkpoint: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged pickles fail in every way: EOFError, ValueError, IndexError, KeyError ...
        unsafe = "weights_only" in str(error).lower()
        reason = "it holds code, which is not run" if unsafe else "it is damaged or cut short"
        raise UserError(f"cannot read {path} as a checkpoint: {reason}; get it again from its publisher") from error
    state = checkpoint.get("model_state") if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} is not a published checkpoint: it has no 'model_state' of tensors")
    return {str(key).removeprefix("module."): value for key, value in state.items()}
