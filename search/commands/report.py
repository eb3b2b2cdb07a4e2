"""Write one page about a search: curves, fronts, networks, options and commands, with all figures inside it.

Give the folder of `run`, or any folders of train, rank, latency, evolve, retrain and export, or folders that hold such
ones; runs that are still going on count too. Writes index.html, which loads nothing from elsewhere, and figures as PNG.
"""

from dataclasses import dataclass
from pathlib import Path

from scarlet_models.errors import UserError
from scarlet_models.options import JsonOptions, option
from scarlet_models.terminal import output

EXAMPLE = """  scarlet-search report runs/search
  scarlet-search report runs/supernet runs/evolve runs/retrain --out pages/first"""


@dataclass
class Options(JsonOptions):
    """Options of report.

    Args:
        folders: Folders of runs, or folders that hold such folders.
        out: Folder for the page; empty for "report" in the first of the folders.
    """

    folders: list[str] = option(positional=True)
    out: str = option("", free=True)


def main(options: Options) -> None:
    if not options.folders:
        raise UserError("FOLDERS is missing: give the folder of a run; see --help")
    from scarlet_models.search.report.page import write_report

    folders = [Path(folder) for folder in options.folders]
    page, *figures = write_report(folders, Path(options.out) if options.out else folders[0] / "report")
    output({"report": str(page), "figures": [str(path) for path in figures]}, options.json, lambda _: print(page))
