"""The exception for users' mistakes, which every function that reads what a user gave may raise, and what to advise."""

import json
from importlib import metadata
from pathlib import Path

_CLONE = Path(__file__).parents[1]


class UserError(ValueError):
    """Bad input. The message is one line: what is wrong, where, and what to do; a command prints it and exits 2."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if the message is empty."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


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
