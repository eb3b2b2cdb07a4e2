"""A small network in a folder, and images of its classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from helpers.images import COLOURS, write_colours

from scarlet_models.weights import save as saving

GENOTYPE = "0,1,2,3,0"


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network of space mini, of random weights of a fixed seed."""
    torch.manual_seed(1)
    model = timm.create_model("scarlet_net", genotype=GENOTYPE, space="mini", num_classes=3).eval()
    torch.nn.init.normal_(model.get_submodule("classifier").weight, std=0.5)  # logits that differ
    folder = tmp_path_factory.mktemp("saved") / "net"
    saving.save(model, folder, label_names=sorted(COLOURS))
    return folder


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of three classes: train/ with 120, test/ with 30."""
    return write_colours(tmp_path_factory.mktemp("colours") / "images")
