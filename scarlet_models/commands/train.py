"""Fine-tune or train any network of timm on a folder of images, and export it.

A name with a tag (scarlet_a.tiny_in) and a folder that was exported start from their weights, a plain name from random
ones; a line printed first says which. Use one process for each GPU or CPU: start it plainly, or with torchrun. If
interrupted, run the printed line: it goes on to the same result.
"""

import json
from typing import Any

from scarlet_models.parsing import next_line
from scarlet_models.terminal import log_to_stderr, output
from scarlet_models.training.options import TrainOptions as Options

EXAMPLE = """  scarlet-models train --model scarlet_a.tiny_in --data-dir my_images --epochs 10 --out runs/mine
  scarlet-models train --config cifar10_cpu --model scarlet_a --data-dir cifar10 --out runs/a
  scarlet-models train --config runs/a/config.yaml --resume
  torchrun --nproc-per-node 8 --no-python scarlet-models train --config imagenet_mnasnet --data-dir imagenet
  scarlet-models train --config imagenet_mnasnet --model scarlet_a --plan 1281167"""


def main(options: Options) -> None:
    from scarlet_models.training.classification import train_by_options
    from scarlet_models.training.distributed import start_training

    if options.plan:
        from scarlet_models.training.plan import make_plan

        output(make_plan(options), options.json, _show_plan)
        return
    log_to_stderr()
    with start_training(options.device, options.threads) as world:
        result = train_by_options(options, world)
        if world.is_main and options.json:
            print(json.dumps({"exported": str(result.folder), **result.history[-1]}))
        elif world.is_main:
            print(next_line("scarlet-models", "classify", "IMAGES", "--model", str(result.folder)))


def _show_plan(plan: dict[str, Any]) -> None:
    print(f"{plan['model']}: {plan['images']:,} images to learn from, {plan['held_out']:,} held out")
    print(f"{plan['epochs']} epochs are {plan['updates']:,} updates of {plan['batch_size']:,} images")
    source = f"{plan['device']}, {plan['precision']}, measured now" if plan["measured"] else "as given"
    for size, speed in plan["images_per_second"].items():
        print(f"{size} px: {speed:,.1f} images/s ({source})")
    unit = "CPU-hours" if plan["measured"] and plan["device"].startswith("CPU") else "GPU-hours"
    print(f"in all {plan['hours']:,.1f} {unit}; reading images may add to it")
