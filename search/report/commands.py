"""How runs came about: the commands that made them, and their exact options and environments."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from scarlet_models.search.pipeline.pipeline import JOURNAL, Pipeline

from .runs import Run, readable

_CONFIGS = {
    "train": ("config.yaml", "env.json"),
    "evolve": ("config.yaml", "env.json"),
    "retrain": ("config.yaml", "env.json"),
    "export": ("config.json",),
}


@dataclass(frozen=True)
class Command:
    """A line for the shell, what it is for, and how long it took; both empty where that is not on record."""

    line: str
    why: str = ""
    took: str = ""


def commands(folders: Sequence[Path], runs: Sequence[Run]) -> list[Command]:
    """The stages of pipelines in the folders, and a command for each run that is no stage of theirs."""
    found: list[Command] = []
    covered: set[tuple[str, Path]] = set()
    for folder in folders:
        with readable(folder / JOURNAL, "list of stages"):
            for name, stage in Pipeline(folder).done.items():
                took = str(timedelta(seconds=round(stage["seconds"])))
                found.append(Command(stage["command"], stage["why"], took))
                covered.add((stage["command"].split()[1], (folder / name).resolve()))
    others = [run for run in runs if (run.kind, run.path.resolve()) not in covered]
    return found + [Command(line) for run in others for line in _lines(run)]


def _lines(run: Run) -> Iterator[str]:
    if run.kind in ("train", "evolve", "retrain") and run.config():
        final = ["--final"] if (run.path / "final.json").is_file() else []
        yield shlex.join(["scarlet-search", run.kind, "--config", str(run.path / "config.yaml"), *final])
    if run.kind == "rank":
        for _, options in _rank_options(run):
            yield shlex.join(["scarlet-search", "rank", *_arguments(options)])


def _rank_options(run: Run) -> Iterator[tuple[str, dict[str, Any]]]:
    from scarlet_models.search.scoring import rank

    names = [field.name for field in dataclasses.fields(rank.Options)]
    for path in sorted(run.path.glob("rank_*.json")):
        content = run.json(path.name)
        yield path.name, {name: content[name] for name in names if name in content}


def _arguments(options: dict[str, Any]) -> Iterator[str]:
    """Options of rank that are not its defaults, as arguments."""
    from scarlet_models.search.scoring import rank

    for field in dataclasses.fields(rank.Options):
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        if field.metadata.get("positional"):
            yield str(options[field.name])
        elif field.name in options and field.name != "json" and options[field.name] != default:
            value = options[field.name]
            yield f"--{field.name.replace('_', '-')}={json.dumps(value) if isinstance(value, list) else value}"


def configurations(runs: Sequence[Run]) -> dict[str, str]:
    """Text by file: options and environments, as the runs keep them."""
    found = {}
    for run in runs:
        for name in _CONFIGS.get(run.kind, ()):
            found[str(run.path / name)] = run.text(name)
        if run.kind == "rank":
            for name, options in _rank_options(run):
                found[f"{run.path / name}: options"] = yaml.safe_dump(options, sort_keys=False)
        if run.kind == "latency":
            facts = run.json("table.json")["facts"]
            found[f"{run.path / 'table.json'}: facts"] = yaml.safe_dump(facts, sort_keys=False)
    return {name: text for name, text in found.items() if text}
