"""Write a network as files for other runtimes, and check each in its own runtime before it is written.

Formats: onnx and onnx-int8 (onnxruntime), pt2 (torch.export), executorch and executorch-int8 (.pte for phones, with
XNNPACK). onnx and pt2 take batches of any size, .pte files one image. Detectors become ONNX with their post-processing.

The table compares each file with the network in PyTorch: logits, size, and latency in one interleaved run. Give
--data-dir for top-1, and --max-drop to refuse files that lose too much. scarlet-search export writes the network itself
as a folder for timm, from a supernet too; this command takes that folder.
"""

from dataclasses import asdict
from typing import TYPE_CHECKING

from scarlet_models.export.options import ExportOptions as Options
from scarlet_models.terminal import console, output, table

if TYPE_CHECKING:
    from scarlet_models.export.network import Result

EXAMPLE = """  scarlet-models export scarlet_a.tiny_in
  scarlet-models export runs/mine/exported/mine --format onnx-int8,executorch-int8 --calibration my_images/train \\
      --data-dir my_images --max-drop 1.0 --out models
  scarlet-models export 0,1,2,3,0 --space mini --no-pretrained --format pt2"""


def main(options: Options) -> None:
    from scarlet_models.export.network import export_network

    result = export_network(options)
    output(asdict(result), options.json, lambda _: _show(result))


def _show(result: "Result") -> None:
    for path, gap in result.boxes.items():
        print(f"{path}  checked: boxes differ by at most {gap:.1e} px from PyTorch's")
    if not result.files:
        return
    scored = any(check.images for check in result.files.values())
    top1 = (">top-1 %", ">PyTorch's", ">difference [95% CI]") if scored else ()
    shown = table("file", *top1, ">largest logit difference", ">MB", ">ms", ">/ PyTorch")
    for path, check in result.files.items():
        cells = []
        if check.top1 is not None and check.drop_ci is not None:
            low, high = (sign * check.drop_ci - check.drop for sign in (-1, 1))
            cells = [f"{check.top1:.2f}", f"{check.top1_fp32:.2f}", f"{0 - check.drop:+.2f} [{low:+.2f}, {high:+.2f}]"]
        cells += [f"{check.difference:.1e}", f"{check.size / 1e6:.2f}", f"{check.ms:.2f}", f"{check.ms_ratio:.2f}"]
        shown.add_row(path, *cells)
    console().print(shown, markup=False)
    if result.left_out:
        print(f"{result.left_out} calibration images left out: they make an activation far larger than others do")
    for block, error in result.sensitivity.items():
        print(f"int8 in {block} alone: logits differ by {100 * error:.2f}% (root mean square)")
