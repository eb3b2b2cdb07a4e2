"""Measures how long each block of a space takes on this device, and how well their sums predict whole networks.

Writes table.json: milliseconds of every choice of every layer at its real input shape, and of stem and head, for a
batch of images. evolve reads it (--latency-table). In PyTorch the blocks are timed at their places in whole networks,
with the clock read between them; in onnxruntime each on its own. Then networks of their own, spread over the range of
MACs, are timed whole, in turns, and compared with the table's sums.

Nothing else should run meanwhile. A space of 19 layers at 224 px on one thread takes some minutes, with onnxruntime
some ten.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from scarlet_models.errors import UserError
from scarlet_models.inspection.timing import cpu_threads
from scarlet_models.models import scarlet_net
from scarlet_models.options import Ranged, option
from scarlet_models.search.scoring.ranking import Estimate
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.training import distributed
from scarlet_models.training.environment import describe_machine
from scarlet_models.training.progress import Progress, log_to_stderr

from .additivity import compare, stratified, time_networks
from .block_times import Samples, time_blocks
from .onnx_times import as_onnx, time_blocks_onnx
from .table import NAME, LatencyTable, distinct_units

EXAMPLE = """  scarlet-search latency --threads 1 --out runs/latency
  scarlet-search latency nas_bench_macro --device cuda --batch-size 64
  scarlet-search latency --runtime onnxruntime --image-size 96 --validate 20"""

_VERSIONS = {"torch": ("torch", "timm"), "onnxruntime": ("onnxruntime", "torch", "timm")}


@dataclass
class Options(Ranged):
    """Options of latency.

    Args:
        space: Search space: a name or a YAML file.
        runtime: torch runs PyTorch as it is (eager); onnxruntime runs on the CPU.
        image_size: Side of the images in pixels; 0 for the space's own.
        num_classes: Outputs of the classifier; 0 for the space's own.
        batch_size: Images at once; all times are of a whole batch.
        rounds: Measurements of each choice of a layer; layers of one shape share theirs.
        validate: Whole networks to compare with the table's sums; 0 for none.
        validation_rounds: Measurements of each of them.
        channels_last: Memory layout of images and convolutions in PyTorch.
        device: auto, cpu, cuda or cuda:N.
        threads: CPU threads; 0 leaves torch's or onnxruntime's own choice.
        seed: Of the paths and of the validation's networks.
        out: Folder for table.json.
        json: Print facts and validation as one JSON object.
    """

    space: str = option("scarlet", positional=True)
    runtime: Literal["torch", "onnxruntime"] = "torch"
    image_size: int = option(0, least=0)
    num_classes: int = option(0, least=0)
    batch_size: int = option(1, least=1)
    rounds: int = option(30, least=1)
    validate: int = option(50, least=0)
    validation_rounds: int = option(20, least=1)
    channels_last: bool = False
    device: str = option("auto", free=True)
    threads: int = option(1, least=0, free=True)
    seed: int = option(0, least=0, most=2**63 - 1)
    out: str = option("runs/latency", free=True)
    json: bool = option(False, once=True)


def main(options: Options) -> None:
    """Measure, write the table and print how good it is.

    Raises:
        UserError: a bad option, a missing package, or a folder that cannot be written.
    """
    log_to_stderr()
    with cpu_threads(options.threads):
        table = measure(options)
    path = Path(options.out) / NAME
    table.save(path)
    if options.json:
        print(json.dumps({"table": str(path), "facts": table.facts, "validation": table.validation}))
    else:
        _show(table, path)


def _check(options: Options) -> None:
    if options.validate in (1, 2):
        raise UserError(f"--validate: {options.validate} networks have no rank correlation; give 3 or more, or 0")
    if options.runtime == "onnxruntime" and options.device not in ("auto", "cpu"):
        raise UserError("--runtime onnxruntime measures on the CPU only: leave --device out")
    if options.runtime == "onnxruntime" and options.channels_last:
        raise UserError("--channels-last is a memory layout of PyTorch's: leave it out with onnxruntime")


def measure(options: Options) -> LatencyTable:
    """The table, its facts and validation included."""
    space = SearchSpace.load(options.space)
    bench = Bench(space, options)
    started = time.monotonic()
    samples = bench.time_blocks()
    medians = {unit: float(np.median(times)) for unit, times in samples.units.items()}
    table = LatencyTable.of_units(space, bench.image_size, float(np.median(samples.base)), medians)
    facts = {
        **bench.facts(),
        "measurements_of_a_block": min(map(len, samples.units.values())),
        "spread": round(samples.spread(), 4),
        "seconds": round(time.monotonic() - started, 1),
    }
    table = replace(table, facts=facts)
    if options.validate:
        table = replace(table, validation=bench.validate(table))
    return table


class Bench:
    """Blocks and networks of a space on this device, and the clock.

    Raises:
        UserError: a bad option, or the device is not there.
    """

    def __init__(self, space: SearchSpace, options: Options) -> None:
        _check(options)
        self.space, self.options = space, options
        self.image_size = options.image_size or space.input_size
        self.num_classes = options.num_classes or space.num_classes
        self.device = distributed.pick_device("cpu" if options.runtime == "onnxruntime" else options.device)
        self.load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        self.images = self._place(torch.randn(options.batch_size, 3, self.image_size, self.image_size))

    def _place(self, item: Any) -> Any:
        """Images or a model on the device, in the memory layout."""
        layout = torch.channels_last if self.options.channels_last else torch.contiguous_format
        return item.to(self.device, memory_format=layout)

    def time_blocks(self) -> Samples:
        """Measurements of every block, and of stem and head."""
        options = self.options
        net = self._place(Supernet(self.space, self.num_classes, stabilizer="skip").eval())
        if options.runtime == "torch":
            with Progress(options.rounds + 1, 0, "blocks") as progress:
                return time_blocks(net, self.images, options.rounds, options.seed, partial(progress.advance, ""))
        blocks = len(distinct_units(self.space, self.image_size)) + 3
        with Progress(blocks * (options.rounds + 2), 0, "blocks") as progress:
            advance = partial(progress.advance, "")
            return time_blocks_onnx(net, self.images, options.rounds, options.threads, advance)

    def validate(self, table: LatencyTable) -> dict[str, Any]:
        """Times whole networks and compares them with the table."""
        options = self.options
        networks = stratified(self.space, options.validate, options.seed)
        with Progress(len(networks) * (options.validation_rounds + 2), 0, "networks") as progress:
            advance = partial(progress.advance, "")
            runs = []
            for network in networks:
                runs.append(self.run_of(network))
                advance()
            measured = time_networks(runs, options.validation_rounds, self.device, advance)
        return compare(table, networks, measured, options.validation_rounds)

    def run_of(self, network: Genotype) -> Callable[[], object]:
        """A call that runs the standalone network on the images."""
        model: nn.Module = self._place(
            scarlet_net(genotype=network, space=self.space, num_classes=self.num_classes).eval()
        )
        if self.options.runtime == "onnxruntime":
            return as_onnx(model, self.images, self.options.threads)
        return partial(model, self.images)

    def facts(self) -> dict[str, Any]:
        """What the times hold for, and what may have disturbed them."""
        options, packages = self.options, describe_machine()
        gpu = self.device.type == "cuda"
        return {
            "runtime": options.runtime,
            "device": torch.cuda.get_device_name(self.device) if gpu else "cpu",
            "processor": _processor(),
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "image_size": self.image_size,
            "num_classes": self.num_classes,
            "batch_size": options.batch_size,
            "threads": torch.get_num_threads() if options.runtime == "torch" else options.threads,
            "channels_last": options.channels_last,
            "dtype": "float32",
            "cpus": packages["cpus"],
            "load_before": self.load,
            "platform": packages["platform"],
            **{name: packages[name] for name in ("python", "scarlet-models", *_VERSIONS[options.runtime])},
            **({"cuda": packages["cuda"]} if gpu else {}),
            "rounds": options.rounds,
            "seed": options.seed,
        }


def _processor() -> str:
    """The CPU's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _show(table: LatencyTable, path: Path) -> None:
    from scarlet_models.terminal import console
    from scarlet_models.terminal import table as columns

    facts, out = table.facts, console()
    out.print(
        f"[bold]{table.space.name}[/]  {facts['image_size']} px, batch of {facts['batch_size']}, {facts['runtime']} "
        f"on {facts['device']} ({facts['processor']}), {facts['threads'] or 'its own'} thread(s)\n"
    )

    shown = columns(">layer", *(f">{choice}" for choice in map(str, table.space.choices)))
    for layer, times in enumerate(table.blocks):
        shown.add_row(str(layer), *("" if np.isnan(value) else f"{value:.3f}" for value in times))
    out.print(shown)
    out.print(f"\nstem and head {table.base:.3f}; all in milliseconds, medians of {facts['measurements_of_a_block']}")
    out.print(f"one block's measurements spread by {100 * facts['spread']:.1f}% (interquartile range over median)")
    if said := table.validation:
        ranks, macs = Estimate(**said["spearman"]), Estimate(**said["spearman_of_macs"])
        took = [row["measured"] for row in said["measured"]]
        out.print(f"\n{said['networks']} whole networks of {min(took):.2f} to {max(took):.2f} ms against the sums:")
        out.print(f"Spearman {ranks}; of MACs alone {macs}")
        out.print(f"mean error {said['mape']:.1f}%; {said['mape_scaled']:.1f}% after a scale of {said['scale']:.3f}")
    out.print(f"\nwritten to {path}")
