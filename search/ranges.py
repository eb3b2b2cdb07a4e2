"""What the numbers among the options may be, by the options' names, which mean the same in every command."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Any

from scarlet_models.errors import UserError

RANGES: dict[str, tuple[float, float]] = {
    "batch_size": (1, inf),
    "bootstrap": (0, inf),
    "calibration_pictures": (2, inf),
    "checkpoint_minutes": (0, inf),
    "choices_every": (1, inf),
    "clip_grad": (0, inf),
    "color_jitter": (0, inf),
    "crop_pct": (0, 1),
    "crop_ratio": (0.001, 1000),
    "crop_scale": (0.0001, 1),  # of area: none at all leaves no pixel to resize
    "cutmix": (0, inf),
    "decay_epochs": (0.001, inf),
    "decay_rate": (0, inf),
    "draws": (1, inf),
    "drop_path_rate": (0, 1),
    "drop_rate": (0, 1),
    "ema_decay": (0, 1),
    "eval_paths": (0, inf),
    "eval_pictures": (0, inf),
    "generations": (1, inf),
    "hflip": (0, 1),
    "image_size": (0, inf),
    "input_size": (0, inf),
    "label_smoothing": (0, 1),
    "lr": (0, inf),
    "min_lr": (0, inf),
    "mixup": (0, inf),
    "momentum": (0, 1),
    "mutation": (0, 1),
    "networks": (0, inf),
    "num_classes": (0, inf),
    "paths": (1, inf),
    "phases": (0, inf),
    "pictures": (0, inf),
    "population": (2, inf),
    "random_erasing": (0, 1),
    "rounds": (1, inf),
    "seed": (0, 2**63 - 1),
    "steps": (0, inf),
    "surrogate": (0, inf),
    "threads": (0, inf),
    "uniform_paths": (0, inf),
    "validate": (0, inf),
    "validation_rounds": (1, inf),
    "vflip": (0, 1),
    "warmup_epochs": (0, inf),
    "warmup_lr": (0, inf),
    "weight_decay": (0, inf),
    "workers": (0, inf),
}
PAIRS = ("crop_scale", "crop_ratio")  # smallest and largest


class Ranged:
    """A base of options that refuses numbers out of range when they are made, before anything is read or written.

    Raises:
        UserError: a number is out of range.
    """

    def __post_init__(self) -> None:
        for name, (least, most) in RANGES.items():
            for number in _numbers(getattr(self, name, ())):
                if not least <= number <= most:
                    wrong = f"below {least}" if number < least else f"above {most}" if number > most else "no number"
                    raise UserError(f"{_flag(name)}: {number} is {wrong}")
        for name in PAIRS:
            smallest, largest = getattr(self, name, (0, 1))
            if smallest > largest:
                raise UserError(f"{_flag(name)}: the smallest comes first, and {smallest} is above {largest}")


def _numbers(value: Any) -> Iterator[float]:
    """A number, or those of nested lists."""
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _numbers(item)
    else:
        yield value


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
