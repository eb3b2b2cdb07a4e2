"""A path of a supernet as a network of its own: recalibrated, scored on held-out images, stabilizers folded."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn

from scarlet_models.errors import UserError
from scarlet_models.networks import genotype_of, is_genotype
from scarlet_models.search.scoring.heldout import HeldOut, HeldOutOptions, one_process
from scarlet_models.search.scoring.population import HEAD, Batches, PopulationEvaluator
from scarlet_models.search.supernet.folding import FoldingError
from scarlet_models.search.supernet.supernet import Supernet, load_supernet
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.training.device import to_device
from scarlet_models.training.split import record, trained_images

from .export import Network

_NO_IMAGES = (
    "batch norm keeps the supernet's running statistics, which mix all paths: the network will be poor; give the "
    "images (--data-dir) to recalibrate it, or retrain the genotype"
)


def inherited(name: str, supernet: str, images: HeldOutOptions, calibration_images: int) -> Network:
    """A path's network with the supernet's weights.

    Args:
        name: A genotype, or a network of one.
        supernet: As `load_supernet` takes it.
        images: The supernet's images; with neither folder nor data set, batch norm keeps its running statistics.
        calibration_images: Number of training images to recalibrate batch norm on.
    """
    net, info = load_supernet(supernet)
    genotype = find_genotype(name, net.space)
    held = HeldOut(images, info) if images.data_dir or images.dataset else None
    facts = {"Weights": f"of a path of the supernet with sha256 `{info.sha256}`, {info.steps:,} fair steps of training"}
    figures: dict[str, Any] = {"supernet": info.sha256}
    with one_process(images) as device:
        to_device(net, device, fast_depthwise=False)
        if held:
            batches, figures["calibration"] = held.calibration(calibration_images, device)
            recalibrate(net, genotype, batches)
            facts["Batch norm"] = f"recalibrated on {sum(len(labels) for _, labels in batches):,} training images"
        else:
            warnings.warn(_NO_IMAGES, stacklevel=2)
        arguments = {"in_chans": net.in_chans} if net.in_chans != 3 else {}
        network = Network(extract(net, genotype), arguments, info.data_config, info.classes, facts, figures)
        if held and held.recognised:  # no figure from images it was trained on
            figures["holdout_top1"], count = _top1(network.model, held.batches(device))
            facts["Top-1"] = f"{figures['holdout_top1']:.2f}% of {count:,} held-out images"
            network.notes = record(held.split, held.images)
            network.files = trained_images(held.split, held.images)
    network.model = to_device(network.model, torch.device("cpu"), channels_last=False, fast_depthwise=False)
    return network


def find_genotype(name: str, space: SearchSpace) -> Genotype:
    """The genotype in the space that is asked for: by its choices, or by the name or folder of a network of one."""
    genotype = Genotype.parse(name, space) if is_genotype(name) else genotype_of(name)
    if genotype is None:
        raise UserError(f"{name} is no genotype and no network of one: give choice indices such as 2,4,1,8,...")
    if genotype.space != space:
        raise UserError(
            f"{name} is a network of space {genotype.space.name!r}, the supernet is of space {space.name!r}"
        )
    return genotype


def recalibrate(net: Supernet, genotype: Genotype, batches: Batches) -> None:
    """Give the path in the supernet the batch-norm statistics that `PopulationEvaluator` scores it with."""
    node = PopulationEvaluator(net, batches, batches).trie([genotype]).root
    net.stem.load_state_dict(node.module.state_dict())
    for layer, choice in enumerate(genotype):
        node = node.children[choice]
        net.choice(layer, choice).load_state_dict(node.module.state_dict())
    net.head.load_state_dict(node.children[HEAD].module.state_dict())


def extract(net: Supernet, genotype: Genotype) -> nn.Module:
    """The path's standalone network, for people at a command line."""
    try:
        return net.extract(genotype)
    except FoldingError as error:
        raise UserError(f"{error.reason}; retrain {genotype} on its own, and export that") from error


@torch.inference_mode()
def _top1(model: Any, batches: Batches) -> tuple[float, int]:
    """Top-1 in percent, and the number of images."""
    hits = sum(int((model(images).argmax(1) == labels).sum()) for images, labels in batches)
    count = sum(len(labels) for _, labels in batches)
    return 100 * hits / count, count
