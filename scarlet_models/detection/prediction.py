"""Finding things on image files, and drawing their boxes on copies."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from scarlet_models.errors import UserError
from scarlet_models.files import write_atomically
from scarlet_models.images import find_images, read_image
from scarlet_models.inspection.plotting import ink_on, label_colour

from .detector import Detector, Found

DRAWN = 30  # boxes on a copy, at most
_ARCHIVES = {".tar", ".tgz", ".gz", ".zip"}


def plan_copies(names: Sequence[str], out: str) -> Iterator[tuple[Path, Path]]:
    """Each image of these files and folders, and the file in `out` for its copy, no two the same unless it is empty."""
    taken = set[Path]()
    for name in names:
        if Path(name).suffix.lower() in _ARCHIVES:
            raise UserError(f"{name} is an archive: unpack it, and give the folder")
        for image in find_images(name):
            inside = image.relative_to(name) if Path(name).is_dir() and image != Path(name) else Path(image.name)
            copy = Path(out) / inside.with_suffix(".jpg")
            if copy in taken:
                copy = copy.with_name(f"{inside.name}.jpg")
            if out and (copy in taken or copy.resolve() == image.resolve()):
                raise UserError(f"the copy of {image} would overwrite another image; choose another --out")
            taken.add(copy)
            yield image, copy


def predict(detector: Detector, path: Path, threshold: float, copy: Path | None) -> list[dict[str, Any]]:
    """What is on an image with at least that score: category, score, and bbox as x, y, width, height in pixels.

    A JPEG with the boxes is written to `copy`.
    """
    image = read_image(path)
    (found,) = detector.find([detector.prepare(image)], [image.size])
    found = Found(*(each[found.scores >= threshold] for each in found))
    names = [detector.categories[label - 1]["name"] for label in found.labels.tolist()]
    if copy:
        drawn = draw(image, found, names)
        write_atomically(copy, lambda file: drawn.save(file, "JPEG", quality=90))
    rows = zip(names, detector.as_coco(found, 0), strict=True)
    return [{"category": name, "score": row["score"], "bbox": row["bbox"]} for name, row in rows]


def draw(image: Image.Image, found: Found, names: Sequence[str]) -> Image.Image:
    """A copy with boxes for the `DRAWN` things of highest score, in their classes' colours, with names and scores."""
    copy = image.copy()
    canvas, unit = ImageDraw.Draw(copy), max(1, round(min(image.size) / 240))  # readable on large images too
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 8 * unit)  # it comes with matplotlib
    colours = [label_colour(label) for label in found.labels.tolist()]
    things = list(zip(colours, names, found.scores.tolist(), found.boxes.tolist(), strict=True))
    things = things[:DRAWN][::-1]  # the surest on top
    for colour, _, _, (left, top, right, bottom) in things:
        canvas.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=ink_on(colour), width=unit + 2)
        canvas.rectangle((left, top, right, bottom), outline=colour, width=unit)
    for colour, name, score, (left, top, *_) in things:
        text = f"{name} {score:.2f}"
        _, _, width, height = canvas.textbbox((0, 0), text, font, anchor="lt")
        x = max(0, min(left, image.width - width - 2 * unit))
        y = max(0, top - height - 2 * unit)
        canvas.rectangle((x, y, x + width + 2 * unit, y + height + 2 * unit), fill=colour)
        canvas.text((x + unit, y + unit), text, ink_on(colour), font, anchor="lt")
    return copy
