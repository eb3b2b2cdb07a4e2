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
from scarlet_models.search.latency.additivity import time_networks
from scarlet_models.search.latency.bench import Bench
from scarlet_models.search.latency.options import LatencyOptions
from scarlet_models.search.latency.table import LatencyTable
from scarlet_models.training.split import KEY, read_record, read_trained
from scarlet_models.weights import save as saving
from scarlet_models.weights.publish import CARD, card

LATENCY = "latency.json"
ROUNDS = 20  # of timing a network beside a latency table
TIMED_BY = ("runtime", "dtype", "image_size", "batch_size", "threads", "channels_last")  # facts of a table


@dataclass
class Network:
    """A network with all that its folder needs.

    Args:
        model: The network, in eval mode on the CPU.
        model_args: Arguments of create_model besides name and genotype.
        data_config: timm's data config, if it is not the model's own.
        classes: Names of the outputs, if the model does not know them.
        facts: Lines for the model card.
        figures: The same for programs.
        card: The model card that comes with it; empty for none.
        notes: More entries of config.json.
        files: More files: name -> content.
    """

    model: Any
    model_args: dict[str, Any] = field(default_factory=dict)
    data_config: dict[str, Any] | None = None
    classes: list[str] | None = None
    facts: dict[str, str] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    card: str = ""
    notes: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


def trained(name: str) -> Network:
    """A network that has weights, by the name of a model or of a folder.

    Raises:
        UserError: There is none, or it has no weights here.
    """
    if is_genotype(name):
        raise UserError("a genotype has no weights: give --supernet FOLDER to inherit them, or a folder of retrain")
    place = Path(name.removeprefix("local-dir:"))
    if not place.is_dir():
        return Network(create(name, pretrained=True).eval())
    folder = saved_folder(place)
    model = saving.load(folder)
    _, _, arguments = load_model_config_from_path(folder)
    text = (folder / CARD).read_text(encoding="utf-8") if (folder / CARD).is_file() else ""
    facts, figures = _test_figures(folder)
    kept = read_record(str(folder))
    cfg: Any = model.pretrained_cfg
    classes = None if cfg.get("tag") else cfg.get("label_names")  # those of a tag are in the cfg that is kept whole
    seen, notes = read_trained(str(folder)), {KEY: kept} if kept else {}
    files = {saving.TRAINED: seen} if seen else {}
    return Network(model, dict(arguments), None, classes, facts, figures, text, notes, files)


def saved_folder(place: Path) -> Path:
    """The folder itself if a network is saved in it, else the only one that a run in it has exported.

    Raises:
        UserError: There is none, or there are several.
    """
    if (place / saving.CONFIG).is_file():
        return place
    found = sorted(path.parent for path in place.glob(f"exported/*/{saving.CONFIG}"))
    if len(found) > 1:
        raise UserError(f"{place} holds several networks: name one of {', '.join(map(str, found))}")
    if not found:
        raise UserError(f"{place} holds no network ({saving.CONFIG}, or exported/NAME): retrain and export write them")
    return found[0]


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
        bench = Bench(
            genotype.space, LatencyOptions(**given, device="cpu" if table.facts["device"] == "cpu" else "auto")
        )
        if all(bench.facts()[name] == table.facts[name] for name in ("device", "processor")):
            with cpu_threads(bench.options.threads):
                run = bench.run(network.model)
                measured = round(float(time_networks([run], ROUNDS, bench.device, lambda: None)[0]), 4)
    predicted = round(float(table.sum(np.array([genotype.choices]))[0]), 4)
    network.figures["latency"] = {"predicted": predicted, "measured": measured, "rounds": ROUNDS, **given}


def write(network: Network, folder: Path) -> dict[str, Any]:
    """Write the folder, whole or not at all; return what is in it.

    Raises:
        UserError: The folder cannot be written or holds other files.
    """
    model = network.model
    size = int((network.data_config or resolve_model_data_config(model))["input_size"][-1])
    text = network.card or card(model, "local-dir:PATH/TO/THIS/FOLDER", network.facts, network.data_config)
    more = {**network.files, CARD: text.encode()}
    if "latency" in network.figures:
        more[LATENCY] = json.dumps(network.figures["latency"]).encode()
    saving.save(model, folder, network.model_args, network.data_config, network.classes, more=more, notes=network.notes)
    return {"folder": str(folder), **_about(model, size), **network.figures, "files": _sizes(folder)}


def _about(model: Any, size: int) -> dict[str, Any]:
    genotype = getattr(model, "genotype", None)
    return {
        "genotype": None if genotype is None else str(genotype),
        "space": None if genotype is None else genotype.space.name,
        "input_size": size,
        "num_classes": model.num_classes,
        **({} if genotype is None else vars(genotype.cost(size, model.num_classes))),
    }


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
