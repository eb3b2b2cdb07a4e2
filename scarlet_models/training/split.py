"""The hold-out split: which training images are held out, and the record of it beside a network's weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scarlet_models.errors import UserError
from scarlet_models.weights.save import CONFIG


@dataclass(frozen=True)
class Split:
    """Indices to train on and indices held out, both ascending; sha256s of the held-out images' names and of all."""

    train: list[int]
    holdout: list[int]
    hash: str
    images: str


def split_holdout(ids: Sequence[str], labels: Sequence[int] | np.ndarray, share: float, seed: int) -> Split:
    """Holds out the same share of every class, chosen by each image's name and the seed alone.

    Args:
        ids: Unique names of the images; their order does not matter.
        labels: Class index of each.
        share: In [0, 1): share of every class to hold out, rounded to whole images.
        seed: Another seed holds out other images.

    Returns:
        The split.

    Raises:
        UserError: The share is out of range, or too small to hold out a single image.
    """
    if not 0 <= share < 1:
        raise UserError(f"--holdout {share} must be at least 0 and below 1")
    ranked = sorted(range(len(ids)), key=lambda i: hashlib.sha256(f"{seed}:{ids[i]}".encode()).digest())
    classes = zip(*np.unique(labels, return_counts=True), strict=True)
    quota = {int(label): round(share * count) for label, count in classes}
    held: list[int] = []
    for i in ranked:
        if quota[int(labels[i])] > 0:
            quota[int(labels[i])] -= 1
            held.append(i)
    if share and not held:
        raise UserError(f"--holdout {share} of {len(ids)} images holds out none; raise it, or set it to 0")
    rest = sorted(set(range(len(ids))) - set(held))
    return Split(rest, sorted(held), _hash_names(ids[i] for i in held), _hash_names(ids))


def _hash_names(names: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


OTHER_SPLIT = "holds out other images: restore its --holdout, --split-seed and data"  # a run that resumes
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
