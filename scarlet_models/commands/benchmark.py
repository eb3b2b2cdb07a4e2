"""Measure latency and throughput of networks next to timm's mobile networks, in one interleaved run.

Every round times every network once, in changing order. Each column is the median over the rounds; the ratios are to
the first network. Weights are random, which does not change the time.
"""

import sys
from dataclasses import asdict, dataclass
from typing import Any

from scarlet_models.options import DeviceOptions, option
from scarlet_models.terminal import console, output, short, table

EXAMPLE = """  scarlet-models benchmark
  scarlet-models benchmark scarlet_a efficientnet_b0 --threads 1 --rounds 20
  scarlet-models benchmark --device cuda --batch-size 256 --json"""

SCARLET = ["scarlet_a", "scarlet_b", "scarlet_c"]
PEERS = ["mobilenetv3_large_100", "efficientnet_b0", "mnasnet_100", "fbnetc_100", "spnasnet_100", "mobilenetv2_100"]


@dataclass
class Options(DeviceOptions):
    """Options of benchmark.

    Args:
        models: Names or genotypes; the first is the one that the others are compared with.
        space: Search space of genotypes: a name or a YAML file.
        input_size: Side of the images in pixels.
        batch_size: Images in a batch, for throughput; latency is that of one image.
        rounds: Number of times each network is timed.
        fast: Fold batch norms and use the layout channels_last, as classify does.
    """

    models: list[str] = option(SCARLET + PEERS, positional=True)
    space: str = "scarlet"
    input_size: int = option(224, least=1)
    batch_size: int = option(16, least=1)
    rounds: int = option(5, least=1)
    fast: bool = False
    device: str = option("cpu", free=True)


def main(options: Options) -> None:
    import torch
    from rich.console import Console
    from rich.progress import Progress

    from scarlet_models.inference import fast
    from scarlet_models.inspection.timing import compare, cpu_threads
    from scarlet_models.networks import create
    from scarlet_models.training.device import pick_device

    device = pick_device(options.device)
    models = {name: create(name, options.space).to(device).eval() for name in options.models}
    if options.fast:
        models = {name: fast(model, device) for name, model in models.items()}
    bar = Progress(console=Console(stderr=True), disable=not sys.stderr.isatty())
    with cpu_threads(options.threads), bar as progress:
        task = progress.add_task("timing", total=len(models) * (options.rounds + 1))
        sizes = (options.input_size, options.batch_size, options.rounds)
        rows = compare(models, *sizes, device, lambda: progress.advance(task))
        threads = torch.get_num_threads()
    settings = {key: value for key, value in asdict(options).items() if key not in ("models", "space", "json")}
    processor = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    settings |= {"threads": threads, "processor": processor, "torch": str(torch.__version__)}
    output({**settings, "results": rows}, options.json, _show)


def _show(measured: dict[str, Any]) -> None:
    out, first = console(), measured["results"][0]["model"]
    out.print(
        f"{measured['input_size']} px on {measured['device']} ({measured['processor']}), "
        f"{measured['threads']} threads, torch {measured['torch']}; medians of {measured['rounds']} interleaved rounds"
    )
    heading = (f">images/s, batches of {measured['batch_size']}", f">/ {first}")
    shown = table("model", ">params", ">MACs", ">ms, 1 image", f">/ {first}", *heading)
    for row in measured["results"]:
        latency = (f"{row['latency'] * 1e3:.1f}", f"{row['latency_ratio']:.2f}")
        throughput = (f"{row['throughput']:.1f}", f"{row['throughput_ratio']:.2f}")
        shown.add_row(row["model"], short(row["params"]), short(row["macs"]), *latency, *throughput)
    out.print(shown)
