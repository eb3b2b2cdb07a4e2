"""The exception for users' mistakes, which every function that reads what a user gave may raise, and what to advise."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from textwrap import shorten

_CLONE = Path(__file__).parents[1]


class UserError(ValueError):
    """Bad input. The message is one line: what is wrong, where, and what to do; a command prints it and exits 2."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))  # names in it may hold ends of lines


def first_line(error: BaseException) -> str:
    """The first line of an error's message, with some of the next if it ends with a colon; its type if it is empty."""
    first, *more = str(error).strip().splitlines() or [type(error).__name__]
    return f"{first} {shorten(more[0], 200)}" if first.endswith(":") and more else first


@contextmanager
def as_user_error(what: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turn errors of these kinds into a UserError: `what`, and the error's first line.

    The type stands before it where messages may say little. A UserError passes unless it is among the kinds.
    """
    try:
        yield
    except kinds as error:
        if isinstance(error, UserError) and UserError not in kinds:
            raise
        kind = f"{type(error).__name__}: " if isinstance(error, AttributeError | KeyError | TypeError) else ""
        raise UserError(f"{what}: {kind}{first_line(error)}") from error


def how_to_add(extra: str) -> str:
    """The command that installs an extra of scarlet-models, such as "search", beside what is there."""
    if (_CLONE / "pyproject.toml").is_file():  # a clone, installed with -e or not at all
        return f'pip install -e ".[{extra}]" in {_CLONE}'
    try:  # where pip took the installed package from, if that is on record; if not, from an index
        record = json.loads(metadata.distribution("scarlet-models").read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, ValueError):
        return f"install scarlet-models again, with its extra [{extra}]"
    system = f"{record['vcs_info']['vcs']}+" if "vcs_info" in record else ""
    source = f" @ {system}{record['url']}" if record else ""
    return f'pip install "scarlet-models[{extra}]{source}"'
