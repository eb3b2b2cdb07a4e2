"""JSON and YAML files as input: read within limits, so that a damaged or hostile one gives one line and never hangs.

A limit holds for the size of the file, for the nesting, and for what the aliases of a YAML file stand for.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from scarlet_models.errors import UserError, first_line

MAX_JSON = 64 << 20  # bytes
MAX_YAML = 256 << 10  # bytes; PyYAML reads some 100 KB a second
MAX_DEPTH = 50
MAX_NODES = 100_000  # of a YAML document whose aliases are written out

Keys = tuple[str | int, ...]  # from the document's root to an entry: keys of mappings and indices of lists
_KINDS = {dict: "a mapping", list: "a list", str: "a text", int: "a number", float: "a number", bool: "true or false"}


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with YAML 1.2's floats: for PyYAML, 1e-5 is text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read_text(path: Path | str, limit: int) -> str:
    """The text of a UTF-8 file of at most `limit` bytes.

    Raises:
        UserError: There is no such file, it cannot be read, it is too large, or it is not UTF-8.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():  # reading a FIFO would wait for ever
            raise UserError(f"{path}: a folder or a device, not a file")
        with path.open("rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise UserError(f"{path}: larger than the {limit:,} bytes that such a file may have")
        return data.decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or first_line(error)}") from None
    except UserError:
        raise
    except ValueError as error:  # also a name with a null character
        raise UserError(f"{path}: not UTF-8 text ({first_line(error)})") from None


def read_json(path: Path | str, expect: type = object, limit: int = MAX_JSON) -> Any:
    """The content of a JSON file.

    Args:
        path: The file.
        expect: Type of its content, such as dict.
        limit: Most bytes of the file.

    Raises:
        UserError: The file cannot be read, or `parse_json` refuses it. The message starts with the path.
    """
    return parse_json(read_text(path, limit), str(path), expect)


def parse_json(text: str, where: str, expect: type = object) -> Any:
    """The content of a JSON text. NaN and infinite numbers are refused, also those that only overflow, such as 1e999.

    Raises:
        UserError: Not JSON, nested too deeply, or of another type; the message starts with `where`.
    """
    try:
        content = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}:{error.lineno}: not valid JSON ({error.msg})") from None
    except ValueError as error:
        raise UserError(f"{where}: not valid JSON ({first_line(error)})") from None
    except RecursionError:
        raise _too_deep(where) from None
    _check_depth(content, where)
    return _expected(content, where, expect)


def read_yaml(path: Path | str, expect: type = object, limit: int = MAX_YAML) -> Any:
    """The content of a YAML file; None if it is empty.

    Args:
        path: The file.
        expect: Type of its content, such as dict.
        limit: Most bytes of the file.

    Raises:
        UserError: The file cannot be read, or `parse_yaml` refuses it. The message starts with the path.
    """
    return parse_yaml(read_text(path, limit), str(path), expect)


def parse_yaml(text: str, where: str, expect: type = object) -> Any:
    """The content of a YAML text; None if it is empty.

    Raises:
        UserError: Not YAML, nested too deeply, too large with its aliases written out, a key that stands twice in one
            mapping, or content of another type. The message starts with `where`, and names the line.
    """
    return _expected(parse_yaml_and_lines(text, where)[0], where, expect)


def parse_yaml_and_lines(text: str, where: str) -> tuple[Any, dict[Keys, int]]:
    """What `parse_yaml` gives, and the line of each entry by its keys."""
    try:
        return _load_yaml(text, where)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or first_line(error)
        raise UserError(f"{where}:{mark.line + 1 if mark else 1}: not valid YAML ({problem})") from None
    except UserError:
        raise
    except RecursionError:
        raise _too_deep(where) from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # what PyYAML raises for values like !!int x
        raise UserError(f"{where}: not valid YAML ({first_line(error)})") from None


def _load_yaml(text: str, where: str) -> tuple[Any, dict[Keys, int]]:
    loader = _Loader(text)
    node = loader.get_single_node()
    if node is None:
        return None, {}
    _check_nodes(node, where)
    lines: dict[Keys, int] = {}
    for keys, line in _lines(node, ()):
        if keys in lines:
            raise UserError(f"{where}:{line}: {'.'.join(map(str, keys))}: stands at line {lines[keys]} already")
        lines[keys] = line
    return loader.construct_document(node), lines


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number of JSON")


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text[:20]} is too large a number")
    return number


def _expected(content: Any, where: str, expect: type) -> Any:
    if not isinstance(content, expect):
        found = _KINDS.get(type(content), "nothing" if content is None else type(content).__name__)
        raise UserError(f"{where}: holds {found}, not {_KINDS.get(expect, expect.__name__)}")
    return content


def _too_deep(where: str) -> UserError:
    return UserError(f"{where}: nested more than {MAX_DEPTH} levels deep")


def _check_depth(content: Any, where: str) -> None:
    """Refuse plain data that is nested too deeply, level by level: a recursion would itself be too deep."""
    level = [content] if isinstance(content, dict | list) else []
    for _ in range(MAX_DEPTH):
        children = (item.values() if isinstance(item, dict) else item for item in level)
        level = [child for items in children for child in items if isinstance(child, dict | list)]
    if not level:
        return
    raise _too_deep(where)


def _check_nodes(root: yaml.Node, where: str) -> None:
    """Refuse a document that is too deep, too large, or endless once its aliases are written out."""
    measured: dict[int, tuple[int, int]] = {}  # id -> nodes and levels
    open_nodes: set[int] = set()

    def measure(node: yaml.Node) -> tuple[int, int]:
        if isinstance(node, yaml.ScalarNode):
            return 1, 0
        if id(node) in open_nodes:
            raise UserError(f"{where}:{node.start_mark.line + 1}: an entry that contains itself by an alias")
        if id(node) not in measured:
            open_nodes.add(id(node))
            pairs = isinstance(node, yaml.MappingNode)
            children = [measure(child) for entry in node.value for child in (entry if pairs else (entry,))]
            open_nodes.remove(id(node))
            nodes = 1 + sum(count for count, _ in children)
            if nodes > MAX_NODES:
                line = node.start_mark.line + 1
                raise UserError(f"{where}:{line}: more than {MAX_NODES:,} entries with the aliases written out")
            measured[id(node)] = nodes, 1 + max((levels for _, levels in children), default=0)
        return measured[id(node)]

    if measure(root)[1] > MAX_DEPTH:
        raise _too_deep(where)


def _lines(node: yaml.Node, keys: Keys) -> Iterator[tuple[Keys, int]]:
    """The keys and the line of each entry of a YAML document."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                yield (*keys, key.value), key.start_mark.line + 1
                yield from _lines(value, (*keys, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*keys, index), value.start_mark.line + 1
            yield from _lines(value, (*keys, index))
