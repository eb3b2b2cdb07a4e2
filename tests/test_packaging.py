"""What is built from this tree: wheel and sdist hold everything, and the installed wheel works outside the checkout."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DATA = (
    "space/spaces/scarlet.yaml",
    "space/spaces/mini.yaml",
    "weights/manifest.json",
    "weights/scarlet_a.tiny_in.safetensors",
    "weights/scarlet_b.tiny_in.safetensors",
    "weights/scarlet_c.tiny_in.safetensors",
    "py.typed",
    "detection/recipes/bccd_cpu.yaml",
    "training/recipes/cifar10_cpu.yaml",
    "search/recipes/digits.yaml",
    "search/report/page.js",
    "search/report/report.html.j2",
    "search/supernets/manifest.json",
)

TRY = """
import sys, timm, torch, scarlet_models
from pathlib import Path
from scarlet_models.search import SearchSpace, Supernet
assert Path(scarlet_models.__file__).is_relative_to(sys.argv[1]), scarlet_models.__file__
net = Supernet("mini").eval()
genotype = SearchSpace.load("mini").validate([0, 3, 1, 3, 2])
images = torch.randn(2, 3, 32, 32)
assert torch.allclose(net(images, genotype), net.extract(genotype)(images), atol=1e-4)
for name in timm.list_models("scarlet*", pretrained=True):
    timm.create_model(name, pretrained=True)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with wheel and sdist, built from the files that git tracks."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    if tracked.returncode:
        pytest.skip("not a git checkout: which files belong to the package is not known")
    for name in tracked.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, tree]
    subprocess.run(build, check=True, capture_output=True, text=True)
    return out


def test_wheel_and_sdist_hold_the_data(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"scarlet_models/{name}" for name in DATA} <= names
    assert {"scarlet_cli.py", "scarlet_models/search/supernet/supernet.py"} <= names
    assert not [name for name in names if name.startswith(("search/", "tests/"))]
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        files = {name.partition("/")[2] for name in archive.getnames()}
    assert {name if name.startswith("search/") else f"scarlet_models/{name}" for name in DATA} <= files
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.splitlines()
    hidden = [name for name in tracked if name.startswith(".")]
    assert not {name for name in tracked if (ROOT / name).is_file()} - {*hidden, "MANIFEST.in"} - files


@pytest.mark.parametrize("part", ["scarlet_models", "search"])
def test_every_package_that_is_imported_is_declared(part: str) -> None:
    """Whichever extra it is of: those of other extras are imported where they are needed, with a line if absent."""
    entries = importlib.metadata.requires("scarlet-models") or []
    declared = {re.split(r"[^\w-]", entry)[0].lower().replace("-", "_") for entry in entries}
    trees = [ast.parse(path.read_text()) for path in (ROOT / part).rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    imported = {name.split(".")[0] for name in names} - {"scarlet_models", *sys.stdlib_module_names}
    other_names = {"PIL": "pillow", "yaml": "pyyaml", "sklearn": "scikit_learn"}
    assert {"torch", "PIL"} <= imported
    assert {other_names.get(name, name) for name in imported} <= declared


def test_installed_wheel_works_outside_the_checkout(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel]
    subprocess.run(install, check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(site), "SCARLET_HOME": str(tmp_path / "store")}
    run = subprocess.run(
        [sys.executable, "-c", TRY, site], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    for script, word in (("scarlet-models", "classify"), ("scarlet-search", "retrain")):
        command = [sys.executable, site / "bin" / script, "--help"]
        run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert word in run.stdout, run.stderr
    code = "from scarlet_models.errors import how_to_add; print(how_to_add('search'))"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.stdout.startswith(f'pip install "scarlet-models[search] @ file://{wheel}'), run.stdout + run.stderr
