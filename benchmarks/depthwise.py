"""Training steps of SCARLET-A on the CPU: plain torch against accelerate_depthwise.

python benchmarks/depthwise.py --threads 2 --batch 128
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import scarlet_models  # noqa: F401  # registers the models with timm
from scarlet_models.training.depthwise import accelerate_depthwise


def step(model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> float:
    """One training step; returns its seconds."""
    start = time.perf_counter()
    optimizer.zero_grad()
    F.cross_entropy(model(images), labels).backward()
    optimizer.step()
    return time.perf_counter() - start


def main() -> None:
    """Prints, for each size, medians of steps that take turns, so that a busy machine slows both alike."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, default=128, help="images a step")
    parser.add_argument("--rounds", type=int, default=7, help="steps of each kind, after two to warm up")
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64], help="sides of the images in pixels")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    plain = timm.create_model("scarlet_a", num_classes=10).to(memory_format=torch.channels_last)
    models = {"plain": plain, "depthwise": accelerate_depthwise(copy.deepcopy(plain))}
    optimizers = {name: torch.optim.SGD(model.parameters(), 0.01, momentum=0.9) for name, model in models.items()}
    for size in args.sizes:
        images = torch.randn(args.batch, 3, size, size).to(memory_format=torch.channels_last)
        labels = torch.randint(10, (args.batch,))
        seconds: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(args.rounds + 2):
            for name, model in models.items():
                seconds[name].append(step(model, optimizers[name], images, labels))
        medians = {name: statistics.median(times[2:]) for name, times in seconds.items()}
        print(f"{size} px, batch {args.batch}, {args.threads} threads:")
        for name, median in medians.items():
            print(f"  {name:9}  {args.batch / median:5.0f} images/s, {medians['plain'] / median:.2f} times plain")


if __name__ == "__main__":
    main()
