"""Export a network to a folder for timm: config.json, model.safetensors and a model card.

The network is a genotype with weights inherited from a supernet (--supernet), a folder that retrain wrote, or the name
of a network that has weights. Give the supernet's images (--data-dir) to recalibrate batch norm for the path on
training images and to score the network on held-out ones; stabilizers are folded. Give --latency-table to time the
network as the table's blocks were timed, beside the table's prediction. timm.create_model("local-dir:FOLDER",
pretrained=True) loads the folder, scarlet-models publish pushes it, and scarlet-models export makes ONNX, ExecuTorch
and int8 files of it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scarlet_models.options import option
from scarlet_models.parsing import next_line
from scarlet_models.search.scoring.options import HeldOutOptions
from scarlet_models.terminal import console, output, short, table

EXAMPLE = """  scarlet-search export runs/a --out models/a
  scarlet-search export 0,1,2,3,0 --supernet runs/mini --data-dir images --out models/best
  scarlet-search export scarlet_c.tiny_in --out models/c"""


@dataclass(kw_only=True)
class Options(HeldOutOptions):
    """Options of export.

    Args:
        network: A genotype, a folder that retrain or export wrote (or the run's folder), or a model's name.
        supernet: Folder of a training run, its supernet.safetensors, or the name of a supernet that ships: the
            genotype's weights come from it.
        calibration_images: Training images to recalibrate batch norm on.
        latency_table: table.json of scarlet-search latency, or its folder; nothing is timed if it is of another device.
        out: Folder to write; empty for exported/NAME.
    """

    network: str = option(positional=True)
    supernet: str = ""
    calibration_images: int = option(1000, least=2)
    latency_table: str = ""
    out: str = option("", free=True)


def main(options: Options) -> None:
    from scarlet_models.networks import file_stem
    from scarlet_models.search.retraining.export import inherited, time_beside, trained, write

    if options.supernet:
        network = inherited(options.network, options.supernet, options, options.calibration_images)
    else:
        network = trained(options.network)
    if options.latency_table:
        time_beside(network, options.latency_table)
    report = write(network, Path(options.out or f"exported/{file_stem(options.network)}"))
    output(report, options.json, _show)


def _show(report: dict[str, Any]) -> None:
    about = {
        "config.json": "architecture, classes and transform",
        "model.safetensors": "weights",
        "trained_images.npy": "hashes of the images that it was trained on",
        "README.md": "model card",
        "latency.json": "latency by the table, and measured",
    }
    if report["genotype"]:
        print(f"network   {report['genotype']}  (space {report['space']})")
        print(f"          {short(report['macs'])} MACs, {short(report['params'])} params, {report['input_size']} px")
    for key, what in (("holdout_top1", "held-out"), ("test_top1", "test")):
        if key in report:
            print(f"top-1     {report[key]:.2f}% of the {what} images")
    if latency := report.get("latency"):
        measured = latency["measured"]
        said = "not timed on this device" if measured is None else f"{measured:.2f} ms measured"
        print(f"latency   {latency['predicted']:.2f} ms by the table, {said}")
    rows = [(name, f"{size / 1e6:.2f}", about[name]) for name, size in report["files"].items()]
    print()
    console().print(table("file", ">MB", "what", rows=rows))
    source = f"local-dir:{report['folder']}"
    print(f'\ntimm.create_model("{source}", pretrained=True)')
    print(next_line("scarlet-models", "classify", "IMAGES", "--model", source))
