"""What each block of a space costs in time on one device: a table, whose entries a network's latency is the sum of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scarlet_models.errors import UserError
from scarlet_models.files import write_atomically
from scarlet_models.space import SearchSpace


class Unit(NamedTuple):
    """A block at an input shape: layers that agree in these share one measurement. `size` is the input map's side."""

    in_channels: int
    out_channels: int
    stride: int
    size: int
    choice: int


def layer_units(space: SearchSpace, image_size: int) -> list[dict[int, Unit]]:
    """For each layer the unit of each of its choices, for pictures of `image_size` px.

    An identity that keeps the shape has none: a network that has it there has no block, and spends no time.
    """
    size = -(-image_size // space.stem.stride)
    units = []
    for layer in space.layers:
        shape = (layer.in_channels, layer.out_channels, layer.stride, size)
        blocks = [choice for choice in layer.choices if not (choice == space.identity and layer.keeps_shape)]
        units.append({choice: Unit(*shape, choice) for choice in blocks})
        size = -(-size // layer.stride)
    return units


def head_input(space: SearchSpace, image_size: int) -> tuple[int, int, int]:
    """Channels, height and width of what the head gets."""
    size = -(-image_size // space.stem.stride)
    for layer in space.layers:
        size = -(-size // layer.stride)
    return space.layers[-1].out_channels, size, size


def distinct_units(space: SearchSpace, image_size: int) -> dict[Unit, int]:
    """Every unit of a space once, with a layer that has it."""
    layers = layer_units(space, image_size)
    return {unit: layer for layer, units in reversed(list(enumerate(layers))) for unit in units.values()}


@dataclass(frozen=True)
class LatencyTable:
    """Latencies of a space's parts in milliseconds for one batch.

    Attributes:
        space: The space.
        base: Stem and head, which all networks share.
        blocks: (layers, choices), float64; not a number where the layer does not allow the choice.
        facts: Device, runtime, image size, batch size, threads and versions that the latencies hold for.
        validation: How well the sums predict whole networks, as `additivity.validate` says it; None if not measured.
    """

    space: SearchSpace
    base: float
    blocks: np.ndarray
    facts: dict[str, Any] = field(default_factory=dict)
    validation: dict[str, Any] | None = None

    @staticmethod
    def of_units(space: SearchSpace, image_size: int, base: float, times: Mapping[Unit, float]) -> LatencyTable:
        """The table from the milliseconds of each unit."""
        blocks = np.full((len(space.layers), len(space.choices)), np.nan)
        for layer, units in zip(space.layers, layer_units(space, image_size), strict=True):
            blocks[layer.index, list(layer.choices)] = [
                times[units[choice]] if choice in units else 0.0 for choice in layer.choices
            ]
        return LatencyTable(space, base, blocks)

    def sum(self, genotypes: np.ndarray) -> np.ndarray:
        """Latency in milliseconds, float64 (N,), of an integer array of valid genotypes (N, layers)."""
        return self.base + self.blocks[np.arange(genotypes.shape[1]), genotypes].sum(1)

    def save(self, path: Path) -> None:
        """Writes the table as JSON.

        Raises:
            UserError: the file cannot be written.
        """
        layers = [
            {str(choice): round(float(self.blocks[layer.index, choice]), 6) for choice in layer.choices}
            for layer in self.space.layers
        ]
        content = {
            "unit": "milliseconds",
            "facts": self.facts,
            "validation": self.validation,
            "base": round(self.base, 6),
            "layers": layers,
            "space": self.space.to_dict(),
        }
        text = json.dumps(content, indent=2) + "\n"
        write_atomically(path, lambda file: file.write(text.encode()))

    @staticmethod
    def load(path: Path | str, space: SearchSpace) -> LatencyTable:
        """A table from its file, or from the folder that latency wrote it to.

        Raises:
            UserError: the file cannot be read, or is a table of another space.
        """
        file = Path(path) / NAME if Path(path).is_dir() else Path(path)
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            own = SearchSpace.load(content["space"])
            if own != space:
                raise UserError(f"{file} times the blocks of space {own.name!r}, not those of this {space.name!r}")
            blocks = np.full((len(space.layers), len(space.choices)), np.nan)
            for layer, entries in zip(space.layers, content["layers"], strict=True):
                blocks[layer.index, list(layer.choices)] = [float(entries[str(choice)]) for choice in layer.choices]
            return LatencyTable(space, float(content["base"]), blocks, content["facts"], content["validation"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, UserError):
                raise
            reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
            raise UserError(f"{file} is no table of latencies ({reason}); scarlet-search latency writes one") from error


NAME = "table.json"
