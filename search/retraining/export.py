"""Exports a network to a folder: config.json and model.safetensors for timm, a model card, and model.onnx."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from timm.data import resolve_model_data_config
from timm.models._hub import load_model_config_from_path
from torch import nn

from scarlet_models.errors import UserError
from scarlet_models.export.programs import export_program, missing_packages, onnx_bytes, sample_batches
from scarlet_models.files import sha256_of
from scarlet_models.inspection.counting import in_channels
from scarlet_models.networks import create, is_genotype
from scarlet_models.training.split import KEY, read_record
from scarlet_models.weights import save as saving
from scarlet_models.weights.card import CARD, card

ONNX = "model.onnx"

_logger = logging.getLogger(__name__)


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
    """

    model: Any
    model_args: dict[str, Any] = field(default_factory=dict)
    data_config: dict[str, Any] | None = None
    classes: list[str] | None = None
    facts: dict[str, str] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    card: str = ""
    notes: dict[str, Any] = field(default_factory=dict)


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
    return Network(model, dict(arguments), None, classes, facts, figures, text, {KEY: kept} if kept else {})


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


def write(network: Network, folder: Path, onnx: bool | None) -> dict[str, Any]:
    """Write the folder, whole or not at all; return what is in it.

    Args:
        network: What to write.
        folder: Where to.
        onnx: Whether to write model.onnx; None writes it if the packages for that are installed.

    Raises:
        UserError: The folder cannot be written or holds other files, or the ONNX cannot be made.
    """
    model = network.model
    size = int((network.data_config or resolve_model_data_config(model))["input_size"][-1])
    figures, facts, more = dict(network.figures), dict(network.facts), dict[str, bytes]()
    if onnx is None and (onnx := not missing_packages()) is False:
        _logger.info("no %s: pip install 'scarlet-models[export]' for it", ONNX)
    if onnx:
        more[ONNX], figures["onnx_difference"] = _onnx(model, size)
        shape = f"(N, {in_channels(model)}, {size}, {size})"
        facts["ONNX"] = f"`{ONNX}`: input `pixels` {shape}, normalised; output `logits`"
    text = network.card or card(model, "local-dir:PATH/TO/THIS/FOLDER", facts, network.data_config)
    more[CARD] = text.encode()
    saving.save(model, folder, network.model_args, network.data_config, network.classes, more=more, notes=network.notes)
    return {"folder": str(folder), **_about(model, size), **figures, "files": _sizes(folder)}


def _onnx(model: nn.Module, size: int) -> tuple[bytes, float]:
    """The network as ONNX, and how far its output is off, relative to the largest."""
    batches = sample_batches(in_channels(model), size)
    return onnx_bytes(export_program(model, batches[-1]), model, batches)


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
