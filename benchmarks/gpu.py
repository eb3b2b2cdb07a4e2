"""A GPU in one table: training, fair steps, a population, peak memory, in each precision. Under 8 minutes on a card.

python benchmarks/gpu.py
python benchmarks/gpu.py --device cpu --batch 2 --size 32 --population 2 --rounds 1      # checks the script

The data are random and on the device, so nothing is read. The floor of a training step is forward and backward of the
model alone; that of a fair step is those of its paths alone, without the stem; that of a population is one network
after another.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import timm
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

import scarlet_models  # noqa: F401  # registers the models with timm
from scarlet_models.inspection.timing import interleaved, wait
from scarlet_models.search.scoring.population import PopulationEvaluator
from scarlet_models.search.supernet.fair_step import add_gradients
from scarlet_models.search.supernet.sampler import FairSampler
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.space import SearchSpace
from scarlet_models.training.device import pick_device, to_device
from scarlet_models.training.optim import apply_gradients, autocast

DTYPES = {"none": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
CLASSES = 1000


class Bench:
    """Networks on the device and what is timed, by precision."""

    def __init__(self, args: argparse.Namespace) -> None:
        torch.manual_seed(0)
        self.args, self.device = args, pick_device(args.device)
        self.model = to_device(timm.create_model("scarlet_a", num_classes=CLASSES), self.device).train()
        self.space = SearchSpace.load("scarlet")
        self.net = to_device(Supernet(self.space, CLASSES), self.device).train()
        self.paths = FairSampler(self.space).fair_step()
        images = torch.randn(args.batch, 3, args.size, args.size, device=self.device)
        self.images = images.to(memory_format=torch.channels_last)
        self.labels = torch.randint(CLASSES, (args.batch,), device=self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=False)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.01, momentum=0.9)
        self.genotypes = [self.space.sample(seed) for seed in range(args.population)]

    def forward_backward(self, amp: str) -> None:
        self.model.zero_grad(set_to_none=True)
        with autocast(amp, self.device):
            loss = F.cross_entropy(self.model(self.images), self.labels)
        loss.backward()

    def train(self, amp: str) -> None:
        self.forward_backward(amp)
        apply_gradients(self.model, self.optimizer, self.scaler, 0.0)

    def fair_step(self, amp: str) -> None:
        self.net.train().zero_grad(set_to_none=True)
        precision = autocast(amp, self.device)
        add_gradients(self.net, self.paths, self.images, self.labels, precision=precision)

    def paths_alone(self, amp: str) -> None:
        self.net.train().zero_grad(set_to_none=True)
        with torch.no_grad(), autocast(amp, self.device):
            features: Tensor = self.net.stem(self.images)
        for path in self.paths:
            with autocast(amp, self.device):
                loss = F.cross_entropy(self.net.forward_path(features, path), self.labels)
            loss.backward()

    def _score(self, amp: str, each: int) -> None:
        batches = [(self.images, self.labels)]
        evaluator = PopulationEvaluator(self.net, batches, batches, dtype=DTYPES[amp])
        for first in range(0, len(self.genotypes), each):
            evaluator.evaluate(self.genotypes[first : first + each])

    def population(self, amp: str) -> None:
        self._score(amp, len(self.genotypes))

    def one_by_one(self, amp: str) -> None:
        self._score(amp, 1)

    def seconds(self, run: Callable[[str], None], amp: str) -> tuple[float, int]:
        """Wall seconds and peak memory in bytes, 0 where the device cannot tell."""
        cuda = self.device.type == "cuda"
        if cuda:
            torch.cuda.reset_peak_memory_stats(self.device)
        wait(self.device)
        start = time.perf_counter()
        run(amp)
        wait(self.device)
        return time.perf_counter() - start, torch.cuda.max_memory_allocated(self.device) if cuda else 0


def main() -> None:
    """Print the table: medians of rounds in which everything takes turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, default=256, help="images in a forward pass")
    parser.add_argument("--size", type=int, default=224, help="side of the images in pixels")
    parser.add_argument("--population", type=int, default=70)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    bench = Bench(args)
    pairs = {
        "training step": (bench.train, bench.forward_backward, 1),
        "fair step": (bench.fair_step, bench.paths_alone, len(bench.paths)),
        "population": (bench.population, bench.one_by_one, args.population),
    }
    runs = {
        (name, kind, amp): (lambda run=run, amp=amp: bench.seconds(run, amp))
        for name, (ours, other, _) in pairs.items()
        for kind, run in (("ours", ours), ("other", other))
        for amp in DTYPES
    }
    times = interleaved(runs, args.rounds)
    table = Table("", "precision", "images x paths / s", "seconds", "other side", "other / ours", "peak MiB")
    for name, (_, _, paths) in pairs.items():
        for amp in DTYPES:
            ours, other = times[name, "ours", amp], times[name, "other", amp]
            ratio = statistics.median(b / a for (a, _), (b, _) in zip(ours, other, strict=True))
            seconds, beside = (statistics.median(value for value, _ in side) for side in (ours, other))
            rate, peak = args.batch * paths / seconds, max(memory for _, memory in ours) / 2**20
            table.add_row(name, amp, f"{rate:,.0f}", f"{seconds:.3f}", f"{beside:.3f}", f"{ratio:.2f}", f"{peak:,.0f}")
    processor = torch.cuda.get_device_name(bench.device) if bench.device.type == "cuda" else bench.device.type
    console = Console()
    console.print(f"{processor}, torch {torch.__version__}, {args.size} px, batch {args.batch}, {args.rounds} rounds")
    console.print(table)


if __name__ == "__main__":
    main()
