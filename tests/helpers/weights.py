"""Random weights, and folders to find them in."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from torch import nn

from scarlet_models import models
from scarlet_models.models import GENOTYPES
from scarlet_models.weights.install import install

IN1K, OURS = "scarlet_a.xiaomi_in1k", "scarlet_a.tiny_in"
only_where_timm_forgets = pytest.mark.skipif(
    not hasattr(timm.models._registry, "_clear_model_entries"),
    reason="this timm goes on listing the tags of a model that is registered anew with others",
)


def random_weights(name: str, seed: int, **kwargs: Any) -> nn.Module:
    """A network whose every tensor is its own, batch norm statistics too."""
    torch.manual_seed(seed)
    model = timm.create_model(name, **kwargs).eval()
    for key, tensor in model.state_dict().items():
        if key.endswith(("running_mean", "running_var")):
            tensor.uniform_(0.5, 1.5)
    return model


def settled_net(genotype: str, space: Any = "mini") -> nn.Module:
    """A network of ten classes whose statistics and scales are not those of a fresh one."""
    net = timm.create_model("scarlet_net", genotype=genotype, space=space, num_classes=10).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if "bn" in name and tensor.ndim:
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return net


@dataclass
class Fake:
    """Content of fake files of weights."""

    in1k: bytes
    ours: bytes
    other: bytes


@dataclass
class Folders:
    """The folders that weights are looked for in."""

    store: Path
    package: Path

    def ship(self, name: str, data: bytes) -> None:
        """Put a file into the package."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SCARLET_HOME", str(self.package))
            install(data, name)


def refresh() -> None:
    for name in GENOTYPES:
        models.refresh(name)


def listed() -> list[str]:
    return timm.list_models("scarlet*", pretrained=True)


def create(name: str = "scarlet_a", **kwargs: Any) -> nn.Module:
    """A pretrained network; a warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return timm.create_model(name, pretrained=True, **kwargs).eval()


def holds(model: nn.Module, data: bytes, without: str = "nothing") -> bool:
    """Whether every tensor of the model is the file's, but for those of one module."""
    expected = safetensors.torch.load(data)
    own = {key: tensor for key, tensor in model.state_dict().items() if not key.startswith(without)}
    return bool(own) and all(torch.equal(tensor, expected[key].to(tensor.dtype)) for key, tensor in own.items())


def flip_last_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
