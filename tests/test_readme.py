"""The commands of the README run as they stand, in its order, in one folder of small data."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.images import write_colours

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"^```bash\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if ".venv" not in line]  # CI runs the set-up
PYTHON = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
# What makes a command of the README a matter of seconds.
CUTS = {
    "scarlet-models train": "--epochs 1 --image-size 32",
    "scarlet-search run": "--train.steps 6 --evolve.generations 1 --evolve.population 4 --retrain.epochs 1",
    "scarlet-models detect train": "--epochs 1 --image-size [48,64] --workers 0",
}


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 150
    prose = [line for line in README.splitlines() if not line.startswith(("|", "python3")) and "](" not in line]
    assert max(map(len, prose)) <= 120


@pytest.mark.slow
def test_commands(tmp_path: Path, shared: Path) -> None:
    write_colours(tmp_path / "my_images")
    shutil.copy(shared / "data/bccd/bccd_images.tar", tmp_path / "images.tar")
    shutil.copy(shared / "data/bccd/bccd_coco.json", tmp_path / "instances.json")
    shutil.copytree(Path(__file__).parents[1] / "docs/pictures", tmp_path / "photos")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    assert len(COMMANDS) >= 7
    for command in COMMANDS:
        cut = next((options for start, options in CUTS.items() if command.startswith(start)), "")
        done = subprocess.run(
            f"{command} {cut}",
            shell=True,
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("code", PYTHON)
def test_python(code: str, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, cwd=tmp_path)
