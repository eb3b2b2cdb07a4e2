"""Values as people write them: what a text or an entry of YAML means as a type, and counts such as 300M and 1.5G."""

from __future__ import annotations

import contextlib
import re
import types
import typing
from decimal import Decimal
from typing import Any, Literal

from scarlet_models.documents import parse_yaml
from scarlet_models.errors import UserError

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_FACTORS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9, "t": 10**12}
_COUNT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(e\+?\d+)?\s*([kmgbt]?)", re.IGNORECASE)


def from_text(text: str, kind: Any) -> Any:
    """Read a text of the command line: it stands for itself where the type is str, else for what it means as YAML."""
    for member in _members(kind):
        if member is str or text in typing.get_args(member):
            return text
        with contextlib.suppress(UserError):
            value = parse_yaml(text, "")
            if not _lacks_spaces(value):
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


def _lacks_spaces(value: Any) -> bool:
    """Whether it is a mapping such as {a:1}, which YAML takes for an entry "a:1" without a value."""
    return isinstance(value, dict) and any(item is None and ":" in str(key) for key, item in value.items())


def _members(kind: Any) -> tuple[Any, ...]:
    """The types of a union; of another type, that one."""
    return typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)


def _describe(kind: Any) -> str:
    """What a value of a type looks like, for people."""
    return " or ".join(_describe_one(member) for member in _members(kind) if member is not types.NoneType)


def _describe_one(kind: Any) -> str:
    origin = typing.get_origin(kind)
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
