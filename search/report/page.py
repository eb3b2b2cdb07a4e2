"""The page of a report: index.html, which loads nothing from elsewhere, with all figures inside it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from scarlet_models.files import write_bytes, write_text
from scarlet_models.version import __version__

from .commands import commands, configurations
from .context import Context
from .drawings import drawings
from .runs import KINDS, find_runs
from .sections import section_of
from .summary import summarize

PAGE = "index.html"


def write_report(folders: Sequence[Path], out: Path) -> list[Path]:
    """Write the page and its figures as PNG; return the files, the page first.

    Raises:
        UserError: No folder, no run in it, a damaged file, or a folder that cannot be written.
    """
    page, images = build(folders)
    for name, image in images.items():
        write_bytes(out / f"{name}.png", image)
    write_text(out / PAGE, page)
    return [out / PAGE, *(out / f"{name}.png" for name in images)]


def build(folders: Sequence[Path]) -> tuple[str, dict[str, bytes]]:
    """The page, and the light figures as PNG by name.

    Raises:
        UserError: No folder, no run in it, or a damaged file.
    """
    runs = find_runs(folders)
    context = Context(runs)
    sections = [section_of(run, context) for run in runs]
    if drawn := drawings(context):
        before = [run for run in runs if KINDS.index(run.kind) <= KINDS.index("run")]
        sections.insert(len(before), drawn)
    page = _template().render(
        title=folders[0].resolve().name,
        folders=folders,
        version=__version__,
        summary=summarize(context),
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
