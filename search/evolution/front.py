"""evolve in Python: the front of a search as a list of scored networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from scarlet_models.inspection.plotting import save
from scarlet_models.search.scoring.trained import open_supernet
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.training.options import from_keywords

from .network import ScoredNetwork
from .options import EvolveOptions
from .search import EvolutionarySearch, run_search

SHOWN = 10  # networks in a front's repr


class Front(list[ScoredNetwork]):
    """The networks that no scored network beats in all objectives, the most accurate first.

    `report` is what search.json holds. Under torchrun the front is empty on ranks other than 0, which have no search.
    """

    def __init__(self, search: EvolutionarySearch | None) -> None:
        self.search = search
        self.report: dict[str, Any] = {}
        self.folder: Path | None = None
        if search is not None:
            super().__init__(search.archive.networks(search.archive.front))
            self.report, self.folder = search.report(), search.folder.path

    def __repr__(self) -> str:
        lines = [f"Front({len(self)} of {self.report.get('evaluations', 0)} scored networks)"]
        lines += [f"  {network!r}" for network in self[:SHOWN]]
        return "\n".join([*lines, *(["  ..."] if len(self) > SHOWN else [])])

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw accuracy against MACs of all scored networks, and the front; write it as PNG if there is a path."""
        assert self.search is not None
        figure = self.search.draw()
        if path is not None:
            save(figure, Path(path))
        return figure


def evolve(net: Supernet | str | Path, data_dir: str | Path = "", **options: Any) -> Front:
    """Search for networks with a supernet's scores: `scarlet-search evolve` in Python.

    Args:
        net: The supernet: a folder, a file, the name of one that ships, or a Supernet that was trained or loaded.
        data_dir: The images: folder of class folders, tar file, or the place of a named data set.
        **options: Options of the command by name, such as objectives=["accuracy", "macs"] or max_macs="300M".

    Raises:
        UserError: A bad option, limits that no network meets, or a supernet or images that cannot be read.
    """
    supernet = open_supernet(net)
    wanted = from_keywords(EvolveOptions, supernet=supernet.name, data_dir=data_dir, **options)
    return Front(run_search(wanted, supernet))
