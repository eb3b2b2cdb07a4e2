"""Options of a whole search. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from scarlet_models.options import option
from scarlet_models.training.options import DataOptions

LIMITS = ("min_macs", "max_macs", "min_params", "max_params", "min_latency", "max_latency", "min_accuracy")


@dataclass
class SearchOptions(DataOptions):
    """What to search for, and how.

    Args:
        out: Folder of the search; each stage has one in it.
        space: Name of a search space, or a YAML file.
        min_macs: Fewest MACs of the network, such as 200M; costs are those at the space's own image size and number
            of classes, or at --evolve.input_size and --evolve.num_classes.
        max_macs: Most MACs of the network.
        min_params: Fewest parameters of the network.
        max_params: Most parameters of the network.
        min_latency: Shortest latency of an image on this device.
        max_latency: Longest latency, such as 15ms. All blocks are timed before training, at the size and classes that
            MACs are counted for, or --latency.image_size and --latency.num_classes; none with --evolve.latency_table.
        min_accuracy: Lowest accuracy in percent with the supernet's weights.
        pick: Rule for the network to train.
        compare: Also train a random network and the largest one within the same limits, with the same recipe.
        anchors: Networks to train first, for a quarter of the epochs of retrain, spread over depth and MACs within the
            limits. Their held-out accuracy corrects the scores if cross-validation says so. 0 for none, else 5 or more.
        genotype: Train this network and search nothing.
        train: Options of train, as in --train.epochs 20; a recipe's name under "config".
        latency: Options of latency.
        evolve: Options of evolve.
        retrain: Options of retrain; a recipe's name under "config".
        name: Name of the exported network; empty for the name of --out.
        final: Score the trained network on the test split at the end.
        processes: Processes to start under torchrun for training and search.
        seed: Seed of everything random but the held-out split.
        threads: CPU threads for torch; 0 keeps torch's own number.
        device: auto, cpu, cuda or cuda:N.
    """

    out: str = option("runs/search", free=True)
    space: str = "scarlet"
    min_macs: int | str | None = None
    max_macs: int | str | None = None
    min_params: int | str | None = None
    max_params: int | str | None = None
    min_latency: float | str | None = None
    max_latency: float | str | None = None
    min_accuracy: float | None = None
    pick: Literal["accuracy", "knee"] = "accuracy"
    compare: bool = False
    anchors: int = option(0, least=0)
    genotype: str = ""
    train: dict[str, Any] = option({})
    latency: dict[str, Any] = option({})
    evolve: dict[str, Any] = option({})
    retrain: dict[str, Any] = option({})
    name: str = option("", free=True)
    final: bool = option(False, free=True)
    processes: int = option(1, least=1)
    seed: int = option(0, least=0, most=2**63 - 1)
    threads: int = option(0, least=0, free=True)
    device: str = option("auto", free=True)
