"""Exports a network to a folder: config.json and model.safetensors for timm, a model card, and model.onnx.

The network is a genotype with weights inherited from a supernet (--supernet), a folder that retrain wrote, or a name of
a network that has weights. Where the supernet's images are given, batch norm is calibrated for the path on training
images and the network scored on the held-out ones; stabilizers are folded. timm.create_model("local-dir:FOLDER",
pretrained=True) loads the folder, scarlet-models publish pushes it. ONNX is checked against the network.
"""

from __future__ import annotations

import json
import logging
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from timm.data import resolve_model_data_config
from timm.models._hub import load_model_config_from_path
from torch import nn

from scarlet_models.errors import UserError
from scarlet_models.export.programs import export_program, missing_packages, onnx_bytes, sample_batches
from scarlet_models.files import sha256_of
from scarlet_models.inspection.counting import in_channels
from scarlet_models.networks import create, file_stem, genotype_of, is_genotype
from scarlet_models.options import option
from scarlet_models.search.scoring.heldout import HeldOut, HeldOutOptions, one_process
from scarlet_models.search.scoring.population import HEAD, Batches, PopulationEvaluator, Trie
from scarlet_models.search.supernet.file import load_supernet
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.training.device import to_device
from scarlet_models.training.progress import log_to_stderr
from scarlet_models.training.split import KEY, read_record, record
from scarlet_models.weights import save as saving
from scarlet_models.weights.publish import CARD, card

EXAMPLE = """  scarlet-search export runs/a --out models/a
  scarlet-search export 0,1,2,3,0 --supernet runs/mini --data-dir images --out models/best
  scarlet-search export scarlet_c.c10 --onnx false --out models/c"""

ONNX = "model.onnx"

_logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Options(HeldOutOptions):
    """Options of export.

    Args:
        network: A genotype, a folder that retrain or export wrote (or the run's folder), or a name.
        supernet: The folder of a run of train, its supernet.safetensors, or the name of one that ships: a genotype's
            weights come from it.
        calibration_images: Training images to take batch norm statistics from.
        onnx: Write model.onnx too, true or false; if not given, where the packages of the extra are installed.
        out: The folder to write; exported/NAME if not given.
        json: Print the result as one JSON object.
    """

    network: str = option(positional=True)
    supernet: str = ""
    calibration_images: int = option(1000, least=2)
    onnx: bool | None = None
    out: str = option("", free=True)
    json: bool = option(False, once=True)


@dataclass
class Network:
    """A network with all that its folder needs.

    Args:
        model: In eval mode on the CPU.
        model_args: What create_model needs besides name and genotype.
        data_config: timm's, where the model's own is not the one.
        classes: Names of the outputs, where the model does not know them.
        facts: Lines for the model card.
        figures: The same for programs.
        card: A model card that comes with it; empty for none.
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


def main(options: Options) -> None:
    """Find the network, write its folder and print what is in it.

    Raises:
        UserError: no such network, one without weights, a stabilizer that cannot be folded, or a folder that cannot be
            written.
    """
    log_to_stderr()
    network = inherited(options) if options.supernet else trained(options.network)
    report = write(network, Path(options.out or f"exported/{file_stem(options.network)}"), options.onnx)
    if options.json:
        print(json.dumps(report))
    else:
        _show(report)


def inherited(options: Options) -> Network:
    """A path of a supernet as a network of its own.

    Raises:
        UserError: no such supernet, the genotype is not in its space, or a stabilizer cannot be folded.
    """
    net, info = load_supernet(options.supernet)
    genotype = _genotype(options.network, net.space)
    facts = {"Weights": f"of a path of the supernet with sha256 `{info.sha256}`, {info.steps:,} squares of training"}
    figures: dict[str, Any] = {"supernet": info.sha256}
    held = HeldOut(options, info) if options.data_dir or options.dataset else None
    with one_process(options) as device:
        to_device(net, device, fast_depthwise=False)
        if held:
            batches, figures["calibration"] = held.calibration(options.calibration_images, device)
            calibrate(net, genotype, batches)
            facts["Batch norm"] = f"calibrated on {sum(len(labels) for _, labels in batches):,} training images"
        else:
            warnings.warn(
                "batch norm keeps the supernet's running statistics, which mix all paths: the network will be poor; "
                "give the images (--data-dir) to calibrate it, or retrain the genotype",
                stacklevel=2,
            )
        model = _extract(net, genotype)
        if held and held.recognised:  # no figure from images it was trained on
            figures["holdout_top1"], count = _top1(model, held.batches(device))
            facts["Top-1"] = f"{figures['holdout_top1']:.2f}% of {count:,} held-out images"
    arguments = {"in_chans": net.in_chans} if net.in_chans != 3 else {}
    model = to_device(model, torch.device("cpu"), channels_last=False, fast_depthwise=False)
    notes = record(held.split) if held and held.recognised else {}
    return Network(model, arguments, info.data_config, info.classes, facts, figures, notes=notes)


def _genotype(name: str, space: SearchSpace) -> Genotype:
    """The genotype that was asked for, in the supernet's space."""
    if is_genotype(name):
        return Genotype.parse(name, space)
    source = f"local-dir:{saved_folder(Path(name))}" if Path(name).is_dir() else name
    genotype = genotype_of(source)
    if genotype is None:
        raise UserError(f"{name} is no genotype and no network of one: give choice indices such as 2,4,1,8,...")
    if genotype.space != space:
        raise UserError(
            f"{name} is a network of space {genotype.space.name!r}, the supernet is of space {space.name!r}"
        )
    return genotype


def calibrate(net: Supernet, genotype: Genotype, batches: Batches) -> None:
    """Gives the path in the supernet the batch norm statistics that `PopulationEvaluator` scores it with."""
    trie: Trie = PopulationEvaluator(net, batches, batches).trie([genotype])
    node = trie.root
    net.stem.load_state_dict(node.module.state_dict())
    for layer, choice in enumerate(genotype):
        node = node.children[choice]
        net.choice(layer, choice).load_state_dict(node.module.state_dict())
    net.head.load_state_dict(node.children[HEAD].module.state_dict())


def _extract(net: Supernet, genotype: Genotype) -> nn.Module:
    try:
        return net.extract(genotype)
    except UserError as error:
        reason = str(error).split("; fold=False")[0]  # which is for callers from Python
        raise UserError(f"{reason}; retrain {genotype} on its own, and export that") from error


@torch.inference_mode()
def _top1(model: nn.Module, batches: Batches) -> tuple[float, int]:
    """Top-1 in percent, and over how many images."""
    hits = sum(int((model(images).argmax(1) == labels).sum()) for images, labels in batches)
    count = sum(len(labels) for _, labels in batches)
    return 100 * hits / count, count


def trained(name: str) -> Network:
    """A network that has weights: a folder's, or a name's.

    Raises:
        UserError: there is none, or it has no weights here.
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
    """The exported folder that a folder is, or the only one that a run in it has.

    Raises:
        UserError: there is none, or there are several.
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
    """Writes the folder, whole or not at all. Returns what is in it.

    Raises:
        UserError: it cannot be written or holds other files, or the ONNX is not to be had.
    """
    model = network.model
    size = int((network.data_config or resolve_model_data_config(model))["input_size"][-1])
    genotype = getattr(model, "genotype", None)
    figures = dict(network.figures)
    facts = dict(network.facts)
    more: dict[str, bytes] = {}
    if onnx is None and (onnx := not missing_packages()) is False:
        _logger.info("no %s: pip install 'scarlet-models[export]' for it", ONNX)
    if onnx:
        more[ONNX], figures["onnx_difference"] = _onnx(model, size)
        shape = f"(N, {in_channels(model)}, {size}, {size})"
        facts["ONNX"] = f"`{ONNX}`: input `pixels` {shape}, normalised; output `logits`"
    text = network.card or _card(network, facts)
    more[CARD] = text.encode()
    saving.save(model, folder, network.model_args, network.data_config, network.classes, more=more, notes=network.notes)
    cost = {} if genotype is None else vars(genotype.cost(size, model.num_classes))
    return {
        "folder": str(folder),
        "genotype": None if genotype is None else str(genotype),
        "space": None if genotype is None else genotype.space.name,
        "input_size": size,
        "num_classes": model.num_classes,
        **cost,
        **figures,
        "files": {path.name: path.stat().st_size for path in sorted(folder.iterdir())},
    }


def _onnx(model: nn.Module, size: int) -> tuple[bytes, float]:
    batches = sample_batches(in_channels(model), size)
    return onnx_bytes(export_program(model, batches[-1]), model, batches)


def _card(network: Network, facts: dict[str, str]) -> str:
    """A card of the network as it will be saved: with its data config and classes."""
    model, before = network.model, network.model.pretrained_cfg
    try:
        model.pretrained_cfg = {**before, **(network.data_config or {})}
        return card(model, "local-dir:PATH/TO/THIS/FOLDER", facts)
    finally:
        model.pretrained_cfg = before


def _show(report: dict[str, Any]) -> None:
    from scarlet_models.terminal import console, short, table

    out, about = (
        console(),
        {
            saving.CONFIG: "architecture, classes and transform",
            saving.WEIGHTS: "weights",
            CARD: "model card",
            ONNX: f"checked: differs by {report.get('onnx_difference', 0):.0e} of the largest output",
        },
    )
    if report["genotype"]:
        out.print(f"network   {report['genotype']}  (space {report['space']})")
        out.print(
            f"          {short(report['macs'])} MACs, {short(report['params'])} params, {report['input_size']} px"
        )
    for key, what in (("holdout_top1", "held-out"), ("test_top1", "test")):
        if key in report:
            out.print(f"top-1     {report[key]:.2f}% of the {what} images")
    shown = table("file", ">MB", "what")
    for name, size in report["files"].items():
        shown.add_row(name, f"{size / 1e6:.2f}", about[name])
    out.print("")
    out.print(shown)
    out.print(f'\ntimm.create_model("local-dir:{report["folder"]}", pretrained=True)')
