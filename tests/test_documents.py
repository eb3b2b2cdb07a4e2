"""JSON and YAML files as input: whatever is in them, one line, and at once."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scarlet_models.documents import (
    MAX_DEPTH,
    dump_yaml,
    parse_json,
    parse_yaml,
    parse_yaml_and_lines,
    read_json,
    read_text,
    read_yaml,
)
from scarlet_models.errors import UserError

BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
)
MERGES = "\n".join(
    ["a0: &a0 {x: 1}"] + [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}" for i in range(1, 10)]
)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": [1, 2.5, null, "é"]}', encoding="utf-8-sig")
    assert read_json(tmp_path / "a.json", dict) == {"a": [1, 2.5, None, "é"]}
    (tmp_path / "a.yaml").write_text("a: &a {b: 1}\nc:\n  - *a\n  - {<<: *a, d: 2}\n")
    assert read_yaml(str(tmp_path / "a.yaml"), dict) == {"a": {"b": 1}, "c": [{"b": 1}, {"b": 1, "d": 2}]}
    assert parse_yaml("", "empty") is None
    assert parse_yaml_and_lines("a: 1\nb:\n  - c: 2\n", "text")[1] == {
        ("a",): 1,
        ("b",): 2,
        ("b", 0): 3,
        ("b", 0, "c"): 3,
    }


@pytest.mark.parametrize(
    "text", ["1e-4", "1e5", "1.5E+3", ".5e1", "1e", "0x1f", "3", "true", "~", "2026-01-01", "a: b", ""]
)
def test_texts_that_look_like_something_else_are_written_as_texts(text: str) -> None:
    """Such as --out 1e-4, which a run that resumes must find again."""
    content = {"out": text, "lr": 1e-5, "epochs": 3}
    assert parse_yaml(dump_yaml(content), "dumped") == content
    assert parse_yaml(dump_yaml({"lr": 1e-5}), "dumped")["lr"] == 1e-5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "where:1: not valid JSON"),
        ('{\n"a": x}', "where:2: not valid JSON"),
        ("[NaN]", r"not valid JSON \(NaN is not a finite number"),
        ("[-Infinity]", "not valid JSON"),
        ("[1e999]", "1e999 is not a finite number"),
        ("9" * 5000, "not valid JSON"),
        ("[" * 100_000, "nested more than"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "nested more than"),
        ('{"a":' * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1), "nested more than"),
        ("[]", "where: holds a list, not a mapping"),
        ("5", "holds a number, not a mapping"),
        ("null", "holds nothing, not a mapping"),
    ],
    ids=lambda value: value[:12],
)
def test_json_that_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        parse_json(text, "where", dict)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "where:1: not valid YAML"),
        ("a: 1\nb: \x00", "not valid YAML"),
        ("--- 1\n--- 2\n", "where:2: not valid YAML"),
        ("!!python/object/apply:os.system [ls]", "not valid YAML"),
        ("a: *unknown", "where:1: not valid YAML"),
        ("a: &a [*a]", "where:1: an entry that contains itself"),
        ("a: 2001-99-99", "not valid YAML"),
        ("a: !!bool x", "not valid YAML"),
        ("a: !!int ''", "not valid YAML"),
        ("a: !!timestamp x", "not valid YAML"),
        ("? [a]\n: 1", "not valid YAML"),
        ("a: 1\nb: 2\na: 3", "where:3: a: stands at line 1 already"),
        ("[" * 100_000, "nested more than"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "nested more than"),
        (BOMB, "where:5: more than 100,000 entries with the aliases written out"),
        (MERGES, "more than 100,000 entries"),
        ("- 1", "where: holds a list, not a mapping"),
        ("", "holds nothing, not a mapping"),
    ],
    ids=lambda value: value[:12],
)
def test_yaml_that_is_refused(text: str, message: str) -> None:
    started = time.monotonic()
    with pytest.raises(UserError, match=message) as error:
        parse_yaml(text, "where", dict)
    assert "\n" not in str(error.value)
    assert time.monotonic() - started < 5


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "latin").write_bytes("é".encode("latin-1"))
    (tmp_path / "large").write_bytes(b" " * 101)
    cases = {"": "a folder or a device", "pipe": "a folder or a device", "absent": "No such file", "latin": "not UTF-8"}
    for name, message in {**cases, "large": "larger than the 100 bytes"}.items():
        with pytest.raises(UserError, match=message) as error:
            read_text(tmp_path / name, 100)
        assert str(error.value).startswith(f"{tmp_path / name}: ".replace("/: ", ": "))
    with pytest.raises(UserError, match="null"):
        read_json("a\0b")


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(plain)
def test_any_plain_data_survives_json(content: object) -> None:
    assert parse_json(json.dumps(content), "text") == content


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(alphabet="ab:-[]{}&*<!?#'\"|>%\n 1.~", max_size=40))
def test_any_text_gives_data_or_one_line(text: str) -> None:
    for parse in (parse_json, parse_yaml):
        try:
            parse(text, "text")
        except UserError as error:
            assert "\n" not in str(error)
