"""Lines for the shell: what they say is what the command takes."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

import pytest

from scarlet_models.options import option
from scarlet_models.parsing import shell_line
from scarlet_models.search.cli import PROGRAM


@dataclass
class Options:
    """Some of each kind."""

    network: str = option(positional=True)
    folders: list[str] = option([], positional=True)
    count: int = 3
    rate: float | None = None
    name: str = ""
    quick: bool = False
    fine: bool = True
    seeds: list[int] = option([0, 1])
    train: dict[str, Any] = option({})


def test_defaults_are_left_out_and_the_rest_is_quoted() -> None:
    assert shell_line("run it", Options("a net")) == "run it 'a net'"
    options = Options("n", ["x", "y z"], 4, 0.5, "it's", True, False, [2], {"lr": 0.1, "deep": {"no": False}})
    assert shlex.split(shell_line("run it", options)) == [
        *("run", "it", "n", "x", "y z", "--count=4", "--rate=0.5", "--name=it's", "--quick", "--no-fine"),
        *("--seeds=[2]", "--train.lr=0.1", "--train.deep.no=false"),
    ]


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("ablate", ["--known", "my known.csv", "--variants", "[skip,bn]", "--train.lr", "0.05", "--seeds", "[4]"]),
        ("run", ["--max-macs", "300M", "--train.epochs", "4", "--evolve.objectives", "[accuracy, macs]", "--final"]),
        ("reproduce", ["scarlet_a", "--skip-search", "--out=-odd"]),
        ("latency", ["mini", "--channels-last", "--image-size", "64"]),
    ],
)
def test_a_command_takes_its_line_back(command: str, arguments: list[str]) -> None:
    module = PROGRAM.load(command)
    options = PROGRAM.parse(command, module, arguments)
    line = shell_line(f"scarlet-search {command}", options)
    assert PROGRAM.parse(command, module, shlex.split(line)[2:]) == options
