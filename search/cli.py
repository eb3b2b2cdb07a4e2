"""scarlet-search: finds subcommands by name, reads their options, turns users' mistakes into one line and exit 2."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import itertools
import sys
import typing
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import docstring_parser
from jsonargparse import ActionConfigFile, ActionYesNo, ArgumentParser

from scarlet_models.errors import UserError

# name: (module in this folder, one line of help). A module has a dataclass Options whose docstring describes every
# field under "Args:", a string EXAMPLE, and main(options). A field with metadata {"positional": True} needs no dashes.
SUBCOMMANDS: dict[str, tuple[str, str]] = {
    "retrain": ("retrain", "train one network, from scratch or from weights, and export it"),
}

RECIPES = Path(__file__).parent / "recipes"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one subcommand; returns the exit status: 0, or 2 for a mistake of the user."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    name = arguments[0]
    if name not in SUBCOMMANDS:
        return _fail(f"scarlet-search has no subcommand {name!r}; there are {', '.join(SUBCOMMANDS)}")
    try:
        module = importlib.import_module(f".{SUBCOMMANDS[name][0]}", __package__)
    except ModuleNotFoundError as error:
        return _fail(f"scarlet-search {name} needs {error.name}: pip install 'scarlet-models[search]'")
    try:
        module.main(parse_options(name, module, arguments[1:]))
    except (UserError, argparse.ArgumentError) as error:
        return _fail(f"scarlet-search {name}: {error}")
    except KeyboardInterrupt:
        return _fail(f"scarlet-search {name}: interrupted", status=130)
    return 0


def parse_options(name: str, module: ModuleType, arguments: Sequence[str]) -> Any:
    """The module's Options from defaults, then --config files, then the command line."""
    found = [_bundled_recipe(before, text) for before, text in itertools.pairwise(["", *arguments])]
    values = _parser(name, module).parse_args(found)
    return module.Options(**{field.name: values[field.name] for field in dataclasses.fields(module.Options)})


def _parser(name: str, module: ModuleType) -> ArgumentParser:
    parser = ArgumentParser(
        prog=f"scarlet-search {name}",
        description=inspect.getdoc(module),
        epilog="example:\n" + module.EXAMPLE,
        formatter_class=_HelpFormatter,
        exit_on_error=False,
    )
    parser.add_argument(
        "--config", action=ActionConfigFile, help="a YAML file of options, or the name of a bundled recipe"
    )
    types, texts = typing.get_type_hints(module.Options), _field_texts(module.Options)
    for field in dataclasses.fields(module.Options):
        default = field.default_factory() if callable(field.default_factory) else field.default
        flag = field.name if field.metadata.get("positional") else "--" + field.name.replace("_", "-")
        if types[field.name] is bool:
            parser.add_argument(flag, action=ActionYesNo(no_prefix="no-"), default=default, help=texts[field.name])
        else:
            parser.add_argument(flag, type=types[field.name], default=default, help=texts[field.name])
    return parser


class _HelpFormatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Keeps the line breaks of the example and shows defaults."""


def _field_texts(options: type) -> dict[str, str]:
    """What the docstrings of a dataclass and of its bases say about each field."""
    texts: dict[str, str] = {}
    for cls in reversed(options.__mro__):
        for parameter in docstring_parser.parse(cls.__doc__ or "").params:
            texts[parameter.arg_name] = " ".join((parameter.description or "").split())
    return texts


def _bundled_recipe(before: str, argument: str) -> str:
    """Replaces the bare name of a recipe after --config by its path."""
    prefix, _, value = argument.rpartition("=") if argument.startswith("--config=") else ("", "", argument)
    if (prefix or before == "--config") and not Path(value).exists():
        recipe = RECIPES / f"{value.removesuffix('.yaml')}.yaml"
        if recipe.parent == RECIPES and recipe.exists():
            return f"--config={recipe}" if prefix else str(recipe)
    return argument


def _overview() -> str:
    width = max(map(len, SUBCOMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, (_, text) in SUBCOMMANDS.items()]
    recipes = ", ".join(sorted(path.stem for path in RECIPES.glob("*.yaml")))
    return "\n".join(
        [
            "usage: scarlet-search SUBCOMMAND [options]",
            "",
            *lines,
            "",
            f"bundled recipes for --config: {recipes}",
            "example: scarlet-search retrain --help",
        ]
    )


def _fail(message: str, status: int = 2) -> int:
    print(" ".join(message.split()), file=sys.stderr)
    return status
