"""Latency and throughput of networks next to timm's mobile networks, measured in one interleaved run.

Every round times every network once, in changing order; each column shows the median over the rounds, and its ratio to
the first network's. Weights are random: they do not change the time.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from scarlet_models.errors import UserError, first_line
from scarlet_models.options import option

if TYPE_CHECKING:
    from torch import nn

    from scarlet_models.space.cost import Cost

EXAMPLE = """  scarlet-models benchmark
  scarlet-models benchmark scarlet_a efficientnet_b0 --threads 1 --rounds 20
  scarlet-models benchmark --device cuda --batch-size 256 --json"""

SCARLET = ["scarlet_a", "scarlet_b", "scarlet_c"]
PEERS = ["mobilenetv3_large_100", "efficientnet_b0", "mnasnet_100", "fbnetc_100", "spnasnet_100", "mobilenetv2_100"]


@dataclass
class Options:
    """Options of benchmark.

    Args:
        models: Names or genotypes; the first is what the others are compared with.
        space: Search space of genotypes: a name or a YAML file.
        input_size: Side of the images in pixels.
        batch_size: Images at once for throughput; latency is that of one.
        rounds: How often each network is timed.
        device: cpu, cuda or cuda:N.
        threads: CPU threads; 0 leaves torch's choice.
        json: Print one JSON object.
    """

    models: list[str] = option(SCARLET + PEERS, positional=True)
    space: str = "scarlet"
    input_size: int = option(224, least=0)
    batch_size: int = option(16, least=1)
    rounds: int = option(5, least=1)
    device: str = option("cpu", free=True)
    threads: int = option(0, least=0, free=True)
    json: bool = option(False, once=True)


def main(options: Options) -> None:
    """Print a table of the measurements."""
    if min(options.input_size, options.batch_size, options.rounds) < 1 or options.threads < 0:
        raise UserError("--input-size, --batch-size and --rounds must be 1 or more, --threads 0 or more")
    from scarlet_models.inspection.timing import cpu_threads

    with cpu_threads(options.threads):
        measured = measure(options)
    if options.json:
        print(json.dumps(measured, indent=2))
    else:
        _show(measured)


def measure(options: Options) -> dict[str, Any]:
    """Settings and measurements as plain data: seconds, images a second, and ratios to the first network."""
    import torch
    from rich.console import Console
    from rich.progress import Progress

    from scarlet_models.inspection.timing import time_interleaved
    from scarlet_models.networks import create
    from scarlet_models.training.device import pick_device

    device = pick_device(options.device)
    models = {name: create(name, options.space).to(device).eval() for name in options.models}
    costs = {name: _count(name, model, options.input_size) for name, model in models.items()}
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("timing", total=len(models) * (options.rounds + 1))
        timings = time_interleaved(
            models, options.input_size, options.batch_size, options.rounds, device, lambda: progress.advance(task)
        )
    reference = timings[options.models[0]]
    rows = [
        {
            "model": name,
            **asdict(costs[name]),
            "latency": timing.latency,
            "latency_ratio": timing.latency / reference.latency,
            "throughput": timing.throughput(options.batch_size),
            "throughput_ratio": timing.throughput(options.batch_size) / reference.throughput(options.batch_size),
        }
        for name, timing in timings.items()
    ]
    settings = {key: value for key, value in asdict(options).items() if key not in ("models", "space", "json")}
    processor = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    settings |= {"threads": torch.get_num_threads(), "processor": processor, "torch": str(torch.__version__)}
    return {**settings, "results": rows}


def _count(name: str, model: nn.Module, input_size: int) -> Cost:
    """What a network costs, for which it sees an image.

    Raises:
        UserError: it takes images of another size only.
    """
    from scarlet_models.inspection.counting import count
    from scarlet_models.networks import MISTAKES

    try:
        return count(model, input_size)
    except MISTAKES as error:
        raise UserError(f"{name} cannot see images of {input_size} px: {first_line(error)}") from error


def _show(measured: dict[str, Any]) -> None:
    from scarlet_models.terminal import console, short, table

    out, first = console(), measured["results"][0]["model"]
    out.print(
        f"{measured['input_size']} px on {measured['device']} ({measured['processor']}), "
        f"{measured['threads']} threads, torch {measured['torch']}; medians of {measured['rounds']} interleaved rounds"
    )
    heading = (f">images/s, {measured['batch_size']} at once", f">/ {first}")
    shown = table("model", ">params", ">MACs", ">ms, 1 image", f">/ {first}", *heading)
    for row in measured["results"]:
        shown.add_row(
            row["model"],
            short(row["params"]),
            short(row["macs"]),
            f"{row['latency'] * 1e3:.1f}",
            f"{row['latency_ratio']:.2f}",
            f"{row['throughput']:.1f}",
            f"{row['throughput_ratio']:.2f}",
        )
    out.print(shown)
