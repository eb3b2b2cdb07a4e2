"""Train a supernet on any data set that timm reads: in each step a fair step of paths, one batch and one update.

Use one process for each GPU or CPU: start it plainly, or with torchrun. If interrupted, run the printed line: it
goes on to the same result. The run's folder gets metrics.csv (a row a step), choices.csv (how accurate the paths of
each choice were) and, at the end, supernet.safetensors with supernet.json, which rank, evolve and export read.
"""

import json

from scarlet_models.search.supernet.options import SupernetOptions as Options

EXAMPLE = """  scarlet-search train --config supernet_nas_bench_macro --data-dir cifar10 --out runs/macro
  scarlet-search train --config runs/macro/config.yaml --resume
  scarlet-search train --config supernet_imagenette --data-dir imagenette.tar --steps 200 --threads 1 --out runs/few
  torchrun --nproc-per-node 8 -m scarlet_models.search train --config supernet_imagenet --data-dir imagenet"""


def main(options: Options) -> None:
    from scarlet_models.search.supernet.training import train
    from scarlet_models.training.distributed import start_training

    with start_training(options.device, options.threads) as world:
        path, figures = train(options, world, "scarlet-search train")
        if world.is_main and options.json:
            print(json.dumps({"supernet": str(path), **figures}))
