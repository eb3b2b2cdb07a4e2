"""The hold-out split: which training images are held out, and the records of it in runs and beside weights.

A network's folder holds trained_images.npy: of each image that it was trained on, 64 bits that name its content. So
images to score it on are compared with those, one by one, wherever and under whatever names they lie.
"""

import hashlib
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scarlet_models.documents import MAX_JSON, read_json, read_text
from scarlet_models.errors import UserError, first_line
from scarlet_models.files import write_text
from scarlet_models.weights.save import CONFIG, TRAINED

from .data.labelled import FEW, LabelledImages

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """Indices to train on and indices held out, both ascending; and a sha256 of the held-out images' names."""

    train: list[int]
    holdout: list[int]
    hash: str


def split_holdout(ids: Sequence[str], labels: Sequence[int] | np.ndarray, share: float, seed: int) -> Split:
    """Hold out the same share (in [0, 1)) of every class, chosen by each image's unique name and the seed alone."""
    if not 0 <= share < 1:
        raise UserError(f"--holdout {share} must be at least 0 and below 1")
    ranked = np.array(sorted(range(len(ids)), key=lambda i: hashlib.sha256(f"{seed}:{ids[i]}".encode()).digest()))
    classes, held = np.asarray(labels)[ranked], list[int]()
    for label, count in zip(*np.unique(classes, return_counts=True), strict=True):
        held += ranked[classes == label][: round(share * count)].tolist()
    if share and not held:
        raise UserError(f"--holdout {share} of {len(ids)} images holds out none; raise it, or set it to 0")
    rest = sorted(set(range(len(ids))) - set(held))
    names = "\n".join(sorted(ids[i] for i in held))
    return Split(rest, sorted(held), hashlib.sha256(names.encode()).hexdigest())


KEY = "split"  # timm leaves entries alone that it does not know
IMAGES = "images.txt"  # of a run: a line for each image of the training split, its mark and its name


def record(split: Split, images: LabelledImages) -> dict[str, dict[str, str]]:
    """What config.json says: the data's fingerprint, and a hash of the names of the held-out images."""
    return {KEY: {"images": images.fingerprint, "held_out": split.hash}}


def trained_images(split: Split, images: LabelledImages) -> dict[str, bytes]:
    """The file of that name for a network's folder; none where contents are not known."""
    if not images.checked:
        return {}
    file = io.BytesIO()
    np.save(file, np.sort(_numbers(images, split.train)), allow_pickle=False)
    return {TRAINED: file.getvalue()}


def read_record(source: str) -> dict[str, str]:
    """What was written into a folder, or beside a file of weights; nothing where there is none."""
    try:
        recorded = read_json(_beside(source, CONFIG), dict)[KEY]
        return {name: str(recorded[name]) for name in ("images", "held_out")}
    except (UserError, KeyError, TypeError):
        return {}


def read_trained(source: str) -> bytes:
    """The file of trained images in a network's folder; empty where there is none."""
    path = _beside(source, TRAINED)
    return path.read_bytes() if path.is_file() else b""


def _beside(source: str, name: str) -> Path:
    """A file in a network's folder, or beside a file of weights."""
    place = Path(source.removeprefix("local-dir:"))
    return place.with_name(name) if place.is_file() else place / name


def _numbers(images: LabelledImages, indices: Sequence[int]) -> np.ndarray:
    """64 bits of the content of each of the images."""
    return np.array([int(images.marks[i][:16], 16) for i in indices], dtype=np.uint64)


def refuse_trained(source: str, images: LabelledImages, indices: Sequence[int]) -> None:
    """Refuse images of which a network was trained on more than a few, as far as there is a record of them."""
    content = read_trained(source)
    if not content or not images.checked:
        return
    try:
        trained = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{source}/{TRAINED} is damaged: {first_line(error)}; export the network again") from error
    seen = np.asarray(indices)[np.isin(_numbers(images, indices), trained)]
    if len(seen) > FEW * len(indices):
        raise UserError(
            f"{source} was trained on {len(seen):,} of these {len(indices):,} images, {images.ids[seen[0]]} for one: "
            "give the data, --holdout and --split-seed of its training, or other images"
        )
    if len(seen):
        _logger.warning("%s was trained on %d of these images, %s for one", source, len(seen), images.ids[seen[0]])


def refuse_mixing(source: str, split: Split, images: LabelledImages) -> None:
    """Refuse to train on a network that has seen images which are held out now, or may have: it held out others."""
    kept = read_record(source) if source and split.holdout else {}
    if not kept:
        return
    if kept["images"] == images.fingerprint and kept["held_out"] != split.hash:
        raise UserError(
            f"{source} may have been trained on images that are held out now: give its own --holdout and "
            "--split-seed, or --holdout 0"
        )
    refuse_trained(source, images, split.holdout)


def fixed_data(split: Split, images: LabelledImages, run: str | Path) -> dict[str, tuple[Any, str]]:
    """What a run's data must not change in, for `Task.fixed`: the data and the split."""
    return {
        "data": (images.fingerprint, f"was trained on other images: {_changes(images, Path(run) / IMAGES)}"),
        "split": (split.hash, "holds out other images: restore its --holdout, --split-seed and data"),
    }


def write_images(images: LabelledImages, run: Path) -> None:
    """Writes images.txt, so that a run that resumes can name the images that have changed."""
    if images.checked:
        write_text(run / IMAGES, "".join(map("{}  {}\n".format, images.marks, images.ids)))


def _changes(images: LabelledImages, path: Path) -> str:
    try:
        before = {name: mark for mark, name in (line.split("  ", 1) for line in read_text(path, MAX_JSON).splitlines())}
    except ValueError:  # also where there is no such file
        before = {}
    now = dict(zip(images.ids, images.marks, strict=True)) if before else {}
    changed = {name for name in before.keys() & now.keys() if before[name] != now[name]}
    parts = {"are gone": before.keys() - now.keys(), "are new": now.keys() - before.keys(), "have changed": changed}
    found = [f"{len(who):,} {what} ({min(who)}{', ...' * (len(who) > 1)})" for what, who in parts.items() if who]
    return f"{', '.join(found) or 'their names, labels or contents differ'}; restore them, or start another run"
