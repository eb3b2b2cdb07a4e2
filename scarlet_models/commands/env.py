"""Versions, machine, threads and store folder: what a bug report needs."""

from __future__ import annotations

import json
from dataclasses import dataclass

from scarlet_models.options import option

EXAMPLE = """  scarlet-models env
  scarlet-models env --json"""


@dataclass
class Options:
    """Options of env.

    Args:
        json: Print one JSON object.
    """

    json: bool = option(False, once=True)


def main(options: Options) -> None:
    """Print what is known about this installation."""
    from scarlet_models.training.environment import describe_machine

    facts = describe_machine()
    if options.json:
        print(json.dumps(facts, indent=2))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:{width}}  {'not installed' if value is None else value}")
