"""How runs came about: the commands that made them, and their exact options and environments."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from scarlet_models.parsing import shell_line
from scarlet_models.search.pipeline.journal import Journal
from scarlet_models.search.scoring.options import RankOptions
from scarlet_models.weights.save import CONFIG

from .runs import Run

_TRAININGS = ("train", "evolve", "retrain")


class Command(NamedTuple):
    """A line for the shell, what it is for, and how long it took; both empty if that is not on record."""

    line: str
    why: str = ""
    took: str = ""


def commands(folders: Sequence[Path], runs: Sequence[Run]) -> list[Command]:
    """The stages of pipelines in the folders, and a command for each run that is no stage of theirs."""
    found: list[Command] = []
    covered: set[tuple[str, Path]] = set()
    for folder in folders:
        for name, stage in Journal(folder).entries.items():
            found.append(Command(stage.command, stage.why, str(timedelta(seconds=round(stage.seconds)))))
            covered.add((stage.command.split()[1], (folder / name).resolve()))
    others = [run for run in runs if (run.kind, run.path.resolve()) not in covered]
    return found + [Command(line) for run in others for line in _lines(run)]


def _lines(run: Run) -> Iterator[str]:
    if run.kind in _TRAININGS and run.config():
        final = ["--final"] if (run.path / "final.json").is_file() else []
        yield shlex.join(["scarlet-search", run.kind, "--config", str(run.path / "config.yaml"), *final])
    for path in sorted(run.path.glob("rank_*.json")) if run.kind == "rank" else ():
        content = run.json(path.name)  # the options stand beside the figures
        given = {field.name: content[field.name] for field in fields(RankOptions) if field.name in content}
        yield shell_line("scarlet-search rank", RankOptions(**given))


def configurations(runs: Sequence[Run]) -> dict[str, str]:
    """Text by file: options and environments, as the runs keep them."""
    names = dict.fromkeys(_TRAININGS, ("config.yaml", "env.json")) | {"run": ("config.yaml",), "export": (CONFIG,)}
    found = {str(run.path / name): run.text(name) for run in runs for name in names.get(run.kind, ())}
    return {name: text for name, text in found.items() if text}
