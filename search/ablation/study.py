"""A study: supernets of each variant and seed, the commands that each needs, and what of them is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from scarlet_models.files import write_text
from scarlet_models.program import Program
from scarlet_models.search.scoring.known_accuracies import load_known_accuracies
from scarlet_models.space.space import SearchSpace

from .cells import BATCH_NORMS, VARIANTS, Cell, make_cells
from .options import AblationOptions


class Study:
    """The cells of a study in a folder; a UserError tells of bad options, also of train, before any run."""

    def __init__(self, options: AblationOptions, program: Program) -> None:
        self.options = options
        self.cells = make_cells(Path(options.out), options.variants, options.seeds)
        self._train = {}
        for cell in self.cells:
            own = {**VARIANTS[cell.variant], "seed": cell.seed, "out": str(cell.folder), "steps": options.steps}
            given = {"config": options.recipe, **options.train, **self._data(), **own}
            self._train[cell] = program.resolve("train", given)
        parsed = [program.build("train", values) for values in self._train.values()]
        known = load_known_accuracies(options.known, SearchSpace.load(parsed[0].space))
        self.networks = min(options.networks or len(known), len(known))

    def _data(self) -> dict[str, Any]:
        options = self.options
        places = {"data_dir": options.data_dir, "dataset": options.dataset}
        return {"threads": 1, "workers": options.workers} | {name: place for name, place in places.items() if place}

    def arguments(self, cell: Cell, stage: str) -> list[str]:
        """Arguments of scarlet-search for one of `STAGES`. Those of train are in a file beside the cell's folder."""
        if stage == "train":
            config = cell.folder.with_suffix(".yaml")
            write_text(config, yaml.safe_dump(self._train[cell], sort_keys=False))
            return ["train", "--config", str(config), "--resume"]
        data = [f"--{name.replace('_', '-')}={value}" for name, value in self._data().items()]
        if stage == "similarity":
            return ["similarity", str(cell.folder), *data]
        options = self.options
        rank = ["rank", str(cell.folder), "--known", options.known, "--networks", str(options.networks)]
        return [*rank, "--images", str(options.images), *data, "--batch-norm", stage]

    def state(self, cell: Cell) -> dict[str, Any]:
        """A cell's name, its fair steps, and for each stage whether it is done."""
        done = {
            "train": cell.trained() == self.options.steps,
            **{kind: cell.ranked(kind) == self.networks for kind in BATCH_NORMS},
            "similarity": cell.compared(),
        }
        return {"cell": cell.name, "fair_steps": cell.fair_steps(), **done}
