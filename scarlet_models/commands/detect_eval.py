"""Average precision of a trained detector, as COCO measures it: a table, or JSON.

Under torchrun the images are shared among the processes, with none left out.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scarlet_models.options import DeviceOptions, option
from scarlet_models.terminal import console, output, table

EXAMPLE = """  scarlet-models detect eval runs/bccd/exported/bccd --images bccd.tar --annotations bccd.json --split test
  torchrun --nproc-per-node 8 --no-python scarlet-models detect eval runs/coco/exported/coco \\
      --images val2017 --annotations instances_val2017.json --json > ap.json"""


@dataclass
class Options(DeviceOptions):
    """Options of detect eval.

    Args:
        model: Folder of a detector that train exported.
        images: Folder or uncompressed tar of the images.
        annotations: Their boxes: JSON in COCO's instances format.
        split: Split of the JSON's own "splits"; empty for all images.
        detections: Also write all that was found into this file, in COCO's results format.
        batch_size: Images seen at once by a process.
        workers: Processes that decode images; 0 does it in the main process.
    """

    model: str = option(positional=True)
    images: str = ""
    annotations: str = option("", free=True)
    split: str = ""
    detections: str = ""
    batch_size: int = option(8, least=1)
    workers: int = option(0, least=0, free=True)


def main(options: Options) -> None:
    from scarlet_models.detection.coco import CocoImages
    from scarlet_models.detection.data import score
    from scarlet_models.detection.detector import load
    from scarlet_models.files import write_text
    from scarlet_models.training import distributed

    with distributed.start(options.device, options.threads) as world:
        detector = load(options.model)
        detector.model.to(world.device)
        images = CocoImages(options.images, options.annotations, options.split)
        figures, found = score(detector, images, options.batch_size, options.workers, world)
        if not world.is_main:
            return
        if options.detections:
            write_text(Path(options.detections), json.dumps(found))
        facts = {"model": options.model, "split": options.split, "images": len(images), "detections": len(found)}
        output({**facts, **figures}, options.json, _show)


def _show(report: dict[str, Any]) -> None:
    from scarlet_models.detection.data import FIGURES

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.1f}"

    out = console()
    out.print(f"{report['model']}: {report['images']} images, {report['detections']} detections")
    out.print(table(*(f">{name}" for name in FIGURES), rows=[[percent(report[name]) for name in FIGURES]]))
    by_category = [(name, percent(value)) for name, value in report["AP50_of"].items()]
    out.print(table("category", ">AP50", rows=by_category))
