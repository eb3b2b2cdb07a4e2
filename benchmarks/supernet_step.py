"""A fair step of the supernet against the same paths as standalone timm models: time, and memory of activations.

python benchmarks/supernet_step.py --threads 1

Both sides run forward and backward on the same batch, with the same memory layout, fast depthwise gradients and an
allocator that keeps what is freed (--allocator system leaves it as it is), and take turns, so that a busy machine slows
both alike. The paths have stabilizers, which the models lack.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from scarlet_models.models import scarlet_net
from scarlet_models.search.supernet.fair_step import add_gradients
from scarlet_models.search.supernet.sampler import FairSampler
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.space import SearchSpace
from scarlet_models.training.depthwise import accelerate_depthwise
from scarlet_models.training.device import keep_freed_memory

CLASSES = 1000
MIB = 2**20


def ready(model: nn.Module) -> nn.Module:
    """The model as training has it."""
    return accelerate_depthwise(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub


def peak_memory(run: Callable[[], object]) -> int:
    """The most bytes that torch's CPU allocator held during the run beyond what it held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def activation_memory(model: nn.Module, run: Callable[[], object]) -> int:
    """Peak memory of a run, less parameters, gradients and optimizer state: gradients are there before it starts."""
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    peak = peak_memory(run)
    model.zero_grad(set_to_none=True)
    return peak


def main() -> None:
    """Prints memory, then medians of the rounds' ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="scarlet")
    parser.add_argument("--batch", type=int, default=64, help="images a fair step")
    parser.add_argument("--size", type=int, default=96, help="side of the images in pixels")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5, help="fair steps, after one to warm up")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: seconds of all threads together")
    parser.add_argument(
        "--stabilizer", default="linear", help="what stands for an identity in the fair step: linear or skip"
    )
    parser.add_argument("--allocator", choices=("keep", "system"), default="keep", help="keep is what training has")
    args = parser.parse_args()
    if args.allocator == "keep":
        keep_freed_memory()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    clock = time.perf_counter if args.clock == "wall" else time.process_time

    space = SearchSpace.load(args.space)
    images = torch.randn(args.batch, 3, args.size, args.size).to(memory_format=torch.channels_last)
    labels = torch.randint(CLASSES, (args.batch,))
    paths = FairSampler(space).fair_step()
    net = Supernet(space, CLASSES, args.stabilizer)
    ready(net)

    def fair_step() -> None:
        add_gradients(net, paths, images, labels)

    def standalone(model: nn.Module) -> None:
        F.cross_entropy(model(images), labels).backward()

    def stem() -> None:
        features: Tensor = net.stem(images)
        features.backward(torch.ones_like(features))

    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)
    fair_step()
    optimizer.step()
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    del optimizer
    of_fair_step = activation_memory(net, fair_step)
    models = [ready(scarlet_net(genotype=path, num_classes=CLASSES)) for path in paths]
    of_paths = [activation_memory(model, lambda model=model: standalone(model)) for model in models]
    setting = f"{args.size} px, batch {args.batch}, {args.threads} threads"
    print(f"{args.space} with {args.stabilizer} identities, {setting}, {len(paths)} paths")
    print(
        f"  activations  fair step {of_fair_step / MIB:.0f} MiB, largest path {max(of_paths) / MIB:.0f} MiB, "
        f"ratio {of_fair_step / max(of_paths):.3f} (wanted: at most 1.1)"
    )
    print(f"  peak RSS of a training step, all included: {rss:.0f} MiB", flush=True)

    def seconds(run: Callable[[], object], model: nn.Module) -> float:
        model.zero_grad(set_to_none=True)
        start = clock()
        run()
        return clock() - start

    rounds = []
    for _ in range(args.rounds + 1):
        alone = [seconds(lambda model=model: standalone(model), model) for model in models]
        rounds.append((seconds(fair_step, net), sum(alone), seconds(stem, net)))
    rounds = rounds[1:]
    ratio = statistics.median(together / apart for together, apart, _ in rounds)
    ideal = statistics.median(1 - (len(paths) - 1) * once / apart for _, apart, once in rounds)
    together, apart, once = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(f"  {args.clock} seconds  fair step {together:.2f}, standalone models {apart:.2f}, one stem pass {once:.3f}")
    print(f"  ratio {ratio:.3f} (wanted: at most 0.95), ideal {ideal:.3f}: all but one stem pass gone")


if __name__ == "__main__":
    main()
