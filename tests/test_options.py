"""Options dataclasses from plain data, and what a text or an entry means as a value of a type."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from scarlet_models.errors import UserError
from scarlet_models.options import Ranged, build, check, from_text, option, parse_count


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("5", int, 5),
        ("5", str, "5"),
        ("# [", str, "# ["),
        ("1e-5", float, 1e-5),
        ("1", float, 1.0),
        ("false", bool | str, False),
        ("linear", bool | str, "linear"),
        ("300", int | str | None, 300),
        ("300M", int | str | None, "300M"),
        ("null", float | None, None),
        ("fancy", Literal["plain", "fancy"], "fancy"),
        ("[a, b]", list[str], ["a", "b"]),
        ("[[8, 32], [2, 64]]", list[tuple[int, int]], [(8, 32), (2, 64)]),
        ("{eps: 1e-08, nested: [1]}", dict[str, Any], {"eps": 1e-8, "nested": [1]}),
    ],
)
def test_texts_become_values_of_their_type(text: str, kind: Any, value: Any) -> None:
    found = from_text(text, kind)
    assert found == value and type(found) is type(value)
    assert check(found, kind) == value


@pytest.mark.parametrize(
    ("text", "kind", "wanted"),
    [
        ("5.0", int, "a whole number"),
        ("true", int, "a whole number"),
        ("yes, please", bool, "true or false"),
        ("x", float | None, "a number"),
        ("tiny", Literal["plain", "fancy"], "one of plain, fancy"),
        ("a", list[str], "a list such as [a]"),
        ("[a", list[str], "a list such as [a]"),
        ("[x]", list[Literal["onnx", "program"]], "a list such as [onnx,program]"),
        ("[[8]]", list[tuple[int, int]], "a list such as [[1,1]]"),
        ("{a:1}", dict[str, Any], "a mapping such as {a: 1}"),
        ("[1]", dict[str, Any], "a mapping such as {a: 1}"),
        ("[]", int | float, "a whole number or a number"),
        ("&a [*a]", list[Any], "a list such as [a]"),
    ],
)
def test_other_texts_are_refused_in_words(text: str, kind: Any, wanted: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(repr(text))} is not {re.escape(wanted)}$"):
        from_text(text, kind)


@dataclass
class Training(Ranged):
    """Some options."""

    name: str = option(positional=True)
    batch_size: int = option(32, least=1)
    phases: list[tuple[int, int]] = option([], least=0)
    opt_args: dict[str, Any] = field(default_factory=dict)


def test_plain_data_become_options() -> None:
    entries = {"name": "x", "batch-size": 4, "phases": [[8, 32]], "opt_args": {"eps": 1e-8}}
    assert build(Training, entries) == Training("x", 4, [(8, 32)], {"eps": 1e-8})


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, "NAME is missing; see --help"),
        ({"name": "x", "batchsize": 4}, "there is no option batchsize; did you mean --batch-size?"),
        ({"name": 5}, "--name: 5 is not text"),
        ({"name": "x", "batch_size": "4"}, "--batch-size: '4' is not a whole number"),
        ({"name": "x", "batch_size": 0}, "--batch-size: 0 is below 1"),
        ({"name": "x", "phases": [[1, -2]]}, "--phases: -2 is below 0"),
    ],
)
def test_plain_data_are_checked_as_the_command_line_is(entries: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        build(Training, entries)


# Numbers as people write them


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("300M", 300_000_000),
        ("1.5g", 1_500_000_000),
        ("6,707,720", 6_707_720),
        ("2e6", 2_000_000),
        (7, 7),
        (".5k", 500),
    ],
)
def test_counts_are_read(text: str | int, value: int) -> None:
    assert parse_count(text) == value


@pytest.mark.parametrize("text", ["", "many", "-3", "0.5", "3MM", "1.2.3M", "nan"])
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is not a count"):
        parse_count(text)
