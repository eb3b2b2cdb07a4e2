"""A network with its score and costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scarlet_models.space.space import Genotype
from scarlet_models.terminal import short


@dataclass(frozen=True)
class ScoredNetwork:
    """A network that a search has scored."""

    genotype: Genotype
    accuracy: float  # percent, by the search's scores
    macs: int
    params: int
    latency: float | None = None  # ms, by a latency table
    true_accuracy: float | None = None  # percent, if it is known
    score: float | None = None  # percent, the supernet's own, if anchors corrected `accuracy`

    def __repr__(self) -> str:
        latency = "" if self.latency is None else f", {self.latency:.2f} ms"
        costs = f"{short(self.macs)} MACs, {short(self.params)} params{latency}"
        return f"ScoredNetwork({self.genotype}: {self.accuracy:.2f}%, {costs})"

    def record(self) -> dict[str, Any]:
        """The network as plain data, without figures that it lacks."""
        figures = {name: value for name, value in vars(self).items() if value is not None}
        return {**figures, "genotype": str(self.genotype)}
