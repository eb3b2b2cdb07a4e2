"""Measures a latency table: times the blocks of a space on this device, then compares sums with whole networks."""

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from importlib import metadata
from typing import Any

import numpy as np
import torch
from torch import nn

from scarlet_models.errors import UserError
from scarlet_models.inspection.timing import cpu_threads, interleaved, median_seconds
from scarlet_models.models import scarlet_net
from scarlet_models.search.scoring.ranking import bootstrap, spearman
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.training import distributed
from scarlet_models.training.environment import describe_machine, processor
from scarlet_models.training.progress import Progress

from .block_times import PASSES, Samples, as_program, parts, samples_of, time_blocks
from .options import LatencyOptions
from .table import LatencyTable

_VERSIONS = {"torch": (), "onnxruntime": ("onnxruntime",), "executorch": ("executorch", "torchao")}
RESAMPLES = 1000  # behind each interval of a rank correlation

Run = Callable[[], Any]


def measure(options: LatencyOptions) -> LatencyTable:
    """The table of the options' space, with facts and validation; a UserError if a device or package is missing."""
    with cpu_threads(options.threads):
        bench = Bench(SearchSpace.load(options.space), options)
        started = time.monotonic()
        samples = bench.time_blocks()
        table = samples.table(bench.space, {**bench.facts(), "seconds": round(time.monotonic() - started, 1)})
        return replace(table, validation=bench.validate(table)) if options.validate else table


class Bench:
    """Blocks and networks of a space on this device, and the clock; a UserError if the device is not there."""

    def __init__(self, space: SearchSpace, options: LatencyOptions) -> None:
        self.space, self.options = space, options
        self.image_size = options.image_size or space.input_size
        self.num_classes = options.num_classes or space.num_classes
        self.device = distributed.pick_device(options.device if options.runtime == "torch" else "cpu")
        self.load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        self.images = self._place(torch.randn(options.batch_size, 3, self.image_size, self.image_size))

    def _place(self, item: Any) -> Any:
        layout = torch.channels_last if self.options.channels_last else torch.contiguous_format
        return item.to(self.device, memory_format=layout)

    def time_blocks(self) -> Samples:
        """Measurements of every block, and of stem and head."""
        options, net = self.options, self.net()
        if options.runtime == "torch":
            with Progress(options.rounds + 1, 0, "blocks") as progress:
                return time_blocks(net, self.images, options.rounds, options.seed, partial(progress.advance, ""))
        todo, runs = list(parts(net, self.images)), dict[str, Run]()
        with Progress(len(todo) * (options.rounds + 2), 0, "blocks") as progress:
            for name, module, features in todo:
                runs[name] = partial(as_program(module, features, options).run, features)
                progress.advance("")
            times = self._times(runs, options.rounds, partial(progress.advance, ""))
        return samples_of(self.space, self.image_size, times)

    def net(self) -> Supernet:
        """The supernet with plain skips whose blocks are timed."""
        net: Supernet = self._place(Supernet(self.space, self.num_classes, stabilizer="skip").eval())
        return net

    def model(self, network: Genotype) -> nn.Module:
        """The standalone network in eval mode, with random weights."""
        made: nn.Module = scarlet_net(genotype=network, space=self.space, num_classes=self.num_classes)
        return made.eval()

    def run(self, model: nn.Module) -> Run:
        """A call that runs a model in eval mode on the images."""
        if self.options.runtime == "torch":
            return partial(self._place(model), self.images)
        return partial(as_program(model, self.images, self.options).run, self.images)

    def milliseconds(self, runs: Sequence[Run], rounds: int, advance: Run = lambda: None) -> np.ndarray:
        """Median (N,) of each run over interleaved rounds, of each of which the median pass counts."""
        return np.median(list(self._times(dict(enumerate(runs)), rounds, advance).values()), axis=1)

    @torch.inference_mode()
    def _times(self, runs: Mapping[Any, Run], rounds: int, advance: Run) -> dict[Any, list[float]]:
        measures = {name: partial(median_seconds, run, PASSES, self.device) for name, run in runs.items()}
        seconds = interleaved(measures, rounds, advance)
        return {name: [1e3 * time for time in times] for name, times in seconds.items()}

    def validate(self, table: LatencyTable) -> dict[str, Any]:
        """Whole networks, timed and compared with the table's sums."""
        options, runs = self.options, list[Run]()
        networks = stratified(self.space, options.validate, options.seed)
        with Progress(len(networks) * (options.validation_rounds + 2), 0, "networks") as progress:
            advance = partial(progress.advance, "")
            for network in networks:
                runs.append(self.run(self.model(network)))
                advance()
            measured = self.milliseconds(runs, options.validation_rounds, advance)
        return compare(table, networks, measured, options.validation_rounds)

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


def stratified(space: SearchSpace, count: int, seed: int) -> list[Genotype]:
    """Distinct networks spread over the range of MACs: one at random from each of `count` equal slices that has one."""
    rng, table = np.random.default_rng(seed), space.cost_table()
    edges = np.linspace(table.smallest.macs, table.largest.macs, count + 1)
    networks: dict[Genotype, None] = {}
    for low, high in itertools.pairwise(edges):
        with contextlib.suppress(UserError):  # a small space has gaps
            networks[space.sample(rng, min_macs=int(low), max_macs=int(high)).canonical()] = None
    return list(networks)


def compare(table: LatencyTable, networks: Sequence[Genotype], measured: np.ndarray, rounds: int) -> dict[str, Any]:
    """What the table predicts against measured milliseconds (N,), as plain data.

    Rank correlations with bootstrap intervals; the one of MACs alone is what a table has to beat. `mape` is the mean
    absolute error in percent of what was measured. `scale` is the median of measured over predicted: the table does not
    use it, and `mape_scaled` is what would remain if it did.
    """
    genotypes = np.array([network.choices for network in networks])
    predicted = table.sum(genotypes)
    macs = table.space.costs(genotypes, table.facts["image_size"])[0]
    scale = float(np.median(measured / predicted))
    errors = [100 * np.abs(factor * predicted / measured - 1) for factor in (1.0, scale)]
    rows = zip(map(str, networks), macs.tolist(), predicted.round(4).tolist(), measured.round(4).tolist(), strict=True)
    return {
        "networks": len(networks),
        "rounds": rounds,
        "spearman": asdict(bootstrap(spearman, predicted, measured, RESAMPLES, 0)),
        "spearman_of_macs": asdict(bootstrap(spearman, macs, measured, RESAMPLES, 0)),
        "mape": float(errors[0].mean()),
        "scale": scale,
        "mape_scaled": float(errors[1].mean()),
        "measured": [dict(zip(("genotype", "macs", "predicted", "measured"), row, strict=True)) for row in rows],
    }
