"""Detectors as ONNX files with their post-processing: an image goes in, boxes, scores and labels come out."""

import io
import json
from typing import Any

import torch
from torch import Tensor, nn

from scarlet_models.detection.detector import Detector
from scarlet_models.errors import UserError, as_user_error

from .formats import ABOUT, onnx_session, quiet

OUTPUTS = ("boxes", "scores", "labels")
_OPSET = 17
_TOLERANCE = 1e-3  # share of the image's longer side, for boxes; of 1, for scores
_SHARE = 0.95  # of the boxes must be alike: boxes of nearly the same score may suppress each other in either order


class _OneImage(nn.Sequential):
    """The detector for one image (3, H, W) in [0, 1], as `Detector.prepare` gives it."""

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        found = self[0]([image])[0]
        return tuple(found[name] for name in OUTPUTS)


@torch.no_grad()
def detector_file(detector: Detector, threads: int) -> tuple[bytes, float]:
    """The content of an .onnx file of input "image", and the largest difference of a box in pixels.

    torch's older exporter traces it, as torch.export cannot follow how torchvision's detectors choose boxes. A
    UserError says that torch cannot write it, or that onnxruntime finds other boxes than PyTorch.
    """
    import onnx

    model, file = _OneImage(detector.model).eval(), io.BytesIO()
    first, second = _samples(detector)
    axes: dict[str, Any] = {"image": {1: "height", 2: "width"}, **{name: {0: "found"} for name in OUTPUTS}}
    if detector.config["detector"] == "ssdlite":
        del axes["image"]
    # The exporter has no common base class for what it raises.
    with as_user_error("torch cannot write this detector as ONNX", Exception), quiet():
        torch.onnx.export(
            model,
            (first,),
            file,  # type: ignore[arg-type]  # the older exporter takes files
            dynamo=False,
            opset_version=_OPSET,
            input_names=["image"],
            output_names=list(OUTPUTS),
            dynamic_axes=axes,
        )
    content = onnx.load_from_string(file.getvalue())
    about = {key: detector.config[key] for key in ("detector", "short_side", "long_side", "network")}
    labels = [category["name"] for category in detector.categories]
    content.metadata_props.add(key=ABOUT, value=json.dumps({**about, "labels": labels}))
    session = onnx_session(data := content.SerializeToString(), threads)
    worst = max(_compare(model(image), session.run(None, {"image": image.numpy()}), image) for image in (first, second))
    return data, worst


def _samples(detector: Detector) -> list[Tensor]:
    """Two random images as the detector sees them; where it takes any shape, of two shapes."""
    short, long = detector.config["short_side"], detector.config["long_side"]
    generator = torch.Generator().manual_seed(0)
    other = (short, short) if detector.config["detector"] == "ssdlite" else (min(long, short * 4 // 3), short)
    return [torch.rand(3, *shape, generator=generator) for shape in ((short, other[0]), other)]


def _compare(ours: tuple[Tensor, ...], theirs: list[Any], image: Tensor) -> float:
    """The largest difference of a box in pixels, among boxes that both found.

    A UserError if one found more boxes that the other did not than suppression may keep where scores nearly tie.
    """
    boxes, scores, labels = (torch.from_numpy(found) for found in theirs)
    if not max(len(boxes), len(ours[0])):
        return 0.0
    gaps = (ours[0][:, None] - boxes[None]).abs().amax(2)
    same = (ours[2][:, None] == labels) & ((ours[1][:, None] - scores).abs() <= _TOLERANCE)
    same &= gaps <= _TOLERANCE * max(image.shape)
    found = min(float(same.any(axis).sum()) for axis in (0, 1)) / max(len(boxes), len(ours[0]))
    if not found >= _SHARE:
        raise UserError(f"onnxruntime and PyTorch agree on {found:.0%} of the boxes of an image, not on {_SHARE:.0%}")
    return float(torch.where(same, gaps, torch.inf).amin(1).nan_to_num(posinf=0).max())
