"""Finds things on pictures: copies with drawn boxes, labels and scores, and a line about each picture.

A picture that cannot be read gets one line on stderr, the others go on, and the exit status is 2 in the end. With
--json there is one JSON object a line for each picture, with boxes as x, y, width and height in its pixels.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scarlet_models.errors import UserError

if TYPE_CHECKING:
    from scarlet_models.detection.detector import Detector

EXAMPLE = """  scarlet-models detect predict photos/ cat.jpg --model runs/coco/exported/coco --out found
  scarlet-models detect predict photos/ --model runs/coco/exported/coco --threshold 0.3 --json > found.jsonl"""


@dataclass
class Options:
    """Options of detect predict.

    Args:
        pictures: Files, or folders (searched in them and below).
        model: Folder of a detector that train exported.
        out: Folder for the pictures with drawn boxes, JPEGs of the same names; empty to draw none.
        threshold: Lowest score of what is drawn and printed.
        device: cpu, cuda or cuda:N.
        threads: CPU threads for torch; 0 leaves its own choice.
        json: Print one JSON object a line for each picture.
    """

    pictures: list[str] = field(metadata={"positional": True})
    model: str
    out: str = "found"
    threshold: float = 0.5
    device: str = "cpu"
    threads: int = 0
    json: bool = False


def main(options: Options) -> None:
    """Draw and print what is found on each picture; fail at the end if some could not be read."""
    import torch

    from scarlet_models.detection.detector import load
    from scarlet_models.networks import find_device

    if options.threads < 0:
        raise UserError("--threads must be 0 or more")
    if options.threads:
        torch.set_num_threads(options.threads)
    detector = load(options.model)
    detector.model.to(find_device(options.device))
    copies = dict(_copies(options.pictures, Path(options.out)))
    bad = 0
    for picture, copy in copies.items():
        try:
            objects = _find(detector, picture, options.threshold, copy if options.out else None)
        except UserError as error:
            if len(copies) == 1:
                raise UserError(f"{picture}: {error}") from None
            print(f"scarlet-models detect predict: {picture}: {error}", file=sys.stderr, flush=True)
            bad += 1
            continue
        if options.json:
            print(json.dumps({"picture": str(picture), "objects": objects}))
        else:
            counts = Counter(thing["category"] for thing in objects)
            print(f"{picture}: " + (", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing"))
    if bad:
        raise UserError(f"{bad} of {len(copies)} pictures could not be read")


def _copies(names: list[str], out: Path) -> Iterator[tuple[Path, Path]]:
    """Each picture, and the file for its copy, no two the same."""
    from scarlet_models.pictures import find_pictures

    taken = set[Path]()
    for name in names:
        for picture in find_pictures(name):
            inside = picture.relative_to(name) if Path(name).is_dir() and picture != Path(name) else Path(picture.name)
            copy = out / inside.with_suffix(".jpg")
            if copy in taken:
                copy = copy.with_name(f"{inside.name}.jpg")
            if copy in taken or copy.resolve() == picture.resolve():
                raise UserError(f"the copy of {picture} would overwrite another picture; choose another --out")
            taken.add(copy)
            yield picture, copy


def _find(detector: Detector, path: Path, threshold: float, copy: Path | None) -> list[dict[str, Any]]:
    """What is on a picture with at least that score; a copy of it with drawn boxes is written if asked for."""
    from scarlet_models.detection.drawing import draw
    from scarlet_models.files import write_atomically
    from scarlet_models.pictures import read_picture

    picture = read_picture(path)
    (found,) = detector.find([detector.prepare(picture)], [picture.size])
    found = found.above(threshold)
    names = [detector.categories[label - 1]["name"] for label in found.labels.tolist()]
    if copy:
        drawn = draw(picture, found, names)
        write_atomically(copy, lambda file: drawn.save(file, "JPEG", quality=90))
    rows = zip(names, detector.as_coco(found, 0), strict=True)
    return [{"category": name, "score": row["score"], "bbox": row["bbox"]} for name, row in rows]
