"""Which images a network was trained without, in its folder's config.json, so that splits are not mixed unawares."""

from __future__ import annotations

import json
from pathlib import Path

from scarlet_models.errors import UserError
from scarlet_models.weights.save import CONFIG

from .data import Split

KEY = "split"  # timm leaves entries alone that it does not know


def record(split: Split) -> dict[str, dict[str, str]]:
    """What is written: names, by their hashes, of all images of the training split and of the held-out ones."""
    return {KEY: {"images": split.images, "held_out": split.hash}}


def read_record(source: str) -> dict[str, str]:
    """What was written into a folder, or beside a file of weights; nothing where there is none."""
    place = Path(source.removeprefix("local-dir:"))
    if not source or not place.exists():
        return {}
    try:
        recorded = json.loads(((place if place.is_dir() else place.parent) / CONFIG).read_text())[KEY]
        return {name: str(recorded[name]) for name in ("images", "held_out")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def refuse_mixing(source: str, split: Split) -> None:
    """Lets a network of these images be trained on only if it has seen none of those that are held out now.

    Raises:
        UserError: it may have: it held out others.
    """
    kept = read_record(source)
    if split.holdout and kept.get("images") == split.images and kept["held_out"] != split.hash:
        raise UserError(
            f"{source} may have been trained on images that are held out now: give its own --holdout and "
            "--split-seed, or --holdout 0"
        )
