"""Exports a network to a folder: config.json and model.safetensors for timm, and a model card.

It is trained, or a path of a supernet: recalibrated, scored on held-out images, stabilizers folded.
"""

import json
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.data import resolve_model_data_config
from timm.models._hub import load_model_config_from_path
from torch import nn

from scarlet_models.documents import read_json
from scarlet_models.errors import UserError, first_line
from scarlet_models.files import sha256_of
from scarlet_models.inspection.timing import cpu_threads
from scarlet_models.networks import create, genotype_of, is_genotype
from scarlet_models.search.latency.bench import Bench
from scarlet_models.search.latency.options import LatencyOptions
from scarlet_models.search.latency.table import LatencyTable
from scarlet_models.search.scoring.heldout import HeldOut, HeldOutOptions, one_process, open_supernet
from scarlet_models.search.scoring.population import HEAD, Batches, PopulationEvaluator
from scarlet_models.search.supernet.stabilizer import FoldingError
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.training.device import to_device
from scarlet_models.training.split import KEY, read_record, read_trained, record, trained_images
from scarlet_models.weights import save as saving
from scarlet_models.weights.publish import CARD, card
from scarlet_models.weights.source import LOCAL, locate

LATENCY = "latency.json"
ROUNDS = 20  # of timing a network beside a latency table
TIMED_BY = ("runtime", "dtype", "image_size", "batch_size", "threads", "channels_last")  # facts of a table
_NO_IMAGES = (
    "batch norm keeps the supernet's running statistics, which mix all paths: the network will be poor; give the "
    "images (--data-dir) to recalibrate it, or retrain the genotype"
)


@dataclass
class Network:
    """A network with all that its folder needs."""

    model: Any  # in eval mode on the CPU
    model_args: dict[str, Any] = field(default_factory=dict)  # of create_model, besides name and genotype
    data_config: dict[str, Any] | None = None  # timm's, if it is not the model's own
    classes: list[str] | None = None  # names of the outputs, if the model does not know them
    facts: dict[str, str] = field(default_factory=dict)  # lines for the model card
    figures: dict[str, Any] = field(default_factory=dict)  # the same for programs
    card: str = ""  # the model card that comes with it
    notes: dict[str, Any] = field(default_factory=dict)  # more entries of config.json
    files: dict[str, bytes] = field(default_factory=dict)  # more files: name -> content


def trained(name: str) -> Network:
    """A network that has weights, by the name of a model, by its folder, or by that of the run that exported it."""
    if is_genotype(name):
        raise UserError("a genotype has no weights: give --supernet FOLDER to inherit them, or a folder of retrain")
    where = locate(name)
    if not where.startswith(f"{LOCAL}:"):
        return Network(create(where, pretrained=True).eval())
    folder = Path(where.removeprefix(f"{LOCAL}:"))
    if not (folder / saving.CONFIG).is_file():
        raise UserError(f"{folder} holds no network ({saving.CONFIG}, or exported/NAME): retrain and export write them")
    model = saving.load(folder)
    cfg: Any = model.pretrained_cfg
    classes = None if cfg.get("tag") else cfg.get("label_names")  # those of a tag are in the cfg, kept whole
    network = Network(model, dict(load_model_config_from_path(folder)[2]), None, classes, *_test_figures(folder))
    network.card = (folder / CARD).read_text(encoding="utf-8") if (folder / CARD).is_file() else ""
    if kept := read_record(str(folder)):
        network.notes = {KEY: kept}
    if seen := read_trained(str(folder)):
        network.files = {saving.TRAINED: seen}
    return network


def _test_figures(folder: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """What retrain measured of these very weights on test images, as text and as data."""
    path = folder.parent.parent / "final.json"
    final = read_json(path, dict) if path.is_file() else {}
    if not final or final.get("weights_sha256") != sha256_of(folder / saving.WEIGHTS):
        return {}, {}
    try:
        text = f"{final['top1']:.2f}% of the {final['images']:,} images of split {final['split']}"
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({first_line(error)}): score the test split anew, or remove it") from None
    return {"Top-1": text}, {"test_top1": final["top1"]}


def inherited(name: str, supernet: str, images: HeldOutOptions, calibration_images: int) -> Network:
    """The network of a path of a supernet, named by its genotype or by a network of that, with the supernet's weights.

    Batch norm is recalibrated on so many training images; without `images` it keeps its running statistics.
    """
    net, info, *_ = open_supernet(supernet)
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
            with torch.inference_mode():
                hits = [network.model(pixels).argmax(1) == labels for pixels, labels in held.batches(device)]
            figures["holdout_top1"] = 100 * sum(int(each.sum()) for each in hits) / len(held.held)
            facts["Top-1"] = f"{figures['holdout_top1']:.2f}% of {len(held.held):,} held-out images"
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
        own = genotype.space.name
        raise UserError(f"{name} is a network of space {own!r}, the supernet is of space {space.name!r}")
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


def time_beside(network: Network, latency_table: str) -> None:
    """Put what a latency table predicts beside what the network takes, timed as its blocks were, on its device only."""
    genotype = getattr(network.model, "genotype", None)
    if genotype is None:
        raise UserError("--latency-table is for networks of a search space, and this one has no genotype")
    table, measured = LatencyTable.load(latency_table, genotype.space), None
    given = {name: table.facts[name] for name in TIMED_BY if name in table.facts}
    if len(given) == len(TIMED_BY):
        device = "cpu" if table.facts["device"] == "cpu" else "auto"
        bench, here = Bench(genotype.space, LatencyOptions(**given, device=device)), dict[str, Any]()
        with suppress(PackageNotFoundError):  # the runtime of a phone's table may be missing here
            here = bench.facts()
        if here and all(here[name] == table.facts[name] for name in ("device", "processor")):
            with cpu_threads(bench.options.threads):
                measured = round(float(bench.milliseconds([bench.run(network.model)], ROUNDS)[0]), 4)
    predicted = round(float(table.sum(np.array([genotype.choices]))[0]), 4)
    network.figures["latency"] = {"predicted": predicted, "measured": measured, "rounds": ROUNDS, **given}


def write(network: Network, folder: Path) -> dict[str, Any]:
    """Write the folder, whole or not at all; return what is in it. A UserError if it holds other files."""
    model = network.model
    text = network.card or card(model, "local-dir:PATH/TO/THIS/FOLDER", network.facts, network.data_config)
    more = {**network.files, CARD: text.encode()}
    if "latency" in network.figures:
        more[LATENCY] = json.dumps(network.figures["latency"]).encode()
    saving.save(model, folder, network.model_args, network.data_config, network.classes, more=more, notes=network.notes)
    size = int((network.data_config or resolve_model_data_config(model))["input_size"][-1])
    about: dict[str, Any] = {"genotype": None, "space": None, "input_size": size, "num_classes": model.num_classes}
    if genotype := getattr(model, "genotype", None):
        about |= {"genotype": str(genotype), "space": genotype.space.name}
        about |= vars(genotype.cost(size, model.num_classes))
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    return {"folder": str(folder), **about, **network.figures, "files": sizes}
