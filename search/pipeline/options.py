"""Options of a whole search. Imports no torch."""

from dataclasses import dataclass
from typing import Any, Literal

from scarlet_models.options import DeviceOptions, option
from scarlet_models.search.evolution.options import Limits
from scarlet_models.training.options import DataOptions


@dataclass
class SharedOptions(DeviceOptions):
    """What every command has that runs a whole search.

    Args:
        out: Folder of the search; each stage has one in it.
        seed: Seed of everything random but the held-out split.
    """

    out: str = option("runs/search", free=True)
    seed: int = option(0, least=0, most=2**63 - 1)


@dataclass
class SearchOptions(SharedOptions, Limits, DataOptions):  # fields: last base first
    """What to search for, and how.

    Args:
        space: Name of a search space, or a YAML file.
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
        plan: Print the stages and how long they may take, and start none.
    """

    space: str = "scarlet"
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
    plan: bool = option(False, once=True)
