"""Exports a network to a folder: config.json and model.safetensors for timm, and a model card."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from timm.data import resolve_model_data_config
from timm.models._hub import load_model_config_from_path

from scarlet_models.errors import UserError
from scarlet_models.files import sha256_of
from scarlet_models.inspection.timing import cpu_threads
from scarlet_models.networks import create, is_genotype
from scarlet_models.search.latency.bench import Bench
from scarlet_models.search.latency.options import LatencyOptions
from scarlet_models.search.latency.table import LatencyTable
from scarlet_models.training.split import KEY, read_record, read_trained
from scarlet_models.weights import save as saving
from scarlet_models.weights.publish import CARD, card
from scarlet_models.weights.source import LOCAL, locate

LATENCY = "latency.json"
ROUNDS = 20  # of timing a network beside a latency table
TIMED_BY = ("runtime", "dtype", "image_size", "batch_size", "threads", "channels_last")  # facts of a table


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
    """A network that has weights, by the name of a model, by its folder, or by that of the run that exported it.

    Raises:
        UserError: There is none, or it has no weights here.
    """
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
    network = Network(model, dict(load_model_config_from_path(folder)[2]))
    network.classes = None if cfg.get("tag") else cfg.get("label_names")  # those of a tag are in the cfg, kept whole
    network.facts, network.figures = _test_figures(folder)
    network.card = (folder / CARD).read_text(encoding="utf-8") if (folder / CARD).is_file() else ""
    if kept := read_record(str(folder)):
        network.notes = {KEY: kept}
    if seen := read_trained(str(folder)):
        network.files = {saving.TRAINED: seen}
    return network


def _test_figures(folder: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """What retrain measured of these very weights on test images, as text and as data."""
    path = folder.parent.parent / "final.json"
    if not path.is_file():
        return {}, {}
    final = json.loads(path.read_text(encoding="utf-8"))
    if final.get("weights_sha256") != sha256_of(folder / saving.WEIGHTS):
        return {}, {}
    text = f"{final['top1']:.2f}% of the {final['images']:,} images of split {final['split']}"
    return {"Top-1": text}, {"test_top1": final["top1"]}


def time_beside(network: Network, latency_table: str) -> None:
    """Put what a latency table predicts beside what the network takes, timed as the table's blocks were.

    It is timed only on the device of the table.

    Raises:
        UserError: There is no such table, or it is of another space.
    """
    genotype = getattr(network.model, "genotype", None)
    if genotype is None:
        raise UserError("--latency-table is for networks of a search space, and this one has no genotype")
    table, measured = LatencyTable.load(latency_table, genotype.space), None
    given = {name: table.facts[name] for name in TIMED_BY if name in table.facts}
    if len(given) == len(TIMED_BY):
        device = "cpu" if table.facts["device"] == "cpu" else "auto"
        bench = Bench(genotype.space, LatencyOptions(**given, device=device))
        if all(bench.facts()[name] == table.facts[name] for name in ("device", "processor")):
            with cpu_threads(bench.options.threads):
                measured = round(float(bench.milliseconds([bench.run(network.model)], ROUNDS)[0]), 4)
    predicted = round(float(table.sum(np.array([genotype.choices]))[0]), 4)
    network.figures["latency"] = {"predicted": predicted, "measured": measured, "rounds": ROUNDS, **given}


def write(network: Network, folder: Path) -> dict[str, Any]:
    """Write the folder, whole or not at all; return what is in it.

    Raises:
        UserError: The folder cannot be written or holds other files.
    """
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
