"""Top-1 and top-5 of a network on the held-out images of a folder, or on its test split.

The network's own image size and transform hold. Its classes must be those of the images, by their names. Under torchrun
the images are shared among the processes, with none left out.
"""

import json
from dataclasses import asdict

from scarlet_models.training.options import EvaluateOptions as Options

EXAMPLE = """  scarlet-models evaluate runs/mine/exported/mine --data-dir my_images
  scarlet-models evaluate scarlet_a.tiny_in --data-dir tiny_imagenet --test-split val --final \\
    --results-file results.csv"""


def main(options: Options) -> None:
    from scarlet_models.terminal import log_to_stderr
    from scarlet_models.training.distributed import start
    from scarlet_models.training.evaluation import evaluate_by_options, provenance

    log_to_stderr()
    with start(options.device, options.threads) as world:
        result = evaluate_by_options(options, world)
        if world.is_main and options.json:
            print(json.dumps({**asdict(result), **provenance(options.workers, world)}))
        elif world.is_main:
            print(result)
