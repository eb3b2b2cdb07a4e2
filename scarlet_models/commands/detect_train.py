"""Train a detector over a network on images with boxes in COCO's format, and export it.

Use one process for each GPU or CPU: start it plainly, or with torchrun. If interrupted, run the printed line: it
goes on to the same result. The run's folder gets metrics.csv with average precision on the validation images,
TensorBoard events, and the detector, which eval and predict take.
"""

import json

from scarlet_models.detection.options import DetectOptions as Options
from scarlet_models.parsing import next_line

EXAMPLE = """  scarlet-models detect train --config bccd_cpu --images bccd.tar --annotations bccd.json --out runs/bccd
  scarlet-models detect train --config runs/bccd/config.yaml --resume
  torchrun --nproc-per-node 8 --no-python scarlet-models detect train --config retinanet_coco_1x \\
      --images train2017 --annotations instances_train2017.json --val-images val2017 \\
      --val-annotations instances_val2017.json --out runs/coco"""


def main(options: Options) -> None:
    from scarlet_models.detection.training import train_detector
    from scarlet_models.terminal import log_to_stderr
    from scarlet_models.training.distributed import start_training

    log_to_stderr()
    with start_training(options.device, options.threads) as world:
        folder, figures = train_detector(options, world, "scarlet-models detect train")
        if world.is_main and options.json:
            print(json.dumps({"exported": str(folder), **figures}))
        elif world.is_main:
            print(next_line("scarlet-models", "detect", "predict", "IMAGES", "--model", str(folder)))
