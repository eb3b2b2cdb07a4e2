"""The examples run as they stand."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from helpers.images import write_colours
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHARED = Path(os.environ.get("SCARLET_SHARED", Path(__file__).parents[2] / "shared")) / "data"


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _bash(script: str, *arguments: str | Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["bash", str(EXAMPLES / script), *map(str, arguments)]
    subprocess.run(command, check=True, env={**os.environ, "PATH": path})


def test_linear_probe_tells_colours_apart(tmp_path: Path) -> None:
    assert _load("linear_probe").main(write_colours(tmp_path / "images")) > 90


@pytest.mark.slow
def test_fine_tune_learns_colours(tmp_path: Path) -> None:
    name = _load("fine_tune").main(write_colours(tmp_path / "images"), tmp_path / "run", epochs=4)
    assert name in ("blue", "green", "red")


@pytest.mark.slow
def test_evolve_shipped_finds_a_front(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    for name in CIFAR10:
        (tmp_path / "images/train" / name).mkdir(parents=True)
        for i in range(20):
            pixels = noise.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images/train" / name / f"{i}.png")
    front = _load("evolve_shipped").main(tmp_path / "images", tmp_path / "out", population=4, generations=2, scored=20)
    assert len(front) >= 1 and (tmp_path / "out/front.png").stat().st_size > 1000


@pytest.mark.slow
def test_two_processes(tmp_path: Path) -> None:
    _bash("two_processes.sh", write_colours(tmp_path / "images"), tmp_path / "run")
    assert (tmp_path / "run/supernet.safetensors").is_file()


def test_the_notebook_is_executed_and_holds_figures_only() -> None:
    cells = json.loads((EXAMPLES / "own_space.ipynb").read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert all(cell["execution_count"] for cell in cells if cell["cell_type"] == "code")
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2  # the curve and the front


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path) -> None:
    client = pytest.importorskip("nbclient", reason="of the extra docs")
    nbformat = pytest.importorskip("nbformat", reason="of the extra docs")
    notebook = nbformat.read(EXAMPLES / "own_space.ipynb", 4)
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # of its shell lines
    client.NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert (tmp_path / "runs/own_space/front.png").is_file()


@pytest.mark.slow
def test_detection(tmp_path: Path) -> None:
    if not (SHARED / "bccd").is_dir():
        pytest.skip("needs the BCCD images of the data folder (SCARLET_SHARED)")
    files = [next((SHARED / "bccd").glob(pattern)) for pattern in ("*.tar", "*.json")]
    _bash("detection.sh", *files, tmp_path / "run", "--epochs", "1", "--threads", "1")
    assert list((tmp_path / "run/found").iterdir())
