"""The page of a report: index.html, which loads nothing from elsewhere, with all figures inside it."""

from collections.abc import Sequence
from pathlib import Path

from scarlet_models.files import write_bytes, write_text
from scarlet_models.inspection.plotting import DARK, LIGHT
from scarlet_models.version import __version__

from . import sections
from .commands import commands, configurations
from .context import Context
from .runs import KINDS, Run, find_runs, readable
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
