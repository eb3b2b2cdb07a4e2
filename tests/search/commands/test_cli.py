"""The command line of scarlet-search: options, recipes, and one line for each mistake."""

from __future__ import annotations

import dataclasses
import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from scarlet_models.cli import PROGRAM as MODELS
from scarlet_models.commands.detect import PROGRAM as DETECT
from scarlet_models.program import Program
from scarlet_models.search.cli import PROGRAM, main
from scarlet_models.training.run_folder import plain

RECIPES = PROGRAM.recipes_of["retrain"]


def _parse(*arguments: str) -> Any:
    return PROGRAM.parse("retrain", PROGRAM.load("retrain"), arguments)


def test_the_overview_names_every_subcommand_and_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--help"]):
        assert main(arguments) == 0
        text = capsys.readouterr().out
        for name in [*PROGRAM.commands, *itertools.chain(*PROGRAM.recipes_of.values())]:
            assert name in text


@pytest.mark.parametrize("command", PROGRAM.commands)
def test_help_explains_every_option_and_gives_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main([command, "--help"])
    assert leaving.value.code == 0
    text = capsys.readouterr().out
    assert "example" in text and f"{command}" in text.split("example")[1]
    for field in dataclasses.fields(PROGRAM.load(command).Options):
        assert field.name.rstrip("_").replace("_", "-") in text.lower().replace("_", "-")


@pytest.mark.parametrize("program", [PROGRAM, MODELS, DETECT])
def test_every_recipe_that_ships_is_known_as_one_of_its_command(program: Program) -> None:
    listed = [(command, name) for command, names in program.recipes_of.items() for name in names]
    files = [path.stem for folder in program.recipes for path in folder.glob("*.yaml")]
    assert sorted(name for _, name in listed) == sorted(files)
    for command, name in listed:
        program.parse(command, program.load(command), ["--config", name])


@pytest.mark.parametrize("data", ["imagenet", "imagenette", "cifar10"])
def test_recipes_of_one_data_set_hold_out_the_same_images(data: str) -> None:
    """A recipe names its data in the command of its header."""
    texts = [path.read_text() for folder in PROGRAM.recipes for path in folder.glob("*.yaml")]
    recipes = [yaml.safe_load(text) for text in texts if re.search(f"--data-dir {data}(?![a-z])", text)]
    assert len(recipes) >= 2
    assert len({(recipe["holdout"], recipe["split_seed"], recipe["train_split"]) for recipe in recipes}) == 1


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_sets_options_that_the_command_line_overrides(recipe: str) -> None:
    content = PROGRAM.read_config("retrain", recipe)
    options = _parse("--config", recipe, "--genotype", "2,1,0", "--lr", "0.123", "--no-zero-init")
    for key, value in content.items():
        if key not in ("lr", "zero_init"):
            assert plain(dataclasses.asdict(options))[key] == value
    assert (options.lr, options.zero_init) == (0.123, False)


def test_a_saved_config_gives_the_same_options(tmp_path: Path) -> None:
    """What the folder of a run holds, fed back through --config."""
    options = _parse("--config", "cifar10_cpu", "--genotype", "2,1,0", "--out", "runs/x", "--opt-args", "{eps: 1e-05}")
    saved = tmp_path / "saved.yaml"
    saved.write_text(yaml.safe_dump(plain(dataclasses.asdict(options))))
    assert _parse("--config", str(saved)) == options


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch"], "no command 'nosuch'"),
        (["retrain", "--nosuch", "1"], "no option --nosuch"),
        (["retrain", "extra"], "extra"),
        (["retrain", "--lr", "fast"], "--lr: 'fast' is not a number"),
        (["retrain", "--lr"], "--lr"),
        (["retrain", "--amp", "fp8"], "--amp: 'fp8' is not one of auto, none, bf16, fp16"),
        (["retrain", "--image-size", "[[1]]"], "--image-size"),
        (
            ["retrain", "--config", "nosuch"],
            "there is no recipe nosuch and no such file; recipes of retrain: imag",
        ),
        (
            ["run", "--config", "cifar10_cpu"],
            "cifar10_cpu is a recipe of retrain, not of run; recipes of run: digits, imagenette, search_cifar10_cpu",
        ),
        (["space", "--config", "digits.yaml"], "digits is a recipe of run, not of space; recipes of space: none"),
        (["retrain", "--config", "list.yaml"], "list.yaml: holds a list, not a mapping"),
        (["retrain", "--config", "torn.yaml"], "torn.yaml:2: not valid YAML"),
        (["retrain", "--config", "unknown.yaml"], "unknown.yaml: there is no option nosuch"),
        (["retrain"], "--genotype is missing"),
        (["retrain", "--genotype", "0,0,0,0,0", "--space", "mini"], "--data-dir (empty) does not exist"),
        (["train", "--data-dir", ".", "--device", "cuda:99"], "--device cuda:99 cannot be used here"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("list.yaml").write_text("- 1\n- 2\n")
    Path("torn.yaml").write_text("lr: [0.1\n  x: 3\n")
    Path("unknown.yaml").write_text("nosuch: 1\n")
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1 and message in captured.err, captured.err
    assert not Path("runs").exists(), "a run that could not start left a folder"


def test_the_module_runs_as_torchrun_starts_it() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "scarlet_models.search", "train", "--data-dir", "nowhere"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert run.stderr.strip() == (
        "scarlet-search train: --data-dir nowhere does not exist; give a folder of class folders or a tar"
    )
