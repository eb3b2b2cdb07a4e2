"""Finds things on images: copies with drawn boxes, labels and scores, and a line about each image.

An image that cannot be read gets one line on stderr, the others go on, and the exit status is 2 in the end. With
--json there is one JSON object a line for each image, with boxes as x, y, width and height in its pixels.
"""

import json
import sys
from collections import Counter
from dataclasses import dataclass

from scarlet_models.errors import UserError
from scarlet_models.options import DeviceOptions, option

EXAMPLE = """  scarlet-models detect predict photos/ cat.jpg --model runs/coco/exported/coco --out found
  scarlet-models detect predict photos/ --model runs/coco/exported/coco --threshold 0.3 --json > found.jsonl"""


@dataclass(kw_only=True)
class Options(DeviceOptions):
    """Options of detect predict.

    Args:
        images: Files, or folders (searched in them and below).
        model: Folder of a detector that train exported.
        out: Folder for JPEGs of the same names with the 30 boxes of highest score drawn; empty to draw none.
        threshold: Lowest score of what is drawn and printed.
    """

    images: list[str] = option(positional=True)
    model: str
    out: str = option("found", free=True)
    threshold: float = 0.5


def main(options: Options) -> None:
    from scarlet_models.detection.detector import load
    from scarlet_models.detection.prediction import plan_copies, predict
    from scarlet_models.training.device import pick_device

    detector = load(options.model)
    detector.model.to(pick_device(options.device, options.threads))
    copies = dict(plan_copies(options.images, options.out))
    bad = 0
    for image, copy in copies.items():
        try:
            objects = predict(detector, image, options.threshold, copy if options.out else None)
        except UserError as error:
            if len(copies) == 1:
                raise UserError(f"{image}: {error}") from None
            print(f"scarlet-models detect predict: {image}: {error}", file=sys.stderr, flush=True)
            bad += 1
            continue
        if options.json:
            print(json.dumps({"image": str(image), "objects": objects}))
        else:
            counts = Counter(thing["category"] for thing in objects)
            print(f"{image}: " + (", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing"))
    if bad:
        raise UserError(f"{bad} of {len(copies)} images could not be read")
