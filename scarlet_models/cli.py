"""The command line: finds a subcommand's module by name, reads its options, and turns users' mistakes into one line.

A subcommand is a module with a docstring (its help), a string EXAMPLE, a dataclass Options whose docstring describes
every field under "Args:", and main(options). A field with metadata {"positional": True} is given without dashes; one
without a default must be given. Modules import torch inside main, so that help is quick. A module with a PROGRAM
instead is a subcommand that has subcommands of its own.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import importlib
import inspect
import io
import os
import re
import sys
import typing
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import docstring_parser
from jsonargparse import ActionConfigFile, ActionYesNo, ArgumentParser

from scarlet_models.errors import UserError


@dataclass(frozen=True)
class Program:
    """A command with subcommands.

    Args:
        name: What the user types.
        package: Where the subcommands' modules are.
        commands: Subcommand -> one line of help.
        modules: Subcommand -> module, where that has another name.
        recipes: Folders of YAML files that --config knows by their bare names.
        recipes_of: Subcommand -> names of the recipes that hold its options.
        extra: The extra of scarlet-models that has what the modules import.
        example: Shown below the overview.
    """

    name: str
    package: str
    commands: Mapping[str, str]
    modules: Mapping[str, str] = dataclasses.field(default_factory=dict)
    recipes: Sequence[Path] = ()
    recipes_of: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    extra: str = ""
    example: str = ""

    def run(self, argv: Sequence[str] | None = None) -> int:
        """Run one subcommand; return the exit status: 0, 2 for a mistake of the user, 130 when interrupted."""
        try:
            try:
                return self._run(list(sys.argv[1:] if argv is None else argv))
            finally:
                sys.stdout.flush()
        except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0

    def _run(self, arguments: list[str]) -> int:
        if not arguments or arguments[0] in ("-h", "--help"):
            print(self._overview())
            return 0
        command = arguments[0]
        if command not in self.commands:
            known = _nearest(command, self.commands) or f"there are {', '.join(self.commands)}"
            return _fail(f"{self.name}: no command {command!r}; {known}")
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # file names need not be text that the terminal can show
                stream.reconfigure(errors="backslashreplace")
        try:
            module = self.load(command)
            if hasattr(module, "PROGRAM"):
                return int(module.PROGRAM.run(arguments[1:]))
            options = self.parse(command, module, arguments[1:])
            importlib.import_module("scarlet_models.models")  # registers them with timm
            with warnings.catch_warnings():
                warnings.showwarning = self._warn
                module.main(options)
        except (UserError, argparse.ArgumentError) as error:
            return _fail(f"{self.name} {command}: {error}")
        except KeyboardInterrupt:
            return _fail(f"{self.name} {command}: interrupted", status=130)
        return 0

    def _warn(self, message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        """One line instead of the place in the source; deprecations are for developers."""
        if issubclass(category, UserWarning):
            print(f"{self.name}: warning: {' '.join(str(message).split())}", file=sys.stderr)

    def load(self, command: str) -> ModuleType:
        """The module of a subcommand.

        Raises:
            UserError: a package of the extra is not installed.
        """
        try:
            return importlib.import_module(self.modules.get(command, f"{self.package}.{command}"))
        except ModuleNotFoundError as error:
            if not self.extra or str(error.name).startswith("scarlet_models"):
                raise
            raise UserError(f"needs {error.name}: pip install 'scarlet-models[{self.extra}]'") from None

    def parse(self, command: str, module: ModuleType, arguments: Sequence[str]) -> Any:
        """The module's Options from their defaults, then --config files, then the command line.

        Raises:
            argparse.ArgumentError, UserError: an unknown option, a bad value, or one that is missing.
        """
        fields, types = dataclasses.fields(module.Options), typing.get_type_hints(module.Options)
        parser = _parser(f"{self.name} {command}", module, types)
        try:
            values = parser.parse_args(_positionals_last(self._configs_first(command, arguments), types))
        except argparse.ArgumentError as error:
            raise UserError(_plain(str(error), types, [f"--{field.name}" for field in fields])) from None
        given = {field.name: values[field.name] for field in fields if field.name in values}
        for field in fields:
            if field.name not in given and _default(field) is dataclasses.MISSING:
                raise UserError(f"{field.name.upper()} is missing; see {self.name} {command} --help")
        return module.Options(**given)

    def _configs_first(self, command: str, arguments: Sequence[str]) -> list[str]:
        """The arguments with those of --config in front, recipes by their paths, so that all others override them."""
        configs, others, rest = list[str](), list[str](), iter(arguments)
        for argument in rest:
            value = next(rest, None) if argument == "--config" else argument.removeprefix("--config=")
            if value is None or value == argument:
                others.append(argument)
            else:
                configs.append(f"--config={self.find_recipe(value, command)}")
        return configs + others

    def find_recipe(self, name: str, command: str) -> str:
        """A file's name as it is, or the path of the recipe of that name.

        Raises:
            UserError: the recipe is of another subcommand.
        """
        recipe = name.removesuffix(".yaml")
        owner = next((other for other, names in self.recipes_of.items() if recipe in names), None)
        if not self.recipes or not owner or Path(name).exists():
            return name
        if owner != command:
            own = ", ".join(self.recipes_of.get(command, ())) or "none"
            raise UserError(f"{recipe} is a recipe of {owner}, not of {command}; recipes of {command}: {own}")
        paths = [folder / f"{recipe}.yaml" for folder in self.recipes]
        return str(next(path for path in paths if path.is_file()))

    def _overview(self) -> str:
        width = max(map(len, self.commands))
        lines = [f"usage: {self.name} COMMAND [options]", ""]
        lines += [f"  {command:{width}}  {text}" for command, text in self.commands.items()]
        if self.recipes_of:
            lines += ["", "recipes that come with it, for --config:"]
            lines += [f"  {command:{width}}  {', '.join(names)}" for command, names in self.recipes_of.items()]
        lines += ["", f"{self.name} COMMAND --help says more, with an example."]
        return "\n".join([*lines, *(["", "example:", self.example] if self.example else [])])


def _positionals_last(arguments: Sequence[str], types: Mapping[str, Any]) -> list[str]:
    """The arguments with the positional ones at the end, as argparse refuses those that options stand between."""
    switchable = [name for name, kind in types.items() if kind is bool]
    switches = {"--help", *map(_flag, switchable), *(_flag(f"no_{name}") for name in switchable)}  # they take no value
    options, positionals, rest = list[str](), list[str](), iter(arguments)
    for argument in rest:
        if argument == "--":
            return [*options, "--", *positionals, *rest]
        (options if argument.startswith("-") and argument != "-" else positionals).append(argument)
        if argument.startswith("--") and "=" not in argument and argument not in switches:
            if (value := next(rest, None)) is None:
                return list(arguments)  # the last option lacks its value, which no other argument must become
            options.append(value)
    return options + positionals


def _parser(prog: str, module: ModuleType, types: Mapping[str, Any]) -> ArgumentParser:
    positionals = [
        field.name.upper() if _default(field) is dataclasses.MISSING else f"[{field.name.upper()}]"
        for field in dataclasses.fields(module.Options)
        if field.metadata.get("positional")
    ]
    parser = ArgumentParser(
        prog=prog,
        usage=" ".join([prog, *positionals, "[options]"]),
        description=inspect.getdoc(module),
        epilog="example:\n" + module.EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file of options, which all others override")
    texts = _field_texts(module.Options)
    for field in dataclasses.fields(module.Options):
        name, kind, default = field.name, types[field.name], _default(field)
        text = texts[name]
        if default is not dataclasses.MISSING and default not in (None, False, "", [], {}):
            shown = f"[{', '.join(map(str, default))}]" if isinstance(default, list) else default
            text += f" (default: {shown})"
        if field.metadata.get("positional"):
            many = typing.get_origin(kind) is list
            # The default is left to Options: argparse would let it override a value from --config.
            parser.add_argument(
                name,
                type=typing.get_args(kind)[0] if many else kind,
                nargs="*" if many else "?",
                default=argparse.SUPPRESS,
                metavar=name.upper(),
                help=text,
            )
        elif kind is bool:
            parser.add_argument(_flag(name), action=ActionYesNo(no_prefix="no-"), default=default, help=text)
        else:
            default = argparse.SUPPRESS if default is dataclasses.MISSING else default
            parser.add_argument(_flag(name), type=kind, default=default, help=text)
    return parser


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _field_texts(options: type) -> dict[str, str]:
    """What the docstrings of a dataclass and of its bases say about each field."""
    texts: dict[str, str] = {}
    for cls in reversed(options.__mro__):
        for parameter in docstring_parser.parse(cls.__doc__ or "").params:
            texts[parameter.arg_name] = " ".join((parameter.description or "").split())
    return texts


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _plain(message: str, types: Mapping[str, Any], flags: Iterable[str]) -> str:
    """jsonargparse's message about a bad value or an unknown option, as one sentence."""
    if bad := re.match(r'Parser key "(\w+)":.*(?:Given value|Got value): (.*)', message, re.DOTALL):
        name, value = bad.groups()
        return f"{_flag(name)}: {value!r} is not {_type_text(types[name])}" if name in types else message
    if unknown := re.match(r"unrecognized arguments: (-\S+)|Option '(\S+)' is not accepted", message):
        name = unknown[1] or unknown[2]
        return f"there is no option {name}; {_nearest(_flag(name.lstrip('-')), map(_flag, types)) or 'see --help'}"
    return message.removeprefix("argument ").replace('"<unicode string>"', "the --config file")


def _type_text(kind: Any) -> str:
    """What a value of a type looks like, for people."""
    options, origin = typing.get_args(kind), typing.get_origin(kind)
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, options))
    if origin in (list, tuple):
        return f"a list such as [{_example(kind)}]"
    if origin is dict:
        return "a mapping such as {a: 1}"
    if options:  # a union
        return " or ".join(_type_text(option) for option in options if option is not type(None))
    return {int: "a whole number", float: "a number", bool: "true or false", dict: "a mapping"}.get(kind, str(kind))


def _example(kind: Any) -> str:
    inner = typing.get_args(kind)[0]
    if typing.get_origin(inner) is typing.Literal:
        return ",".join(map(str, typing.get_args(inner)))
    if typing.get_origin(inner) in (list, tuple):
        return f"[{_example(inner)}]"
    return {int: "1,2", float: "0.5,2.0"}.get(inner, "a,b")


def _nearest(name: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {nearest[0]}?" if nearest else ""


def _fail(message: str, status: int = 2) -> int:
    print(" ".join(message.split()), file=sys.stderr)
    return status


PROGRAM = Program(
    "scarlet-models",
    "scarlet_models.commands",
    {
        "list": "models and tags, their cost, and which weights are here",
        "info": "a network layer by layer: choices, exact params and MACs, feature taps",
        "classify": "what is on images: files, folders, or one on stdin",
        "train": "fine-tune or train any network of timm on a folder of images",
        "evaluate": "top-1 and top-5 of a network on held-out images or the test split",
        "convert": "turn a published checkpoint into safetensors",
        "weights": "the local store: list, dir, verify, install",
        "publish": "push a network to the Hugging Face Hub",
        "export": "write ONNX and torch.export programs and check them",
        "benchmark": "latency and throughput next to timm's mobile networks",
        "plot": "draw an architecture as PNG or SVG",
        "detect": "train, evaluate and use object detectors: train, eval, predict",
        "env": "versions, machine, threads and store folder, for bug reports",
    },
    recipes=[Path(__file__).parent / "training" / "recipes"],
    recipes_of={"train": ["imagenet_mnasnet", "cifar10_cpu"]},
)


def main(argv: Sequence[str] | None = None) -> int:
    """scarlet-models: run one subcommand and return the exit status."""
    return PROGRAM.run(argv)
