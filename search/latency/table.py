"""What each block of a space costs in time on one device: a table, whose entries a network's latency is the sum of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scarlet_models.documents import read_json
from scarlet_models.errors import UserError, first_line
from scarlet_models.files import write_json
from scarlet_models.space.space import Genotype, SearchSpace

NAME = "table.json"


class Unit(NamedTuple):
    """A block at an input shape: layers that agree in these share one measurement. `size` is the input map's side."""

    in_channels: int
    out_channels: int
    stride: int
    size: int
    choice: int


def layer_units(space: SearchSpace, image_size: int) -> list[dict[int, Unit]]:
    """For each layer the unit of each of its choices, for images of `image_size` px.

    An identity that keeps the shape has none: a network that has it there has no block, and spends no time.
    """
    places = zip(space.layers, space.map_sizes(image_size), strict=False)
    shapes = [(layer, (layer.in_channels, layer.out_channels, layer.stride, size)) for layer, size in places]
    return [{i: Unit(*shape, i) for i in layer.choices if space.has_block(layer, i)} for layer, shape in shapes]


def head_input(space: SearchSpace, image_size: int) -> tuple[int, int, int]:
    """Channels, height and width of what the head gets."""
    size = space.map_sizes(image_size)[-1]
    return space.layers[-1].out_channels, size, size


def distinct_units(space: SearchSpace, image_size: int) -> dict[Unit, int]:
    """Every unit of a space once, with a layer that has it."""
    layers = layer_units(space, image_size)
    return {unit: layer for layer, units in reversed(list(enumerate(layers))) for unit in units.values()}


@dataclass(frozen=True)
class LatencyTable:
    """Latencies of a space's parts in milliseconds for one batch."""

    space: SearchSpace
    base: float  # stem and head, which all networks share
    blocks: np.ndarray  # float64 (layers, choices); not a number where the layer does not allow the choice
    facts: dict[str, Any] = field(default_factory=dict)  # device, runtime, image size, ... that the latencies hold for
    validation: dict[str, Any] | None = None  # of the sums by whole networks, as `bench.compare` gives it

    @staticmethod
    def of_units(space: SearchSpace, base: float, times: Mapping[Unit, float], facts: dict[str, Any]) -> LatencyTable:
        """The table from the milliseconds of each unit, for the image size of the facts."""
        blocks = np.full((len(space.layers), len(space.choices)), np.nan)
        for layer, units in zip(space.layers, layer_units(space, facts["image_size"]), strict=True):
            for choice in layer.choices:
                blocks[layer.index, choice] = times[units[choice]] if choice in units else 0.0
        return LatencyTable(space, base, blocks, facts)

    def sum(self, genotypes: np.ndarray) -> np.ndarray:
        """Latency in milliseconds, float64 (N,), of an integer array of valid genotypes (N, layers)."""
        return self.base + self.blocks[np.arange(genotypes.shape[1]), genotypes].sum(1)

    @property
    def ends(self) -> tuple[Genotype, Genotype]:
        """The fastest and the slowest network."""
        fastest, slowest = (self.space.validate(end(self.blocks, axis=1)) for end in (np.nanargmin, np.nanargmax))
        return fastest, slowest

    @property
    def range(self) -> tuple[float, float]:
        """Latency of the fastest and of the slowest network in milliseconds."""
        least, most = self.sum(np.array([network.choices for network in self.ends])).tolist()
        return least, most

    def save(self, path: Path) -> None:
        """Write the table as JSON."""
        layers = [
            {str(choice): round(float(self.blocks[layer.index, choice]), 6) for choice in layer.choices}
            for layer in self.space.layers
        ]
        figures = {"unit": "milliseconds", "facts": self.facts, "validation": self.validation}
        write_json(path, {**figures, "base": round(self.base, 6), "layers": layers, "space": self.space.to_dict()})

    @staticmethod
    def load(path: Path | str, space: SearchSpace) -> LatencyTable:
        """The table in a file, or in the folder that latency wrote it to; a UserError if it is of another space."""
        file = Path(path) / NAME if Path(path).is_dir() else Path(path)
        content = read_json(file, dict)
        try:
            own = SearchSpace.load(content["space"])
            if own != space:
                raise UserError(f"{file} times the blocks of space {own.name!r}, not those of this {space.name!r}")
            blocks = np.full((len(space.layers), len(space.choices)), np.nan)
            for layer, entries in zip(space.layers, content["layers"], strict=True):
                blocks[layer.index, list(layer.choices)] = [float(entries[str(choice)]) for choice in layer.choices]
            return LatencyTable(space, float(content["base"]), blocks, content["facts"], content["validation"])
        except UserError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            reason = first_line(error)
            raise UserError(f"{file} is no table of latencies ({reason}); scarlet-search latency writes one") from error
