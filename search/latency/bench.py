"""Measures a latency table: times the blocks of a space on this device, then compares sums with whole networks.

In PyTorch the blocks are timed at their places in whole networks, with the clock read between them; in the other
runtimes each is a program of its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import metadata
from typing import Any

import numpy as np
import torch
from torch import nn

from scarlet_models.inspection.timing import cpu_threads
from scarlet_models.models import scarlet_net
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.training import distributed
from scarlet_models.training.environment import describe_machine, processor
from scarlet_models.training.progress import Progress

from .additivity import compare, stratified, time_networks
from .block_times import Samples, time_blocks
from .options import LatencyOptions
from .program_times import as_program, parts, samples_of, time_programs
from .table import LatencyTable

_VERSIONS = {"torch": (), "onnxruntime": ("onnxruntime",), "executorch": ("executorch", "torchao")}


def measure(options: LatencyOptions) -> LatencyTable:
    """The table of the options' space, with facts and validation.

    Raises:
        UserError: No such space or device, or a package is missing.
    """
    with cpu_threads(options.threads):
        bench = Bench(SearchSpace.load(options.space), options)
        started = time.monotonic()
        samples = bench.time_blocks()
        facts = {**bench.facts(), "seconds": round(time.monotonic() - started, 1)}
        table = make_table(bench.space, bench.image_size, samples, facts)
        return replace(table, validation=bench.validate(table)) if options.validate else table


def make_table(space: SearchSpace, image_size: int, samples: Samples, facts: dict[str, Any]) -> LatencyTable:
    """The table of the medians."""
    medians = {unit: float(np.median(times)) for unit, times in samples.units.items()}
    facts["measurements_of_a_block"] = min(map(len, samples.units.values()))
    facts["spread"] = round(samples.spread(), 4)
    return replace(LatencyTable.of_units(space, image_size, float(np.median(samples.base)), medians), facts=facts)


class Bench:
    """Blocks and networks of a space on this device, and the clock.

    Raises:
        UserError: The device is not there.
    """

    def __init__(self, space: SearchSpace, options: LatencyOptions) -> None:
        self.space, self.options = space, options
        self.image_size = options.image_size or space.input_size
        self.num_classes = options.num_classes or space.num_classes
        self.device = distributed.pick_device(options.device if options.runtime == "torch" else "cpu")
        self.load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        self.images = self._place(torch.randn(options.batch_size, 3, self.image_size, self.image_size))

    def _place(self, item: Any) -> Any:
        """Images or a model on the device, in the memory layout."""
        layout = torch.channels_last if self.options.channels_last else torch.contiguous_format
        return item.to(self.device, memory_format=layout)

    def time_blocks(self) -> Samples:
        """Measurements of every block, and of stem and head."""
        options, net = self.options, self.net()
        if options.runtime == "torch":
            with Progress(options.rounds + 1, 0, "blocks") as progress:
                return time_blocks(net, self.images, options.rounds, options.seed, partial(progress.advance, ""))
        count = sum(1 for _ in parts(net, self.images))
        with Progress(count * (options.rounds + 2), 0, "blocks") as progress:
            times = time_programs(net, self.images, options, partial(progress.advance, ""))
        return samples_of(self.space, self.image_size, times)

    def net(self) -> Supernet:
        """The supernet with plain skips whose blocks are timed."""
        net: Supernet = self._place(Supernet(self.space, self.num_classes, stabilizer="skip").eval())
        return net

    def validate(self, table: LatencyTable) -> dict[str, Any]:
        """Whole networks, timed and compared with the table's sums."""
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
        return self.run(self.model(network))

    def run(self, model: nn.Module) -> Callable[[], object]:
        """A call that runs a model in eval mode on the images."""
        if self.options.runtime == "torch":
            return partial(self._place(model), self.images)
        return partial(as_program(model, self.images, self.options).run, self.images)

    def model(self, network: Genotype) -> nn.Module:
        """The standalone network, with random weights."""
        made: nn.Module = scarlet_net(genotype=network, space=self.space, num_classes=self.num_classes)
        return made.eval()

    def facts(self) -> dict[str, Any]:
        """What the times hold for, and what may have disturbed them."""
        options, packages = self.options, describe_machine()
        gpu = self.device.type == "cuda"
        return {
            "runtime": options.runtime,
            "device": torch.cuda.get_device_name(self.device) if gpu else "cpu",
            "processor": processor(),
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "image_size": self.image_size,
            "num_classes": self.num_classes,
            "batch_size": options.batch_size,
            "threads": torch.get_num_threads() if options.runtime == "torch" else options.threads,
            "channels_last": options.channels_last,
            "dtype": options.dtype,
            "cpus": packages["cpus"],
            "load_before": self.load,
            "platform": packages["platform"],
            **{name: packages.get(name) for name in ("python", "scarlet-models", "torch", "timm")},
            **{name: metadata.version(name) for name in _VERSIONS[options.runtime]},
            **({"cuda": packages["cuda"]} if gpu else {}),
            "rounds": options.rounds,
            "seed": options.seed,
        }
