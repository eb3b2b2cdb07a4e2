"""How fast images come: the loader alone, and with the device's part, for folders of JPEGs.

    python benchmarks/loading.py --data-dir tiny --size 64
    python benchmarks/loading.py --data-dir imagenette --split train.tar --size 224

"first epoch" decodes; "from the cache" is every later one. "before" is one process that decodes, augments and
normalises image by image with timm's transform, as torch's loader does it. Rates are per second of CPU time of the
process and its threads, and of wall time; medians of rounds in turn.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from timm.data import create_transform
from torch.utils.data import DataLoader, Dataset

from scarlet_models.training.data import LabelledImages
from scarlet_models.training.loading import Transformed, load_batches
from scarlet_models.training.options import CropOptions, DataOptions
from scarlet_models.training.transforms import train_transform

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CONFIG = {"mean": MEAN, "std": STD, "interpolation": "bicubic"}


class OneByOne(Dataset[tuple[torch.Tensor, int]]):
    """What torch's loader is usually given."""

    def __init__(self, images: LabelledImages, size: int, jitter: float) -> None:
        self.images = images
        self.transform = create_transform(
            size, is_training=True, color_jitter=jitter or None, interpolation="random", mean=MEAN, std=STD
        )

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image, label = self.images[index]
        return self.transform(image), label


def rate(run: Callable[[], Iterable[Any]], count: int, device: str = "") -> tuple[float, float]:
    """Images a second of CPU time and of wall time."""
    cpu, wall = time.process_time(), time.perf_counter()
    for images, _ in run():
        if device:
            images.to(device, memory_format=torch.channels_last)
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return count / (time.process_time() - cpu), count / (time.perf_counter() - wall)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--split", default="train")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--images", type=int, default=2560)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--jitter", type=float, default=0.4)
    parser.add_argument("--workers", type=int, default=0, help="threads; 0 measures one core")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    images = LabelledImages(DataOptions(data_dir=args.data_dir, train_split=args.split), args.split)
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(images), generator=generator)[: args.images]
    batches = [batch.tolist() for batch in chosen.split(args.batch_size)]
    crop = CropOptions(color_jitter=args.jitter)
    pad = CropOptions(crop="pad", color_jitter=args.jitter)
    before = OneByOne(images, args.size, args.jitter)

    def loader(options: CropOptions, is_cached: bool = True) -> Iterable[Any]:
        if not is_cached:
            images.__dict__.pop("decoded", None)
        dataset = Transformed(images, train_transform(args.size, CONFIG, options))
        return load_batches(dataset, batches, args.workers, pin_memory=args.device.startswith("cuda"))

    cases: dict[str, tuple[Callable[[], Iterable[Any]], str]] = {
        "before: one by one": (lambda: DataLoader(before, batch_sampler=batches, num_workers=args.workers), ""),
        "first epoch": (lambda: loader(crop, is_cached=False), ""),
        "first epoch, and the device's part": (lambda: loader(crop, is_cached=False), args.device),
        "from the cache": (lambda: loader(crop), ""),
        "from the cache, and the device's part": (lambda: loader(crop), args.device),
        "from the cache, pad": (lambda: loader(pad), ""),
        "from the cache, pad, and the device's part": (lambda: loader(pad), args.device),
    }
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for _ in range(args.rounds):
        for name, (run, device) in cases.items():
            rates[name].append(rate(run, len(chosen), device))
    kept = "kept" if images.decoded else "not kept"
    print(
        f"{len(chosen):,} images, {args.size} px, batches of {args.batch_size}, {args.device}; decoded images: {kept}"
    )
    print(f"{'':46}{'images/s, CPU':>15}{'wall':>9}{'ratio, CPU':>12}")
    base = statistics.median(cpu for cpu, _ in rates["before: one by one"])
    for name, found in rates.items():
        cpu, wall = (statistics.median(values) for values in zip(*found, strict=True))
        print(f"{name:46}{cpu:15,.0f}{wall:9,.0f}{cpu / base:12.2f}")


if __name__ == "__main__":
    main()
