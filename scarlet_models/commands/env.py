"""Versions, machine, threads and store folder: what a bug report needs."""

from typing import Any

from scarlet_models.options import JsonOptions as Options
from scarlet_models.terminal import output

EXAMPLE = """  scarlet-models env
  scarlet-models env --json"""


def main(options: Options) -> None:
    from scarlet_models.training.environment import describe_machine

    output(describe_machine(), options.json, _show)


def _show(facts: dict[str, Any]) -> None:
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:{width}}  {'not installed' if value is None else value}")
