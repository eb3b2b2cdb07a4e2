"""JSON, YAML and CSV files as input, within limits: a damaged or hostile one gives one line, at once."""

import csv
import io
import itertools
import json
import math
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import yaml

from scarlet_models.errors import UserError, as_user_error, first_line

MAX_JSON = 64 << 20  # bytes
MAX_YAML = 256 << 10  # bytes; PyYAML reads some 100 KB a second
MAX_CSV = 1 << 30  # bytes
MAX_DEPTH = 50
MAX_NODES = 100_000  # of a YAML document whose aliases are written out

Keys = tuple[str | int, ...]  # from the document's root to an entry: keys of mappings and indices of lists
_KINDS = {dict: "a mapping", list: "a list", str: "a text", int: "a number", float: "a number", bool: "true or false"}


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with YAML 1.2's floats: for PyYAML, 1e-5 is text."""


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads as it was: the text 1e-5 in quotes."""


for _each in (_Loader, _Dumper):
    _each.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
    )


def read_text(path: Path | str, limit: int) -> str:
    """The text of a UTF-8 file of at most `limit` bytes."""
    path = Path(path)
    with as_user_error(f"{path}: not UTF-8 text", ValueError):  # also a name with a null character
        try:
            if path.exists() and not path.is_file():  # reading a FIFO would wait for ever
                raise UserError(f"{path}: a folder or a device, not a file")
            with path.open("rb") as file:
                data = file.read(limit + 1)
        except OSError as error:
            raise UserError(f"{path}: {error.strerror or first_line(error)}") from None
        if len(data) > limit:
            raise UserError(f"{path}: larger than the {limit:,} bytes that such a file may have")
        return data.decode("utf-8-sig")


def read_json(path: Path | str, expect: type = object, limit: int = MAX_JSON) -> Any:
    """The content of a JSON file of at most `limit` bytes, checked to be of a type such as dict."""
    return parse_json(read_text(path, limit), str(path), expect)


def parse_json(text: str, where: str, expect: type = object) -> Any:
    """The content of a JSON text named `where`. NaN and infinite numbers are refused, also overflows such as 1e999."""
    try:
        content = json.loads(text, parse_constant=_finite, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}:{error.lineno}: not valid JSON ({error.msg})") from None
    except ValueError as error:
        raise UserError(f"{where}: not valid JSON ({first_line(error)})") from None
    except RecursionError:
        raise _too_deep(where) from None
    _check_depth(content, where)
    return _expected(content, where, expect)


def read_yaml(path: Path | str, expect: type = object) -> Any:
    """The content of a YAML file, checked to be of a type; None if it is empty."""
    return parse_yaml(read_text(path, MAX_YAML), str(path), expect)


def parse_yaml(text: str, where: str, expect: type = object) -> Any:
    """The content of a YAML text, checked to be of a type; None if it is empty."""
    return _expected(parse_yaml_and_lines(text, where)[0], where, expect)


def parse_yaml_and_lines(text: str, where: str) -> tuple[Any, dict[Keys, int]]:
    """The content of a YAML text named `where`, None if it is empty; and the line of each entry by its keys.

    Refuses what is nested too deeply, too large with its aliases written out, or has a key twice in one mapping.
    """
    kinds = ValueError, LookupError, TypeError, AttributeError  # what PyYAML raises for values like !!int x
    try:
        with as_user_error(f"{where}: not valid YAML", *kinds):
            loader = _Loader(text)
            node = loader.get_single_node()
            if node is None:
                return None, {}
            lines: dict[Keys, int] = {}
            for keys, line in _entries(node, where, itertools.count(1)):
                if keys in lines:
                    raise UserError(f"{where}:{line}: {'.'.join(map(str, keys))}: stands at line {lines[keys]} already")
                lines[keys] = line
            return loader.construct_document(node), lines
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or first_line(error)
        raise UserError(f"{where}:{mark.line + 1 if mark else 1}: not valid YAML ({problem})") from None
    except RecursionError:
        raise _too_deep(where) from None


def dump_yaml(content: Any, **layout: Any) -> str:
    """Plain data as YAML, keys in their order; `layout` is for yaml.dump."""
    return str(yaml.dump(content, Dumper=_Dumper, sort_keys=False, **layout))


def read_csv(path: Path | str, numbers: Collection[str] | None = None) -> tuple[list[str], list[dict[str, str]]]:
    """The columns and the rows of a CSV file. A last line without its end, which a kill has torn, is left out.

    `numbers` are columns that must be there, of finite numbers or empty cells; None is all that are.
    """
    text = read_text(path, MAX_CSV)
    reader = csv.reader(io.StringIO(text[: text.rfind("\n") + 1], newline=""))
    rows: list[dict[str, str]] = []
    try:
        columns = next(reader, [])
        if missing := [name for name in numbers or () if name not in columns]:
            raise UserError(f"{path}:1: column {missing[0]} is missing")
        if len(set(columns)) < len(columns):
            raise UserError(f"{path}:1: a column stands twice")
        for cells in reader:
            rows.append(dict(zip(columns, cells, strict=True)))
            for name in columns if numbers is None else numbers:
                _finite(rows[-1][name] or "0")
    except (csv.Error, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}:{reader.line_num}: not a row of this table ({first_line(error)})") from None
    return columns, rows


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text[:20]} is not a finite number")
    return number


def _expected(content: Any, where: str, expect: type) -> Any:
    if not isinstance(content, expect):
        found = _KINDS.get(type(content), "nothing" if content is None else type(content).__name__)
        raise UserError(f"{where}: holds {found}, not {_KINDS.get(expect, expect.__name__)}")
    return content


def _too_deep(where: str) -> UserError:
    return UserError(f"{where}: nested more than {MAX_DEPTH} levels deep")


def _check_depth(content: Any, where: str, left: int = MAX_DEPTH) -> None:
    if isinstance(content, dict | list):
        if not left:
            raise _too_deep(where)
        for child in content.values() if isinstance(content, dict) else content:
            _check_depth(child, where, left - 1)


def _entries(
    node: yaml.Node, where: str, count: Iterator[int], keys: Keys = (), above: tuple[yaml.Node, ...] = ()
) -> Iterator[tuple[Keys, int]]:
    """The keys and the line of each entry, aliases written out. Refuses what is too deep, too large or endless."""
    line = 1 + max(other.start_mark.line for other in (*above, node))  # an alias has its anchor's line
    if next(count) > MAX_NODES:
        raise UserError(f"{where}:{line}: more than {MAX_NODES:,} entries with the aliases written out")
    if isinstance(node, yaml.ScalarNode):
        return
    if node in above:
        raise UserError(f"{where}:{node.start_mark.line + 1}: an entry that contains itself by an alias")
    if len(above) == MAX_DEPTH:
        raise _too_deep(where)
    for key, value in node.value if isinstance(node, yaml.MappingNode) else enumerate(node.value):
        if not isinstance(key, int | yaml.ScalarNode):
            raise UserError(f"{where}:{line}: not valid YAML (a key that is no text)")
        mark, inner = (value, key) if isinstance(key, int) else (key, key.value)
        yield (*keys, inner), mark.start_mark.line + 1
        yield from _entries(value, where, count, (*keys, inner), (*above, node))
