"""Write a network as an ONNX model and as a torch.export program, each checked against the network itself.

Both take batches of any size. For the check, onnxruntime runs the ONNX model and torch the program on random images, in
batches of one and of three. A file whose outputs differ from the network's is not written.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scarlet_models.errors import UserError
from scarlet_models.options import NetworkOptions, option

EXAMPLE = """  scarlet-models export scarlet_a.c10
  scarlet-models export local-dir:runs/a/exported/a --formats [onnx] --out models
  scarlet-models export 0,1,2,3,0 --space mini --no-pretrained"""


@dataclass
class Options(NetworkOptions):
    """Options of export.

    Args:
        pretrained: Load weights; --no-pretrained leaves them random.
        formats: onnx for MODEL.onnx, program for MODEL.pt2.
        out: Folder for the files.
    """

    pretrained: bool = True
    formats: list[Literal["onnx", "program"]] = option(["onnx", "program"])
    out: str = option(".", free=True)


def main(options: Options) -> None:
    """Write the files, and print for each how much its outputs differ from the network's."""
    from scarlet_models.export.programs import export_program, onnx_bytes, program_bytes, sample_batches
    from scarlet_models.files import write_bytes
    from scarlet_models.networks import create, file_stem, image_size

    if not options.formats:
        raise UserError("--formats: the list is empty; name onnx, program or both")
    model: Any = create(options.model, options.space, options.pretrained, exportable=True).eval()
    channels, size = model.pretrained_cfg["input_size"][0], options.input_size or image_size(model)
    batches = sample_batches(channels, size)
    program = export_program(model, batches[-1])
    for kind in options.formats:
        convert, suffix = (onnx_bytes, ".onnx") if kind == "onnx" else (program_bytes, ".pt2")
        data, difference = convert(program, model, batches)
        path = Path(options.out) / (file_stem(options.model) + suffix)
        write_bytes(path, data)
        print(f"{path}  {len(data) / 1e6:.1f} MB, checked: differs by {difference:.0e} of the largest output")
