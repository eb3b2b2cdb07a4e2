"""What all tests share: where the project's data lies, and quiet, small torch."""

from __future__ import annotations

import os
from pathlib import Path

# Before torch is imported, and for the processes that tests start: threads do not help small tensors, and two that wait
# for each other on a busy machine are many times slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("SCARLET_SHARED", ROOT.parent / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The data folder beside the checkout; tests that need it skip where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"no data at {SHARED}/data (set SCARLET_SHARED to where it lies)")
    return SHARED


@pytest.fixture(autouse=True)
def _own_store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees or changes the user's weights."""
    if "SCARLET_HOME" not in os.environ:
        monkeypatch.setenv("SCARLET_HOME", str(tmp_path_factory.mktemp("store")))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
