"""Fake weights, and empty folders that they are looked for in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
from helpers.weights import IN1K, OURS, Fake, Folders, random_weights, refresh

from scarlet_models.weights import save as saving
from scarlet_models.weights import store


@pytest.fixture(scope="module")
def fake() -> Fake:
    contents = [saving.half_precision(random_weights(name, seed)) for name, seed in ((IN1K, 1), (OURS, 2), (OURS, 3))]
    return Fake(*(safetensors.torch.save(tensors, {"format": "pt"}) for tensors in contents))


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Folders]:
    """Empty folders, and timm told of what is in them."""
    found = Folders(tmp_path / "store", tmp_path / "package")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCARLET_HOME", str(found.store))
        patch.setattr(store, "package_dir", lambda: found.package)
        refresh()
        yield found
    refresh()
