"""The cells of an ablation: one supernet of each variant and seed, and what of each is done.

A cell is a folder VARIANT_sSEED. The files that its commands have written say how far it is, so a study can be
interrupted and resumed at any time, and folders that were made by hand count too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scarlet_models.documents import read_csv, read_json
from scarlet_models.errors import UserError

# Options of train, spelt out so that no default matters.
VARIANTS: dict[str, dict[str, str]] = {
    "skip": {"stabilizer": "skip", "init": "torch", "sampling": "fair"},
    "torch": {"stabilizer": "linear", "init": "torch", "sampling": "fair"},
    "identity": {"stabilizer": "linear", "init": "identity", "sampling": "fair"},
    "orthogonal": {"stabilizer": "linear", "init": "orthogonal", "sampling": "fair"},
    "identity_noise": {"stabilizer": "linear", "init": "identity_noise", "sampling": "fair"},
    "bn": {"stabilizer": "bn", "init": "torch", "sampling": "fair"},
    "relu": {"stabilizer": "relu", "init": "torch", "sampling": "fair"},
    "uniform": {"stabilizer": "linear", "init": "torch", "sampling": "uniform"},
    "skip_uniform": {"stabilizer": "skip", "init": "torch", "sampling": "uniform"},
}
STAGES = ("train", "recalibrated", "running", "similarity")
BATCH_NORMS = ("recalibrated", "running")


@dataclass(frozen=True)
class Cell:
    """A supernet of a variant and a seed, and its folder."""

    variant: str
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    def fair_steps(self) -> int:
        """Fair steps that were trained and recorded."""
        path = self.folder / "metrics.csv"
        rows = read_csv(path, ("step",))[1] if path.exists() else []
        return int(float(rows[-1]["step"] or 0)) if rows else 0

    def trained(self) -> int:
        """Fair steps of the finished supernet; 0 if there is none."""
        return self._count("supernet.json", "steps")

    def ranked(self, batch_norm: str) -> int:
        """Networks in the finished ranking; 0 if there is none."""
        return self._count(f"rank_{batch_norm}.json", "networks")

    def compared(self) -> bool:
        return (self.folder / "similarity.csv").exists()

    def _count(self, name: str, key: str) -> int:
        path = self.folder / name
        return int(read_json(path, dict)[key]) if path.exists() else 0


def make_cells(out: Path, variants: list[str], seeds: list[int]) -> list[Cell]:
    """The cells, seed by seed, so that early results compare all variants."""
    for variant in variants:
        if variant not in VARIANTS:
            raise UserError(f"--variants: {variant!r} is not one of {', '.join(VARIANTS)}")
    for option, values in (("variants", variants), ("seeds", seeds)):
        if not values or len(set(values)) < len(values):
            raise UserError(f"--{option}: {values} is empty or holds something twice")
    return [Cell(variant, seed, out / f"{variant}_s{seed}") for seed in seeds for variant in variants]


def find_cells(out: Path) -> list[Cell]:
    """The cells in a folder that hold a finished supernet, by variant in the order of `VARIANTS`, and seed."""
    named = [(*path.name.rpartition("_s"), path) for path in out.glob("*_s*")]
    cells = [
        Cell(variant, int(seed), path) for variant, _, seed, path in named if variant in VARIANTS and seed.isdecimal()
    ]
    finished = [cell for cell in cells if cell.trained()]
    if not finished:
        raise UserError(f"{out} has no finished supernet in a folder such as skip_s0; scarlet-search ablate makes them")
    return sorted(finished, key=lambda cell: (list(VARIANTS).index(cell.variant), cell.seed))
