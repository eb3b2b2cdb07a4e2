"""One page about a search: curves, fronts, networks, options and commands, with all figures inside it.

Give the folder of `run`, or any folders of train, rank, latency, evolve, retrain and export, or ones that hold such
folders; those that are still going on too. Writes index.html, which loads nothing from elsewhere, and figures as PNG.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from scarlet_models.errors import UserError
from scarlet_models.files import write_bytes, write_text
from scarlet_models.options import option
from scarlet_models.training.progress import log_to_stderr
from scarlet_models.version import __version__

from .commands import commands, configurations
from .runs import KINDS, find_runs
from .sections import networks, section_of
from .summary import summarize

EXAMPLE = """  scarlet-search report runs/search
  scarlet-search report runs/supernet runs/evolve runs/retrain --out pages/first"""

PAGE = "index.html"


@dataclass
class Options:
    """Options of report.

    Args:
        folders: Folders of runs, or that hold such folders.
        out: The folder for the page; empty for "report" in the first of the folders.
        json: Print the files as one JSON object.
    """

    folders: list[str] = option(positional=True)
    out: str = option("", free=True)
    json: bool = option(False, once=True)


def main(options: Options) -> None:
    """Write the page and print where it is.

    Raises:
        UserError: no folder, no run in it, a damaged file, or a folder that cannot be written.
    """
    log_to_stderr()
    if not options.folders:
        raise UserError("FOLDERS is missing: give the folder of a run; see --help")
    folders = [Path(folder) for folder in options.folders]
    out = Path(options.out) if options.out else folders[0] / "report"
    page, images = build(folders)
    for name, image in images.items():
        write_bytes(out / f"{name}.png", image)
    write_text(out / PAGE, page)
    if options.json:
        print(json.dumps({"report": str(out / PAGE), "figures": [str(out / f"{name}.png") for name in images]}))
    else:
        print(out / PAGE)


def build(folders: list[Path]) -> tuple[str, dict[str, bytes]]:
    """The page, and the figures on light paper as PNG by name.

    Raises:
        UserError: no folder, no run in it, or a damaged file.
    """
    runs = find_runs(folders)
    sections = [section_of(run, runs) for run in runs]
    if drawings := networks(runs):
        before = [run for run in runs if KINDS.index(run.kind) <= KINDS.index("evolve")]
        sections.insert(len(before), drawings)
    page = _template().render(
        title=folders[0].resolve().name,
        folders=folders,
        version=__version__,
        summary=summarize(runs),
        sections=sections,
        commands=commands(folders, runs),
        configurations=configurations(runs),
    )
    return page, {figure.name: figure.image.light for section in sections for figure in section.figures}


def _template() -> Template:
    loader = PackageLoader("scarlet_models.search.report", "")
    environment = Environment(
        autoescape=True, loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["data_uri"] = _data_uri
    return environment.get_template("report.html.j2")


def _data_uri(image: bytes) -> Markup:
    return Markup("data:image/png;base64,") + base64.b64encode(image).decode()
