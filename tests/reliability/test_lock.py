"""One process owns a run's folder: it is named to others, and cleans what a killed owner left."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.supernets import write_images, write_supernet

from scarlet_models.cli import main as scarlet_models
from scarlet_models.errors import UserError
from scarlet_models.files import LOCK, lock, owning
from scarlet_models.search.cli import main as scarlet_search

OWNER = """
import sys, time
from pathlib import Path
sys.modules["scarlet_models"] = type(sys)("scarlet_models")  # without torch
sys.modules["scarlet_models"].__path__ = [sys.argv[2]]
from scarlet_models.files import lock
lock(Path(sys.argv[1]))
if sys.argv[3:]:
    import os
    if os.fork():
        time.sleep(60)
print(flush=True)  # by the child, if there is one: it lives
time.sleep(60)
"""


@contextmanager
def owned(folder: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """Another process owns the folder."""
    package = Path(__file__).parents[2] / "scarlet_models"
    command = [sys.executable, "-c", OWNER, str(folder), str(package), *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout and process.stdout.readline() == "\n"
        yield process
        os.killpg(process.pid, 9)


def test_an_owned_folder_is_refused_until_its_owner_ends(tmp_path: Path) -> None:
    with owned(tmp_path / "run", "fork") as owner:
        with pytest.raises(UserError, match=rf"in use by process {owner.pid} on .* since 20.*; wait for it or end it"):
            lock(tmp_path / "run")
        owner.kill()  # the child that it has forked, as workers are, lives on
        owner.wait()
        with owning(tmp_path / "run"):
            assert str(os.getpid()) in (tmp_path / "run" / LOCK).read_text()
            lock(tmp_path / "run")  # what it owns already
    with owned(tmp_path / "run"):  # and it was released
        pass


def test_what_a_killed_owner_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "exported/.net.77.tmp").mkdir(parents=True)
    (tmp_path / "exported/net").mkdir()
    left = [".config.yaml.77.tmp", "exported/.net.77.tmp/model.safetensors", "checkpoints/.step_1.pt.77.tmp"]
    kept = [".hidden", "config.yaml", "exported/net/config.json", "checkpoints/step_1.pt", ".notes.tmp"]
    kept += [".venv3.11/python", ".idea.2023.3/x"]  # end in a number, as a process does
    for folder in ("checkpoints", ".venv3.11", ".idea.2023.3"):
        (tmp_path / folder).mkdir()
    for name in left + kept:
        (tmp_path / name).write_text("x")
    with owning(tmp_path):
        found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {*kept, LOCK}


@pytest.mark.parametrize("place", ["file", "file/run"])
def test_a_file_in_the_way_is_one_line(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"cannot write .*file.*: a file is in the place of a folder.*choose another"):
        lock(tmp_path / place)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, a supernet, known accuracies."""
    root = tmp_path_factory.mktemp("owned")
    write_images(root / "data", each=6)
    write_supernet(root / "data", root / "net")
    (root / "known.csv").write_text('genotype,accuracy\n"0,0,0,0,0",50\n"1,1,1,1,1",60\n"2,2,2,2,2",70\n')
    return root


@pytest.mark.parametrize(
    "line",
    [
        "scarlet-models train --model test_efficientnet --image-size 16 --epochs 1 --batch-size 4",
        "scarlet-search retrain --space mini --genotype 0,0,0,0,0 --image-size 16 --epochs 1 --batch-size 4",
        "scarlet-search train --space mini --image-size 16 --epochs 1 --batch-size 4",
        "scarlet-search evolve ROOT/net --population 4 --generations 1",
        "scarlet-search rank ROOT/net --known ROOT/known.csv",
        "scarlet-search run --space mini --holdout 0.4 --train.image-size 16 --train.steps 1",
        "scarlet-search ablate --known ROOT/known.csv --train.space mini",
        "scarlet-search quickstart",
    ],
    ids=lambda line: line.split()[1],
)
def test_each_command_refuses_an_owned_folder(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    program, *arguments = line.replace("ROOT", str(root)).split()
    out = tmp_path / "out"
    arguments += ["--out", str(out)]
    if "quickstart" not in line:
        arguments += ["--data-dir", str(root / "data")]
    with owned(out) as owner:
        main = scarlet_models if program == "scarlet-models" else scarlet_search
        assert main(arguments) == 2
        error = capsys.readouterr().err
    assert f"{out} is in use by process {owner.pid} on " in error.splitlines()[-1]
    assert "Traceback" not in error
    assert not [path for path in out.iterdir() if path.name != LOCK]


def test_a_worker_that_is_forked_does_not_hold_the_lock(tmp_path: Path) -> None:
    with owning(tmp_path):
        if not (child := os.fork()):
            time.sleep(60)
            os._exit(0)
    try:
        with owned(tmp_path):
            pass
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
