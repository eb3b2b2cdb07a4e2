"""How far a path's activations are from the statistics that batch norm keeps for all paths, for docs/stabilizer.md.

python studies/batch_norms.py runs/ablation cifar10  # of each finished supernet, in docs/results/stabilizer
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from stabilizer import find_cells, update
from study import NAME, results
from torch import Tensor, nn

from scarlet_models.search.ablation.study import Cell
from scarlet_models.search.scoring.heldout import HeldOut, HeldOutOptions, one_process, open_supernet
from scarlet_models.search.supernet.fair_step import batch_statistics
from scarlet_models.search.supernet.supernet import Supernet

PATHS, IMAGES = 50, 250


def measure(data_dir: str, cell: Cell) -> Iterator[dict[str, str]]:
    """Of each batch norm the logarithm of its input's variance to the running one: mean and deviation over paths."""
    net, info, *_ = open_supernet(cell.folder)
    options = HeldOutOptions(data_dir=data_dir, images=IMAGES, batch_size=IMAGES, workers=0, threads=1)
    with one_process(options) as device:
        images, _ = next(iter(HeldOut(options, info).batches(device)))
        found = variance_ratios(net.to(device), images, PATHS)
    for name, ratios in found.items():
        figures = {"mean": f"{np.mean(ratios):.4f}", "deviation": f"{np.std(ratios):.4f}"}
        yield {"module": name, "paths": str(len(ratios)), **figures}


def variance_ratios(net: Supernet, images: Tensor, paths: int) -> dict[str, list[float]]:
    """log(variance of the batch / running variance), mean over channels, at each batch norm for each path through it.

    Args:
        net: The supernet.
        images: (N, channels, H, W).
        paths: How many to draw.
    """
    ratios: dict[str, list[float]] = {}

    def record(norm: nn.BatchNorm2d, inputs: tuple[Tensor], name: str) -> None:
        ratio = inputs[0].var((0, 2, 3)) / norm.running_var
        ratios.setdefault(name, []).append(float(ratio.log().mean()))

    norms = {name: module for name, module in net.named_modules() if isinstance(module, nn.BatchNorm2d)}
    hooks = [norm.register_forward_pre_hook(partial(record, name=name)) for name, norm in norms.items()]
    rng = np.random.default_rng(0)
    with torch.no_grad(), batch_statistics(net):
        for _ in range(paths):
            net(images, net.space.sample(rng))
    for hook in hooks:
        hook.remove()
    return ratios


def main() -> None:
    match sys.argv[1:]:
        case [runs, data_dir, *name]:
            folder = results(*(name or [NAME]))
            update(folder / "batch_norms.csv", find_cells(Path(runs)), partial(measure, data_dir))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
