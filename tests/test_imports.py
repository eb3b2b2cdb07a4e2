"""The house: layers that import downwards, no cycles, small folders and files, options and commands without torch."""

from __future__ import annotations

import ast
import graphlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = [file.parent for part in ("scarlet_models", "search") for file in (ROOT / part).rglob("__init__.py")]

FILES = [file for folder in PACKAGES for file in folder.glob("*.py")]

# From the top down: a module may import from the layers below its own, and in a row in braces also from its neighbours.
LAYERS = """
    search
    __main__ cli
    commands
    export
    detection
    training
    inference inspection
    images
    {from_timm networks models weights}
    space
    program
    parsing
    options
    terminal files signals documents
    errors version
"""
SEARCH_LAYERS = """
    __main__
    {commands cli}
    report
    pipeline ablation
    evolution retraining
    latency
    scoring
    supernet
"""


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> grimp.ImportGraph:
    """Who imports whom, in the package as it is installed: with the search inside."""
    package = tmp_path_factory.mktemp("tree") / "scarlet_models"
    sources = {package: ROOT / "scarlet_models", package / "search": ROOT / "search"}
    for copy, source in sources.items():
        shutil.copytree(source, copy, ignore=lambda _, names: [n for n in names if n == "search" or _is_data(n)])
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(package.parent))
        patch.delitem(sys.modules, "scarlet_models", raising=False)  # its place, which grimp would take
        return grimp.build_graph("scarlet_models", cache_dir=None)


def _is_data(name: str) -> bool:
    return "." in name and not name.endswith(".py")


def _module(path: Path) -> str:
    """The name under which a file or folder is imported."""
    return re.sub("^search", "scarlet_models.search", ".".join(path.relative_to(ROOT).with_suffix("").parts))


def test_nothing_imports_itself_by_a_detour(graph: grimp.ImportGraph) -> None:
    """Imports inside functions and those for type checking count too."""
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" is imported by ".join(error.args[1]))


@pytest.mark.parametrize(("package", "text"), [("scarlet_models", LAYERS), ("scarlet_models.search", SEARCH_LAYERS)])
def test_imports_go_downwards(graph: grimp.ImportGraph, package: str, text: str) -> None:
    rows = text.split("\n")[1:-1]
    layers = [grimp.Layer(*re.findall(r"\w+", row), independent="{" not in row) for row in rows]
    placed = {f"{package}.{name}" for layer in layers for name in layer.module_tails}
    assert graph.find_children(package) <= placed, "name each module and folder in LAYERS above"
    wrong = graph.find_illegal_dependencies_for_layers(layers, containers={package})
    assert not [f"{sorted(route.heads)} must not import {sorted(route.tails)}" for row in wrong for route in row.routes]


def test_no_module_imports_the_package_itself(graph: grimp.ImportGraph) -> None:
    """The package registers the networks with timm, and so needs torch: its modules name the module they want."""
    assert not graph.find_modules_that_directly_import("scarlet_models")


def test_who_asks_timm_for_a_network_has_registered_ours(graph: grimp.ImportGraph) -> None:
    """The console scripts do not: see scarlet_models/__init__.py."""
    modules = {_module(path) for path in FILES if _asks_timm(ast.parse(path.read_text()))}
    assert "scarlet_models.networks" in modules
    assert not [module for module in modules if not graph.chain_exists(module, "scarlet_models.models")]


def _asks_timm(tree: ast.AST) -> bool:
    names = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return not names.isdisjoint({"timm.create_model", "timm.list_models", "timm.is_model"})


def test_folders_and_files_are_small() -> None:
    for folder in PACKAGES:
        modules = [path for path in folder.glob("*.py") if path.name not in ("__init__.py", "__main__.py")]
        assert len(modules) <= 18 or folder.name == "commands", f"{folder} has {len(modules)} modules"
    lengths = {_module(path): len(path.read_text().splitlines()) for path in FILES}
    assert not {module: length for module, length in lengths.items() if length > 400}
    assert {path.name for path in (ROOT / "search").glob("*.py")} == {"__init__.py", "__main__.py", "cli.py"}


def test_every_package_is_installed() -> None:
    tomllib = pytest.importorskip("tomllib")  # of Python 3.11
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(map(_module, PACKAGES))


def test_commands_and_options_import_no_torch() -> None:
    """In a process that starts as a console script does."""
    options = [_module(path) for path in FILES if path.name == "options.py"]
    code = f"""
import importlib, scarlet_cli, sys
from scarlet_models.cli import PROGRAM as MODELS
from scarlet_models.commands.detect import PROGRAM as DETECT
from scarlet_models.search.cli import PROGRAM as SEARCH
loads = [lambda program=program, name=name: program.load(name)
         for program in (MODELS, DETECT, SEARCH) for name in program.commands]
loads += [lambda name=name: importlib.import_module(name) for name in {options!r}]
for load in loads:
    module = load()
    if "torch" in sys.modules:
        sys.exit(f"{{module.__name__}} imports torch")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
