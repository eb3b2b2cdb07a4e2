"""torch.hub from a clone that is not installed: in a process that can find the package nowhere else."""

from __future__ import annotations

import ast
import runpy
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DETECTORS = ["fasterrcnn_scarlet", "retinanet_scarlet", "ssdlite_scarlet"]
ENTRIES = sorted([*DETECTORS, "scarlet_a", "scarlet_a2", "scarlet_a4", "scarlet_b", "scarlet_c", "scarlet_net"])

# What stands before each script: site-packages without this package, and without the .pth files of editable installs.
PREAMBLE = """
import importlib.util, sys
packages, hub_dir, clone = sys.argv[1:]
sys.path.append(packages)
assert importlib.util.find_spec("scarlet_models") is None, "found without the clone"
import torch
torch.hub.set_dir(hub_dir)
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Links to everything in site-packages but this package, wherever and however it is installed."""
    folder = tmp_path_factory.mktemp("packages")
    for source in dict.fromkeys(sysconfig.get_paths()[kind] for kind in ("purelib", "platlib")):
        for entry in Path(source).iterdir():
            if "scarlet" not in entry.name and entry.suffix != ".pth":
                (folder / entry.name).symlink_to(entry)
    return folder


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what torch.hub downloads, where torch.hub keeps it."""
    folder = tmp_path_factory.mktemp("hub") / "someone_scarlet-models_main"
    for name in ("scarlet_models", "search"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("hubconf.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    return folder


def _run(script: str, packages: Path, clone: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", "-c", PREAMBLE + script, str(packages), str(clone.parent), str(clone)]
    return subprocess.run(command, capture_output=True, text=True, cwd="/")


def test_list_help_and_load_from_a_clone(packages: Path, clone: Path) -> None:
    script = f"""
repo = {{"github": "someone/scarlet-models:main", "skip_validation": True, "trust_repo": True}}
assert sorted(torch.hub.list(**repo, verbose=False)) == {ENTRIES}
for name in {ENTRIES}:
    assert "SCARLET" in torch.hub.help(**repo, model=name) or "genotype" in torch.hub.help(**repo, model=name)
assert "timm" not in sys.modules, "hubconf imports lazily"
model = torch.hub.load(clone, "scarlet_c", source="local", num_classes=10)
assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
assert sys.modules["scarlet_models"].__file__.startswith(clone)
net = torch.hub.load(clone, "scarlet_net", source="local", genotype="0,1,2,3,0", space="mini", features_only=True)
assert [tap.shape[1] for tap in net(torch.zeros(1, 3, 32, 32))] == [8, 16, 32]
for name in {DETECTORS}:
    detector = torch.hub.load(clone, name, source="local", name="scarlet_c", num_classes=4).eval()
    assert set(detector([torch.zeros(3, 40, 60)])[0]) == {{"boxes", "labels", "scores"}}
assert clone not in sys.path
"""
    done = _run(script, packages, clone)
    assert done.returncode == 0, done.stderr


def test_the_search_works_from_a_clone(packages: Path, clone: Path) -> None:
    script = """
sys.path.insert(0, clone)
from scarlet_models.search import SearchSpace, Supernet
net = Supernet("mini").eval()
assert net(torch.zeros(1, 3, 32, 32), SearchSpace.load("mini").validate([0, 1, 2, 3, 0])).shape == (1, 10)
try:
    import search
except ModuleNotFoundError as error:
    assert "import scarlet_models.search" in str(error)
else:
    raise AssertionError("one module under two names")
"""
    done = _run(script, packages, clone)
    assert done.returncode == 0, done.stderr


def test_the_search_without_its_packages_says_how_to_install_them(packages: Path, clone: Path, tmp_path: Path) -> None:
    for entry in packages.iterdir():
        if not entry.name.startswith("pymoo"):
            (tmp_path / entry.name).symlink_to(entry)
    script = """
sys.path.insert(0, clone)
from scarlet_models.search.cli import main
assert main(["evolve", "x", "--data-dir", "x"]) == 2
"""
    done = _run(script, tmp_path, clone)
    assert done.returncode == 0, done.stderr
    advice = f'pip install -e ".[search]" in {clone}'
    assert done.stderr == f"scarlet-search evolve: needs pymoo: {advice}\n"


def test_dependencies_name_every_package_that_the_models_import() -> None:
    imported, todo = set[str](), ["scarlet_models", "scarlet_models.detection.models"]
    while todo:
        name = todo.pop()
        if name.partition(".")[0] != "scarlet_models":
            imported.add(name.partition(".")[0])
        elif name not in imported:
            imported.add(name)
            todo += _imports(ROOT / name.replace(".", "/"))
    third_party = {name for name in imported if not name.startswith("scarlet_models")} - set(sys.stdlib_module_names)
    assert "scarlet_models.models" in imported
    assert {"torch", "timm", "yaml"} <= third_party <= set(runpy.run_path(str(ROOT / "hubconf.py"))["dependencies"])


def _imports(module: Path) -> list[str]:
    """Modules that a module's source imports, anywhere in it; for names that are no modules, those they come from."""
    file = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
    if not file.is_file():
        return []
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = file.relative_to(ROOT).with_suffix("").parts[: -node.level] if node.level else ()
            origin = ".".join([*package, *([node.module] if node.module else [])])
            found += [origin, *(f"{origin}.{alias.name}" for alias in node.names)]
    return found
