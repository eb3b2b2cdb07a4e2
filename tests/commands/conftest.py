"""A network as retrain exports it, for the commands that use one."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.models import save_for_hf

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network of space mini, with random weights of a fixed seed, that classifies into CIFAR-10's classes."""
    folder = tmp_path_factory.mktemp("exported") / "net"
    torch.manual_seed(1)
    arguments = {"genotype": "0,1,2,3,0", "space": "mini"}
    model = timm.create_model("scarlet_net", **arguments)
    torch.nn.init.normal_(model.classifier.weight, std=0.5)  # probabilities that differ
    save_for_hf(model, folder, {"label_names": list(CLASSES)}, model_args=arguments, safe_serialization=True)
    return f"local-dir:{folder}"
