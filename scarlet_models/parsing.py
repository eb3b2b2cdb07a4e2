"""The command line of one command, read and written: its options dataclass becomes an argparse parser.

As in timm's scripts, YAML files given by --config replace defaults, and the rest of the command line overrides them.
"""

import argparse
import dataclasses
import inspect
import itertools
import json
import shlex
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import docstring_parser

from scarlet_models.errors import UserError, as_user_error
from scarlet_models.options import build, checked, default_of, did_you_mean, flag, from_text, names_with


def parse(
    name: str, command: ModuleType, arguments: Sequence[str], read_config: Callable[[str], Mapping[str, Any]]
) -> Any:
    """Read the options of a command called `name`: defaults, then files of --config, then the rest of the arguments."""
    parser = _make_parser(name, command)
    _add_entries(parser, command.Options, arguments)
    try:
        namespace, rest = parser.parse_known_intermixed_args(arguments)
    except argparse.ArgumentError as error:
        raise UserError(f"{error.argument_name}: {error.message}") from None
    if rest:
        raise UserError(f"{rest[0]!r} is one argument too many; see --help")
    given, values = vars(namespace), dict[str, Any]()
    for config in given.pop("config", []):
        entries = read_config(config)
        with as_user_error(config, UserError):
            values |= checked(command.Options, entries)
    for path, value in given.items():
        _put(values, path, value)
    return build(command.Options, values)


def next_line(*words: str) -> str:
    """What a command prints last: the line that is useful after it."""
    return f"next: {shlex.join(words)}"


def shell_line(command: str, options: Any) -> str:
    """The line that gives a command, such as "scarlet-search run", these options: its dataclass or a base of it."""
    words: list[str] = []
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if field.metadata.get("positional"):
            words += [str(item) for item in (value if isinstance(value, list) else [value] if value != "" else [])]
        elif value != default_of(field):
            words += _words(flag(field.name), value)
    return f"{command} {shlex.join(words)}".rstrip()


def _make_parser(name: str, command: ModuleType) -> argparse.ArgumentParser:
    fields, types = dataclasses.fields(command.Options), typing.get_type_hints(command.Options)
    positionals = [field for field in fields if field.metadata.get("positional")]
    needed = {field.name for field in fields if default_of(field) is dataclasses.MISSING}
    shown = [field.name.upper() if field.name in needed else f"[{field.name.upper()}]" for field in positionals]
    parser = argparse.ArgumentParser(
        prog=name,
        usage=" ".join([name, *shown, "[options]"]),
        description=inspect.getdoc(command),
        epilog="example:\n" + command.EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,  # what is not given is left to --config, then to the dataclass
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="append", metavar="FILE", help="YAML of options; all others override it")
    docs = [docstring_parser.parse(cls.__doc__ or "") for cls in command.Options.__mro__[::-1]]
    texts = {param.arg_name: param.description or "" for doc in docs for param in doc.params}
    for field in fields:
        _add(parser, field, types[field.name], " ".join(texts[field.name].split()))
    return parser


def _add(parser: argparse.ArgumentParser, field: dataclasses.Field[Any], kind: Any, text: str) -> None:
    default, many = default_of(field), typing.get_origin(kind) is list
    metavar = "N" if kind is int else field.name.rstrip("_").rpartition("_")[2].upper()
    if default not in (dataclasses.MISSING, None, False, "", [], {}):
        text += f" (default: [{','.join(map(str, default))}])" if many else f" (default: {default})"
    text = text.replace("%", "%%")
    if field.metadata.get("positional"):
        item = typing.get_args(kind)[0] if many else kind
        nargs, metavar = "*" if many else "?", field.name.upper()
        parser.add_argument(field.name, nargs=nargs, type=_reader(item), metavar=metavar, help=text)
    elif kind is bool:
        parser.add_argument(flag(field.name), action=argparse.BooleanOptionalAction, help=text)
    else:
        if typing.get_origin(kind) is typing.Literal:
            metavar = "{" + ",".join(map(str, typing.get_args(kind))) + "}"
        parser.add_argument(flag(field.name), type=_reader(kind), metavar=metavar, help=text)


def _add_entries(parser: argparse.ArgumentParser, options: type, arguments: Sequence[str]) -> None:
    """Add the options that set one entry of a mapping, such as --train.epochs, and refuse those that do not exist."""
    types, positionals = typing.get_type_hints(options), names_with(options, "positional")
    known = ["--help", "--config", *map(flag, types.keys() - positionals)]
    known += [flag(f"no_{name}") for name, kind in types.items() if kind is bool]
    before = itertools.takewhile(lambda argument: argument != "--", arguments)
    given = dict.fromkeys(argument.partition("=")[0] for argument in before if argument.startswith("--"))
    for option in (option for option in given if option not in known):
        path = option[2:].replace("-", "_")
        kind = types.get(path.partition(".")[0])
        if "." not in path or typing.get_origin(kind) is not dict:
            names = [*known, *(name.upper() for name in positionals)]
            raise UserError(f"there is no option {option}; {did_you_mean(option, names)}")
        parser.add_argument(option, dest=path, type=_reader(typing.get_args(kind)[1]))


def _put(values: dict[str, Any], path: str, value: Any) -> None:
    """Set an option or, where the path has dots, an entry of a mapping."""
    *parents, last = path.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise UserError(f"{flag(path)}: {parent} is {values!r}, which has no entries")
    values[last] = value


def _reader(kind: Any) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return from_text(text, kind)
        except UserError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def _words(name: str, value: Any) -> Iterator[str]:
    """An option and its value; each entry of a mapping on its own."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _words(f"{name}.{key}", item)
    elif isinstance(value, bool) and "." not in name:
        yield name if value else name.replace("--", "--no-", 1)
    else:
        yield f"{name}={value if isinstance(value, str) else json.dumps(value)}"
