"""A program of subcommands. It turns mistakes into one line.

A subcommand is a module with a docstring (its help), a string EXAMPLE, a dataclass Options whose docstring describes
every field under "Args:", and main(options). It imports what needs torch inside main, so that help and mistakes in
options are answered at once. A module with a PROGRAM instead is a subcommand that has subcommands of its own.
"""

import dataclasses
import importlib
import io
import json
import os
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from scarlet_models.errors import UserError, first_line, how_to_add
from scarlet_models.version import __version__

_ADVICE = {  # by what torch and numpy say
    "out of memory|can't allocate memory|MemoryError": "lower --batch-size, or raise --accumulate where there is one",
    "Expected more than 1 value per channel": "raise --batch-size or lower --accumulate for batch norm",
}


@dataclass(frozen=True)
class Program:
    """A command with subcommands."""

    name: str  # what the user types
    modules: str  # where a subcommand's module is, with {} for its name
    commands: Mapping[str, str]  # subcommand -> one line of help
    recipes: Sequence[Path] = ()  # folders of YAML files that --config knows by their bare names
    recipes_of: Mapping[str, Sequence[str]] = field(default_factory=dict)  # subcommand -> names of its recipes
    extra: str = ""  # extra of scarlet-models that has what the subcommands import
    example: str = ""  # shown below the overview

    def run(self, argv: Sequence[str] | None = None) -> int:
        """Run one subcommand and return the exit status: 0, 2 for a mistake of the user, 130 when interrupted."""
        try:
            try:
                return self._run(list(sys.argv[1:] if argv is None else argv))
            finally:
                sys.stdout.flush()
        except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0

    def load(self, command: str) -> ModuleType:
        """Import the module of a subcommand."""
        if command not in self.commands:
            from scarlet_models.options import did_you_mean

            raise UserError(f"no command {command!r}; {did_you_mean(command, self.commands)}")
        return importlib.import_module(self.modules.format(command))

    def parse(self, command: str, module: ModuleType, arguments: Sequence[str]) -> Any:
        """Make the module's Options from their defaults, then --config, then the rest of the command line."""
        from scarlet_models.parsing import parse

        return parse(f"{self.name} {command}", module, arguments, lambda name: self.read_config(command, name))

    def read_config(self, command: str, name: str) -> dict[str, Any]:
        """Read a subcommand's options from a YAML file, or from its recipe of that name."""
        from scarlet_models.documents import read_yaml

        own, recipe = self.recipes_of.get(command, ()), name.removesuffix(".yaml")
        if recipe in own and not Path(name).is_file():  # a folder of that name is no matter
            files = (folder / f"{recipe}.yaml" for folder in self.recipes)
            return dict(read_yaml(next(file for file in files if file.is_file()), dict))
        if Path(name).is_file() or not self.recipes_of:
            return dict(read_yaml(name, dict))
        wrong = f"there is no recipe {name} and no such file"
        for owner in (other for other, names in self.recipes_of.items() if recipe in names):
            wrong = f"{recipe} is a recipe of {owner}, not of {command}"
        raise UserError(f"{wrong}; recipes of {command}: {', '.join(own) or 'none'}")

    def resolve(self, command: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Options of a subcommand by name, as YAML and JSON give them back, and those of the recipe under "config"."""
        values = {name.replace("-", "_"): value for name, value in given.items()}  # --train.batch-size
        if recipe := values.pop("config", ""):
            values = {**self.read_config(command, recipe), **values}
        if unknown := sorted(values.keys() - self.fields(command).keys()):
            raise UserError(f"{command} has no option {unknown[0]}; {self.name} {command} --help")
        return dict(json.loads(json.dumps(values)))

    def build(self, command: str, values: Mapping[str, Any]) -> Any:
        """Make a subcommand's Options from what `resolve` gives, with the checks of the command line."""
        from scarlet_models.options import build

        return build(self.load(command).Options, values)

    def fields(self, command: str) -> dict[str, Field[Any]]:
        """The options of a subcommand, by name."""
        return {option.name: option for option in dataclasses.fields(self.load(command).Options)}

    def _run(self, arguments: list[str]) -> int:
        if not arguments or arguments[0] in ("-h", "--help"):
            print(self._overview())
            return 0
        if arguments[0] == "--version":
            print(self.name, __version__)
            return 0
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # file names need not be text that the terminal can show
                stream.reconfigure(errors="backslashreplace")
        command, *rest = arguments
        who = f"{self.name} {command}" if command in self.commands else self.name
        try:
            module = self.load(command)
            if hasattr(module, "PROGRAM"):
                return int(module.PROGRAM.run(rest))
            options = self.parse(command, module, rest)
            with warnings.catch_warnings():
                warnings.showwarning = self._warn
                module.main(options)
        except UserError as error:
            return _fail(f"{who}: {error}")
        except ModuleNotFoundError as error:
            if not self.extra or str(error.name).startswith("scarlet_models"):
                raise
            return _fail(f"{who}: needs {error.name}: {how_to_add(self.extra)}")
        except KeyboardInterrupt:
            return _fail(f"{who}: interrupted", status=130)
        except (RuntimeError, MemoryError, ValueError) as error:
            for symptom, advice in _ADVICE.items():
                if re.search(symptom, f"{type(error).__name__}: {error}"):
                    return _fail(f"{who}: {advice} ({first_line(error)})")
            raise
        return 0

    def _warn(self, message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        """Print one line instead of the place in the source; deprecations are for developers."""
        if issubclass(category, UserWarning):
            print(f"{self.name}: warning: {' '.join(str(message).split())}", file=sys.stderr)

    def _overview(self) -> str:
        width = max(map(len, self.commands))
        lines = [f"usage: {self.name} COMMAND [options]", ""]
        lines += [f"  {command:{width}}  {text}" for command, text in self.commands.items()]
        if self.recipes_of:
            lines += ["", "recipes for --config:"]
            lines += [f"  {command:{width}}  {', '.join(names)}" for command, names in self.recipes_of.items()]
        lines += ["", f"Run {self.name} COMMAND --help for a command's options and an example."]
        return "\n".join([*lines, *(["", "example:", self.example] if self.example else [])])


def _fail(message: str, status: int = 2) -> int:
    print(" ".join(message.split()), file=sys.stderr)
    return status
