"""Fine-tune or train any network of timm on a folder of images, and export it.

A name with a tag (scarlet_a.tiny_in) and a folder that was exported start from their weights, a plain name from random
ones; a line printed first says which. Use one process for each GPU or CPU: start it plainly, or with torchrun. If
interrupted, run the printed line: it goes on to the same result.
"""

import json

from scarlet_models.parsing import next_line
from scarlet_models.training.options import TrainOptions as Options

EXAMPLE = """  scarlet-models train --model scarlet_a.tiny_in --data-dir my_images --epochs 10 --out runs/mine
  scarlet-models train --config cifar10_cpu --model scarlet_a --data-dir cifar10 --out runs/a
  scarlet-models train --config runs/a/config.yaml --resume
  torchrun --nproc-per-node 8 --no-python scarlet-models train --config imagenet_mnasnet --data-dir imagenet"""


def main(options: Options) -> None:
    from scarlet_models.terminal import log_to_stderr
    from scarlet_models.training.classification import train_by_options
    from scarlet_models.training.distributed import start_training

    log_to_stderr()
    with start_training(options.device, options.threads) as world:
        result = train_by_options(options, world)
        if world.is_main and options.json:
            print(json.dumps({"exported": str(result.folder), **result.history[-1]}))
        elif world.is_main:
            print(next_line("scarlet-models", "classify", "IMAGES", "--model", str(result.folder)))
