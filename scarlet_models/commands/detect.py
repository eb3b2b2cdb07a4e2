"""Object detectors over SCARLET networks, on images with boxes in COCO's format."""

from pathlib import Path

from scarlet_models.program import Program

PROGRAM = Program(
    "scarlet-models detect",
    "scarlet_models.commands.detect_{}",
    {
        "train": "train RetinaNet, Faster R-CNN or SSDlite over a network, and export it",
        "eval": "average precision of a trained detector on images with boxes",
        "predict": "find things on images: draw their boxes, print them as JSON",
    },
    recipes=[Path(__file__).parents[1] / "detection" / "recipes"],
    recipes_of={"train": ["bccd_cpu", "retinanet_coco_1x"]},
    extra="detection",
    example="""  scarlet-models detect train --config bccd_cpu --images bccd.tar --annotations bccd.json --out runs/bccd
  scarlet-models detect eval runs/bccd/exported/bccd --images bccd.tar --annotations bccd.json --split test
  scarlet-models detect predict photos/ --model runs/bccd/exported/bccd --out found""",
)
