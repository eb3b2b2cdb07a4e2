"""Where the tests of this folder run: on a GPU. SCARLET_TEST_DEVICE=cpu checks the tests themselves without one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from helpers.images import write_colours


@pytest.fixture(scope="session")
def device() -> torch.device:
    name = os.environ.get("SCARLET_TEST_DEVICE", "cuda")
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no GPU here")
    return torch.device(name)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("colours"))
