"""Train one network of a search space on its own, from its genotype, and export it.

Use one process for each GPU or CPU: start it plainly, or with torchrun. If interrupted, run the printed line: it
goes on to the same result. To fine-tune a network that has weights, or to train one by its name, use scarlet-models
train.
"""

import json

from scarlet_models.search.retraining.options import RetrainOptions as Options

EXAMPLE = """  scarlet-search retrain --config cifar10_cpu --data-dir cifar10 \\
      --genotype 7,6,7,12,12,0,11,6,6,1,8,2,6,8,6,12,9,11,10
  scarlet-search retrain --config runs/retrain/config.yaml --resume --final
  torchrun --nproc-per-node 8 -m scarlet_models.search retrain --config imagenet_mnasnet --data-dir imagenet \\
      --genotype 2,4,1,8,9,7,9,0,8,2,1,8,0,8,9,10,6,9,11"""


def main(options: Options) -> None:
    from scarlet_models.search.retraining.retraining import retrain
    from scarlet_models.training.distributed import start_training

    with start_training(options.device, options.threads) as world:
        result, final = retrain(options, world, "scarlet-search retrain")
        if world.is_main and options.json:
            figures = {"exported": str(result.folder), **result.history[-1]}
            print(json.dumps({**figures, **({"final": final} if final else {})}))
