"""Top-1 and top-5 of a network on the held-out images of a folder, or on its test split.

The network's own image size and transform hold. Its classes must be those of the images, by their names. Under torchrun
the images are shared among the processes, with none left out.
"""

import json
from dataclasses import asdict
from pathlib import Path

from scarlet_models.training.options import EvaluateOptions as Options

EXAMPLE = """  scarlet-models evaluate runs/mine/exported/mine --data-dir my_images
  scarlet-models evaluate scarlet_a.tiny_in --data-dir tiny_imagenet --test-split val --final \\
    --results-file results.csv"""


def main(options: Options) -> None:
    from scarlet_models.terminal import log_to_stderr
    from scarlet_models.training.distributed import start
    from scarlet_models.training.evaluation import append_result, evaluate_classifier, provenance

    log_to_stderr()
    with start(options.device, options.threads) as world:
        result = evaluate_classifier(options.network, options, options.final, world, options.batch_size)
        if not world.is_main:
            return
        if options.results_file:
            append_result(Path(options.results_file), result)
        if options.json:
            print(json.dumps({**asdict(result), **provenance(options.workers, world)}))
        else:
            print(result)
