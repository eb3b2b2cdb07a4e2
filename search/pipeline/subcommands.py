"""Options of a subcommand from plain data: a recipe's, what is given over them, and the checks of the command line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from scarlet_models import options as checks
from scarlet_models.errors import UserError
from scarlet_models.options import names_with
from scarlet_models.program import Program


def resolve(program: Program, command: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options by name, as YAML and JSON give them back.

    Args:
        program: The program of the subcommand.
        command: The subcommand.
        options: Some of its options. A recipe's name under "config" gives those that are not named.

    Raises:
        UserError: There is no such recipe or option.
    """
    given = {name.replace("-", "_"): value for name, value in options.items()}  # --train.batch-size
    if recipe := given.pop("config", ""):
        given = {**program.read_config(command, recipe), **given}
    known = {field.name for field in dataclasses.fields(program.load(command).Options)}
    if unknown := sorted(given.keys() - known):
        raise UserError(f"{command} has no option {unknown[0]}; {program.name} {command} --help")
    return dict(json.loads(json.dumps(given)))


def build(program: Program, command: str, options: Mapping[str, Any]) -> Any:
    """The subcommand's Options from what `resolve` gives.

    Raises:
        UserError: An option has a bad value or is missing.
    """
    return checks.build(program.load(command).Options, options)


def has_option(program: Program, command: str, name: str) -> bool:
    """Whether the subcommand has an option of that name."""
    return name in {field.name for field in dataclasses.fields(program.load(command).Options)}


def weighty(program: Program, command: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that change the subcommand's result."""
    free = names_with(program.load(command).Options, "free")
    return {name: value for name, value in options.items() if name not in free}
