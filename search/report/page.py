"""The page of a report: index.html, which loads nothing from elsewhere, with all figures inside it.

At its end it says how the runs came about: the commands that made them, their exact options and environments.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from scarlet_models.files import write_bytes, write_text
from scarlet_models.inspection.plotting import DARK, LIGHT
from scarlet_models.parsing import shell_line
from scarlet_models.search.pipeline.journal import Journal
from scarlet_models.search.scoring.options import RankOptions
from scarlet_models.version import __version__
from scarlet_models.weights.save import CONFIG

from . import sections
from .context import Context
from .runs import KINDS, TRAININGS, Run, find_runs, readable
from .search_section import drawings, search
from .sections import TEMPLATES, Section
from .summary import summarize

PAGE = "index.html"
_SECTIONS = {
    "train": sections.supernet,
    "rank": sections.ranking,
    "latency": sections.latency,
    "evolve": search,
    "run": sections.trained,
    "retrain": sections.training,
    "export": sections.export,
}


def write_report(folders: Sequence[Path], out: Path) -> list[Path]:
    """Write the page and its figures as PNG; return the files, the page first."""
    page, images = build(folders)
    files = {out / f"{name}.png": image for name, image in images.items()}
    for path, image in files.items():
        write_bytes(path, image)
    write_text(out / PAGE, page)
    return [out / PAGE, *files]


def build(folders: Sequence[Path]) -> tuple[str, dict[str, bytes]]:
    """The page, and the light figures as PNG by name; a UserError if there is no run or a file is damaged."""
    runs = find_runs(folders)
    context = Context(runs)
    shown = [section_of(run, context) for run in runs]
    half = sum(KINDS.index(run.kind) <= KINDS.index("run") for run in runs)
    if drawn := drawings(context):
        shown.insert(half, drawn)
        half += 1
    tiles, genotype = summarize(context)
    page = TEMPLATES.get_template("report.html.j2").render(
        title=folders[0].resolve().name,
        folders=folders,
        version=__version__,
        tiles=tiles,
        genotype=genotype,
        before=shown[:half],
        after=shown[half:],
        light=LIGHT,
        dark=DARK,
        commands=commands(folders, runs),
        configurations=configurations(runs),
    )
    return page, {figure.name: figure.image.light for section in shown for figure in section.figures}


def section_of(run: Run, context: Context) -> Section:
    """What there is to say of a run among all of them."""
    with readable(run):
        return _SECTIONS[run.kind](run, context)


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
    if run.kind in TRAININGS and run.config():
        final = ["--final"] if (run.path / "final.json").is_file() else []
        yield shlex.join(["scarlet-search", run.kind, "--config", str(run.path / "config.yaml"), *final])
    for path in sorted(run.path.glob("rank_*.json")) if run.kind == "rank" else ():
        content = run.json(path.name)  # the options stand beside the figures
        given = {field.name: content[field.name] for field in fields(RankOptions) if field.name in content}
        yield shell_line("scarlet-search rank", RankOptions(**given))


def configurations(runs: Sequence[Run]) -> dict[str, str]:
    """Text by file: options and environments, as the runs keep them."""
    names = dict.fromkeys(TRAININGS, ("config.yaml", "env.json")) | {"run": ("config.yaml",), "export": (CONFIG,)}
    found = {str(run.path / name): run.text(name) for run in runs for name in names.get(run.kind, ())}
    return {name: text for name, text in found.items() if text}
