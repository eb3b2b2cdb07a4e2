"""Finding things on image files, and drawing their boxes on copies, by torchvision."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib import font_manager
from PIL import Image
from torchvision.transforms.v2 import functional as F
from torchvision.utils import draw_bounding_boxes

from scarlet_models.errors import UserError
from scarlet_models.files import write_atomically
from scarlet_models.images import find_images, read_image

from .detector import Detector, Found

_TURN = 0.618  # of the colour circle: neighbouring labels get colours far apart
_ARCHIVES = {".tar", ".tgz", ".gz", ".zip"}


def plan_copies(names: Sequence[str], out: Path) -> Iterator[tuple[Path, Path]]:
    """Each image of these files and folders, and the file in `out` for its copy, no two the same."""
    taken = set[Path]()
    for name in names:
        if Path(name).suffix.lower() in _ARCHIVES:
            raise UserError(f"{name} is an archive: unpack it, and give the folder")
        for image in find_images(name):
            inside = image.relative_to(name) if Path(name).is_dir() and image != Path(name) else Path(image.name)
            copy = out / inside.with_suffix(".jpg")
            if copy in taken:
                copy = copy.with_name(f"{inside.name}.jpg")
            if copy in taken or copy.resolve() == image.resolve():
                raise UserError(f"the copy of {image} would overwrite another image; choose another --out")
            taken.add(copy)
            yield image, copy


def predict(detector: Detector, path: Path, threshold: float, copy: Path | None) -> list[dict[str, Any]]:
    """What is on an image with at least that score: category, score, and bbox as x, y, width, height in pixels.

    A JPEG with the boxes is written to `copy`.
    """
    image = read_image(path)
    (found,) = detector.find([detector.prepare(image)], [image.size])
    found = found.above(threshold)
    names = [detector.categories[label - 1]["name"] for label in found.labels.tolist()]
    if copy:
        drawn = draw(image, found, names)
        write_atomically(copy, lambda file: drawn.save(file, "JPEG", quality=90))
    rows = zip(names, detector.as_coco(found, 0), strict=True)
    return [{"category": name, "score": row["score"], "bbox": row["bbox"]} for name, row in rows]


def draw(image: Image.Image, found: Found, names: Sequence[str]) -> Image.Image:
    """A copy of an RGB image with a box for each thing found, in its label's colour, with its name and score."""
    if not len(found.boxes):
        return image.copy()
    unit = max(1, round(min(image.size) / 240))  # thickness and text that stay readable on large images
    drawn = draw_bounding_boxes(
        F.pil_to_tensor(image),
        found.boxes,
        [f"{name} {score:.2f}" for name, score in zip(names, found.scores.tolist(), strict=True)],
        colors=[_colour(label) for label in found.labels.tolist()],
        width=unit,
        font=font_manager.findfont("DejaVu Sans"),  # it comes with matplotlib
        font_size=10 * unit,
    )
    result: Image.Image = F.to_pil_image(drawn)
    return result


def _colour(label: int) -> tuple[int, ...]:
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(label * _TURN % 1, 1, 0.75))
