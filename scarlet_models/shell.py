"""Lines for the shell that a user can paste: quoted, and without the options that keep their default."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterator
from typing import Any

from scarlet_models.options import default_of, flag


def next_line(*words: str) -> str:
    """What a command prints last: the line that is useful after it."""
    return f"next: {shlex.join(words)}"


def shell_line(command: str, options: Any) -> str:
    """The line that gives a command these options.

    Args:
        command: Program and subcommand, such as "scarlet-search run".
        options: An instance of the command's options dataclass, or of a base of it.
    """
    words: list[str] = []
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if field.metadata.get("positional"):
            words += [str(item) for item in (value if isinstance(value, list) else [value] if value != "" else [])]
        elif value != default_of(field):
            words += _words(flag(field.name), value)
    return f"{command} {shlex.join(words)}".rstrip()


def _words(name: str, value: Any) -> Iterator[str]:
    """An option and its value; each entry of a mapping on its own."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _words(f"{name}.{key}", item)
    elif isinstance(value, bool) and "." not in name:
        yield name if value else name.replace("--", "--no-", 1)
    else:
        yield f"{name}={value if isinstance(value, str) else json.dumps(value)}"
