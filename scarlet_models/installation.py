"""How to add what is missing: the package is on no index, so the advice depends on how it was installed."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

_CLONE = Path(__file__).parents[1]


def how_to_add(extra: str) -> str:
    """The command that installs an extra of scarlet-models, such as "search", beside what is there."""
    if (_CLONE / "pyproject.toml").is_file():  # a clone, installed with -e or not at all
        return f'pip install -e ".[{extra}]" in {_CLONE}'
    source = _source()
    if source:
        return f'pip install "scarlet-models[{extra}] @ {source}"'
    return f"install scarlet-models again, with its extra [{extra}]"


def _source() -> str:
    """Where pip took the installed package from, as a requirement spells it; empty if that is not on record."""
    try:
        record = json.loads(metadata.distribution("scarlet-models").read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, ValueError):
        return ""
    vcs = record.get("vcs_info")
    return f"{vcs['vcs']}+{record['url']}" if vcs else str(record.get("url", ""))
