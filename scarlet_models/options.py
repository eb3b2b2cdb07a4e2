"""Options as dataclasses, and their values from text and plain data. What a value may be stands beside its field.

Modules of options import no torch, so that --help and mistakes in options are answered at once.
"""

import contextlib
import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from math import inf
from typing import Any, Literal, TypeVar

from scarlet_models.documents import parse_yaml
from scarlet_models.errors import UserError, as_user_error

T = TypeVar("T")

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_FACTORS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9, "t": 10**12}
_COUNT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(e\+?\d+)?\s*([kmgbt]?)", re.IGNORECASE)


def option(
    default: Any = dataclasses.MISSING,
    *,
    least: float = -inf,
    most: float = inf,
    ascending: bool = False,
    positional: bool = False,
    free: bool = False,
    once: bool = False,
) -> Any:
    """A field of an options dataclass.

    Args:
        default: Its default; a list or mapping is copied for each instance.
        least: Smallest number allowed, also of those inside nested lists.
        most: Largest number allowed.
        ascending: The numbers of the list must not fall.
        positional: Given without dashes on the command line.
        free: Does not change what a run computes: may differ when the run resumes.
        once: Asked of one start, not of the run: never kept in config.yaml. Implies `free`.
    """
    metadata = {"least": least, "most": most, "ascending": ascending}
    metadata |= {"positional": positional, "free": free or once, "once": once}
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


class Ranged:
    """A base of options that refuses numbers out of range when they are made, before anything is read or written."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]  # only dataclasses derive from this
            least, most = field.metadata.get("least", -inf), field.metadata.get("most", inf)
            numbers = list(_numbers(getattr(self, field.name)))
            for number in numbers:
                if not least <= number <= most:
                    wrong = f"below {least}" if number < least else f"above {most}" if number > most else "not a number"
                    raise UserError(f"{flag(field.name)}: {number} is {wrong}")
            if field.metadata.get("ascending") and numbers != sorted(numbers):
                order = f"{numbers[0]} is above {numbers[-1]}"
                raise UserError(f"{flag(field.name)}: the smallest comes first, and {order}")


@dataclasses.dataclass(kw_only=True)
class JsonOptions(Ranged):
    """How results are printed.

    Args:
        json: Print JSON, for programs.
    """

    json: bool = option(False, once=True)


@dataclasses.dataclass(kw_only=True)
class DeviceOptions(JsonOptions):
    """What computes.

    Args:
        device: auto, cpu, cuda or cuda:N.
        threads: CPU threads for torch; 0 keeps torch's own number.
    """

    device: str = option("auto", free=True)
    threads: int = option(0, least=0, free=True)


@dataclasses.dataclass
class NetworkOptions(Ranged):
    """A network to look at or to write.

    Args:
        model: A name from `scarlet-models list` or of timm, local-dir:FOLDER, hf-hub:ID, or a genotype.
        space: Search space of a genotype: a name or a YAML file.
        input_size: Side of the images in pixels; 0 means the network's own.
    """

    model: str = option(positional=True)
    space: str = "scarlet"
    input_size: int = option(0, least=0)


def build(options: type[T], entries: Mapping[str, Any]) -> T:
    """Make an options dataclass from plain data, such as YAML, with the checks of the command line."""
    values = checked(options, entries)
    for field in dataclasses.fields(options):  # type: ignore[arg-type]  # a dataclass
        if field.name not in values and default_of(field) is dataclasses.MISSING:
            shown = field.name.upper() if field.metadata.get("positional") else flag(field.name)
            raise UserError(f"{shown} is missing; see --help")
    return options(**values)


def checked(options: type, entries: Mapping[str, Any]) -> dict[str, Any]:
    """Give entries of plain data the types of the fields that they name."""
    kinds, values = typing.get_type_hints(options), {}
    for key, entry in entries.items():
        name = str(key).replace("-", "_")
        name = f"{name}_" if f"{name}_" in kinds else name
        if name not in kinds:
            raise UserError(f"there is no option {key}; {did_you_mean(name, map(flag, kinds))}")
        with as_user_error(flag(name), UserError):
            values[name] = check(entry, kinds[name])
    return values


def from_text(text: str, kind: Any) -> Any:
    """Read a text of the command line: it stands for itself where the type is str, else for what it means as YAML."""
    for member in _members(kind):
        if member is str or text in typing.get_args(member):
            return text
        with contextlib.suppress(UserError):
            value = parse_yaml(text, "")
            # Not a mapping such as {a:1}, which YAML takes for an entry "a:1" without a value.
            if not (isinstance(value, dict) and any(item is None and ":" in str(key) for key, item in value.items())):
                return check(value, member)
    raise UserError(f"{text!r} is not {_describe(kind)}")


def check(value: Any, kind: Any) -> Any:
    """Give plain data its type: whole numbers become floats, and lists tuples, where the type wants them."""
    for member in _members(kind):
        origin, inner = typing.get_origin(member), typing.get_args(member)
        if member is Any or type(value) is member or (origin is Literal and value in inner):
            return value
        if member is float and type(value) is int:  # a bool is no number here
            return float(value)
        with contextlib.suppress(UserError):
            if origin is dict and isinstance(value, dict):
                return {check(key, inner[0]): check(item, inner[1]) for key, item in value.items()}
            if origin is list and isinstance(value, list | tuple):
                return [check(item, inner[0]) for item in value]
            if origin is tuple and isinstance(value, list | tuple) and len(value) == len(inner):
                return tuple(map(check, value, inner))
    raise UserError(f"{value!r} is not {_describe(kind)}")


def parse_count(text: str | int | float) -> int:
    """A whole number from text such as 300M, 1.5G, 2e6 or 6,707,720 (powers of ten; B is 10^9 as G is)."""
    match = _COUNT.fullmatch(str(text).strip().replace(",", "").replace("_", ""))
    if match:
        number, exponent, suffix = match.groups()
        value = Decimal(number + (exponent or "")) * _FACTORS[suffix.lower()]
        if value == int(value):
            return int(value)
    raise UserError(f"{text!r} is not a count, such as 300M, 1.5G or 6707720")


def default_of(field: dataclasses.Field[Any]) -> Any:
    """A field's default, dataclasses.MISSING if there is none."""
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint at the known option or command that is spelt most like a name; at --help if none is."""
    spelt = {option.strip("-").lower(): option for option in known}
    near = difflib.get_close_matches(name.strip("-").replace("_", "-"), spelt, n=1, cutoff=0.7)
    return f"did you mean {spelt[near[0]]}?" if near else "see --help"


def names_with(options: Any, key: str) -> set[str]:
    """Names of the fields of an options dataclass (or of an instance) whose metadata `key` is set."""
    return {field.name for field in dataclasses.fields(options) if field.metadata.get(key)}


def flag(name: str) -> str:
    """A field's name as the command line spells it; a name that Python reserves ends in an underscore."""
    return "--" + name.rstrip("_").replace("_", "-")


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def _members(kind: Any) -> tuple[Any, ...]:
    """The types of a union; of another type, that one."""
    return typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)


def _describe(kind: Any) -> str:
    """What a value of a type looks like, for people."""
    origin, members = typing.get_origin(kind), _members(kind)
    if len(members) > 1:
        return " or ".join(_describe(member) for member in members if member is not types.NoneType)
    if origin is Literal:
        return "one of " + ", ".join(map(str, typing.get_args(kind)))
    return _WORDS.get(kind) or f"a {'mapping' if origin is dict else 'list'} such as {_sample(kind)}"


def _sample(kind: Any) -> str:
    """A value as the command line and YAML spell it."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (list, tuple):
        return f"[{','.join(map(_sample, inner))}]"
    if origin is Literal:
        return ",".join(map(str, inner))
    return {int: "1", float: "0.5", dict: "{a: 1}"}.get(origin or kind, "a")
