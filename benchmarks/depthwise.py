"""Training steps of SCARLET-A on the CPU: torch's layout, channels_last ("plain") and it with accelerate_depthwise.

Each in float32 and bfloat16.

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
from scarlet_models.training.device import keep_freed_memory
from scarlet_models.training.optim import autocast

AMPS = ("none", "bf16")


def step(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, amp: str
) -> tuple[float, float]:
    """One training step; returns its seconds on the wall's and the processor's clock."""
    start = time.perf_counter(), time.process_time()
    optimizer.zero_grad()
    with autocast(amp, images.device):
        loss = F.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def main() -> None:
    """Prints, for each size, medians of steps that take turns, so that a busy machine slows both alike."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, default=128, help="images a step")
    parser.add_argument("--rounds", type=int, default=7, help="steps of each kind, after two to warm up")
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64], help="sides of the images in pixels")
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    contiguous = timm.create_model("scarlet_a", num_classes=10)
    plain = copy.deepcopy(contiguous).to(memory_format=torch.channels_last)
    models = {"contiguous": contiguous, "plain": plain, "depthwise": accelerate_depthwise(copy.deepcopy(plain))}
    optimizers = {name: torch.optim.SGD(model.parameters(), 0.01, momentum=0.9) for name, model in models.items()}
    for size in args.sizes:
        images = torch.randn(args.batch, 3, size, size)
        layouts = {name: images.to(memory_format=torch.channels_last) for name in models} | {"contiguous": images}
        labels = torch.randint(10, (args.batch,))
        seconds: dict[tuple[str, str], list[tuple[float, float]]] = {(n, a): [] for a in AMPS for n in models}
        for _ in range(args.rounds + 2):
            for (name, amp), times in seconds.items():
                times.append(step(models[name], optimizers[name], layouts[name], labels, amp))
        print(
            f"{size} px, batch {args.batch}, {args.threads} threads; times plain float32 on the wall's and CPU clock:"
        )
        for (name, amp), times in seconds.items():
            ratios = zip(seconds["plain", "none"][2:], times[2:], strict=True)
            gains = [
                statistics.median(column) for column in zip(*((a / c, b / d) for (a, b), (c, d) in ratios), strict=True)
            ]
            rate = args.batch / statistics.median(wall for wall, _ in times[2:])
            print(f"  {name:10} {amp:4}  {rate:5.0f} images/s  {gains[0]:.2f}  {gains[1]:.2f}")


if __name__ == "__main__":
    main()
