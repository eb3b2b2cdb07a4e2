"""networks.json of a search: which networks are trained, what they are for, and what was known of them before."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scarlet_models.files import write_json

NAME = "networks.json"

PICKED = "picked"  # the role of the network that is exported; the others stand beside it
SEARCH, RANDOM = "the search", "random search"  # what may have found the picked network


def scored_networks(search: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The fronts of a search and of its random search: records with "found_by" beside their figures, each once.

    Args:
        search: What search.json holds.
    """
    fronts = {SEARCH: search["front"], RANDOM: (search.get("random") or {"front": []})["front"]}
    records: dict[str, dict[str, Any]] = {}
    for name, front in fronts.items():
        for record in front:
            records.setdefault(record["genotype"], {**record, "found_by": name})
    return list(records.values())


def write_networks(folder: Path, rule: str, networks: Sequence[Mapping[str, Any]]) -> None:
    """Write the file unless it says the same already.

    Args:
        folder: Folder of the search.
        rule: How the first network was picked.
        networks: Records with a role ("picked", "random", "largest"), the stage that trains it, and its genotype.
    """
    content = {"rule": rule, "networks": [dict(network) for network in networks]}
    path = folder / NAME
    if not path.exists() or json.loads(path.read_text(encoding="utf-8")) != content:
        write_json(path, content)
