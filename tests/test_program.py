"""The engine of the command lines: options from YAML and arguments, one line for each mistake, quick answers."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from scarlet_models.cli import PROGRAM as MODELS
from scarlet_models.program import Program
from scarlet_models.search.cli import PROGRAM as SEARCH
from scarlet_models.version import __version__

BOMB = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in itertools.pairwise("abcdefgh")
)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Program]:
    """A program with one real subcommand and some that end badly."""
    folder = tmp_path / "made_commands"
    (folder / "recipes").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "add.py").write_text('''\
"""Adds numbers."""

from dataclasses import dataclass, field
from typing import Any, Literal

EXAMPLE = "  calc add 1 2"


@dataclass
class Options:
    """Options.

    Args:
        numbers: What to add.
        times: How often.
        how: In which style.
        loud: Shout.
        notes: More to print, by name.
    """

    numbers: list[int] = field(metadata={"positional": True})
    times: int = 1
    how: Literal["plain", "fancy"] = "plain"
    loud: bool = False
    notes: dict[str, Any] = field(default_factory=dict)


def main(options):
    print(sum(options.numbers) * options.times, options.how, options.loud, *[options.notes] * bool(options.notes))
''')
    for name, statement in {
        "stop": "raise KeyboardInterrupt",
        "refuse": "raise UserError('line one\\nline two')",
        "warn": "warnings.warn('careful')",
        "crash": "raise ZeroDivisionError",
        "need_later": "import a_package_that_is_not_there",
    }.items():
        (folder / f"{name}.py").write_text(f'''\
"""Ends badly."""

import warnings
from dataclasses import dataclass

from scarlet_models.errors import UserError

EXAMPLE = ""


@dataclass
class Options:
    """None."""


def main(options):
    {statement}
''')
    (folder / "need.py").write_text("import a_package_that_is_not_there\n")
    (folder / "recipes" / "twice.yaml").write_text("times: 2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    names = ("add", "stop", "refuse", "warn", "crash", "need", "need_later")
    yield Program(
        "calc", "made_commands.{}", dict.fromkeys(names, "text"), [folder / "recipes"], {"add": ["twice"]}, "search"
    )
    for name in [name for name in sys.modules if name.startswith("made_commands")]:
        del sys.modules[name]


def test_options_come_from_defaults_then_yaml_then_the_command_line(
    program: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "own.yaml"
    config.write_text("numbers: [5, 6]\ntimes: 3\nloud: true\n")
    cases = {
        ("1", "2"): "3 plain False",
        ("--config", str(config)): "33 plain True",
        ("--config", str(config), "--times", "1", "--no-loud"): "11 plain False",
        ("1", "--config", str(config)): "3 plain True",
        ("1", "--config", "twice"): "2 plain False",
        ("1", "--config=twice.yaml", "--how", "fancy"): "2 fancy False",
        ("1", "--times", "2", "3", "--loud", "4", "--how=fancy", "--", "-1"): "14 fancy True",
    }
    for arguments, printed in cases.items():
        assert program.run(["add", *arguments]) == 0
        assert capsys.readouterr().out.strip() == printed


def test_entries_of_a_mapping_go_over_those_of_yaml(
    program: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "own.yaml"
    config.write_text("numbers: [1]\nnotes: {a: 1, b: {c: x}}\n")
    entries = ["--notes.a", "2", "--notes.b.c=[y, 1e-5]", "--notes.some-name", "text"]
    assert program.run(["add", "--config", str(config), *entries]) == 0
    assert capsys.readouterr().out == "1 plain False {'a': 2, 'b': {'c': ['y', 1e-05]}, 'some_name': 'text'}\n"
    assert program.run(["add", "--config", str(config), "--notes.a.b", "2"]) == 2
    assert capsys.readouterr().err == "calc add: --notes.a.b: a is 1, which has no entries\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ad"], "calc: no command 'ad'; did you mean add?"),
        (["nothing"], "calc: no command 'nothing'; see --help"),
        (["add"], "calc add: NUMBERS is missing; see --help"),
        (["add", "1", "--tmes", "2"], "calc add: there is no option --tmes; did you mean --times?"),
        (["add", "1", "--no-lod"], "calc add: there is no option --no-lod; did you mean --no-loud?"),
        (["add", "1", "--confg", "twice"], "calc add: there is no option --confg; did you mean --config?"),
        (["add", "1", "--tmes", "x"], "calc add: there is no option --tmes; did you mean --times?"),
        (["add", "--number", "1"], "calc add: there is no option --number; did you mean NUMBERS?"),
        (["add", "1", "--xyz=2"], "calc add: there is no option --xyz; see --help"),
        (["add", "x"], "calc add: NUMBERS: 'x' is not a whole number"),
        (["add", "1", "--times", "x"], "calc add: --times: 'x' is not a whole number"),
        (["add", "1", "--how", "ugly"], "calc add: --how: 'ugly' is not one of plain, fancy"),
        (["add", "1", "--times"], "calc add: --times: expected one argument"),
        (["add", "1", "--config"], "calc add: --config: expected one argument"),
        (["stop", "1"], "calc stop: '1' is one argument too many; see --help"),
        (["refuse"], "calc refuse: line one line two"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(
    program: Program, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == message + "\n"


@pytest.mark.parametrize("command", ["need", "need_later"])
def test_a_package_that_is_missing_comes_with_advice(
    program: Program, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.run([command]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"calc {command}: needs a_package_that_is_not_there: pip install ") and "[search]" in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tims: 2\n", "bad.yaml: there is no option tims; did you mean --times?"),
        ("times: [\n", "bad.yaml:2: not valid YAML"),
        ("times: two\n", "bad.yaml: --times: 'two' is not a whole number"),
        ("times: 2.0\n", "bad.yaml: --times: 2.0 is not a whole number"),
        ("loud: 1\n", "bad.yaml: --loud: 1 is not true or false"),
        ("numbers: 1\n", "bad.yaml: --numbers: 1 is not a list such as [1]"),
        ("- times\n", "bad.yaml: holds a list, not a mapping"),
        ("", "bad.yaml: holds nothing, not a mapping"),
        ("#" * 300_000, "bad.yaml: larger than"),
        (BOMB, "bad.yaml:6: more than 100,000 entries with the aliases written out"),
    ],
)
def test_mistakes_in_yaml_name_file_and_option(
    program: Program, text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    assert program.run(["add", "1", "--config", str(tmp_path / "bad.yaml")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_recipes_are_found_by_name(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert program.run(["add", "1", "--config", "nowhere"]) == 2
    assert capsys.readouterr().err == "calc add: there is no recipe nowhere and no such file; recipes of add: twice\n"
    assert program.run(["stop", "--config", "nowhere"]) == 2
    assert capsys.readouterr().err == "calc stop: there is no recipe nowhere and no such file; recipes of stop: none\n"
    assert program.run(["stop", "--config", "twice"]) == 2
    assert capsys.readouterr().err == "calc stop: twice is a recipe of add, not of stop; recipes of stop: none\n"
    (tmp_path / "twice").mkdir()  # a folder of images, say
    assert program.run(["add", "1", "--config", "twice"]) == 0
    assert capsys.readouterr().out == "2 plain False\n"
    (tmp_path / "twice.yaml").write_text("times: 5\n")
    assert program.run(["add", "1", "--config", "twice.yaml"]) == 0
    assert capsys.readouterr().out == "5 plain False\n"


def test_other_endings(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.run(["stop"]) == 130
    assert capsys.readouterr().err == "calc stop: interrupted\n"
    assert program.run(["warn"]) == 0
    assert capsys.readouterr().err == "calc: warning: careful\n"
    with pytest.raises(ZeroDivisionError):  # a bug of ours keeps its traceback
        program.run(["crash"])


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried 9 GiB."), "lower --batch-size, or"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), "raise --accumulate where there is one"),
        (MemoryError("Unable to allocate 9 GiB"), "lower --batch-size, or"),
        (ValueError("Expected more than 1 value per channel"), "raise --batch-size or lower --accumulate"),
    ],
)
def test_a_batch_that_is_too_large_or_too_small_is_one_line(
    program: Program,
    error: Exception,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(program.load("crash"), "main", fail)
    assert program.run(["crash"]) == 2
    line = capsys.readouterr().err
    assert line.startswith("calc crash: ") and message in line and f"({error})" in line and line.count("\n") == 1


def test_help_shows_defaults_and_the_example(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        program.run(["add", "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert "usage: calc add NUMBERS [options]" in text and "(default: plain)" in text and "calc add 1 2" in text
    assert program.run([]) == 0
    assert "twice" in capsys.readouterr().out


def _as_console_script(function: str, code: str) -> subprocess.CompletedProcess[str]:
    """Run code that sees a list `shown` of what `run(ARGUMENTS...)` printed, in a process that starts as the script."""
    start = f"""
import contextlib, io, scarlet_cli, sys
def run(*arguments):
    sys.argv = ["script", *arguments]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        try:
            scarlet_cli.{function}()
        except SystemExit as stop:
            assert not stop.code
    return out.getvalue()
"""
    return subprocess.run([sys.executable, "-c", start + code], check=True, capture_output=True, text=True)


@pytest.mark.parametrize("function", ["scarlet_models", "scarlet_search"])
def test_overviews_import_next_to_nothing(function: str) -> None:
    loaded = _as_console_script(function, 'assert "usage" in run("--help"); print(*sys.modules)').stdout.split()
    assert not {"torch", "timm", "numpy", "yaml", "rich", "docstring_parser", "argparse"} & set(loaded)


def test_options_and_help_are_read_without_torch() -> None:
    """Of every command, as help and for a wrong option."""
    code = """
from scarlet_models.cli import PROGRAM
for command in PROGRAM.commands:
    print(run(command, "--help"))
    assert command == "detect" or "did you mean --config" in run(command, "--confg", "x"), command
assert "torch" not in sys.modules
"""
    shown = _as_console_script("scarlet_models", code).stdout
    for command in MODELS.commands:
        assert f"example:\n  scarlet-models {command}" in shown


def test_a_space_is_shown_without_torch() -> None:
    code = 'assert "genotypes" in run("space", "mini"); assert "torch" not in sys.modules'
    _as_console_script("scarlet_search", code)


@pytest.mark.parametrize("program", [MODELS, SEARCH])
def test_version(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.run(["--version"]) == 0
    assert capsys.readouterr().out == f"{program.name} {__version__}\n"
