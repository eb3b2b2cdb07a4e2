"""A network as a torch.export program and as ONNX, each checked against the network before it is a file."""

from __future__ import annotations

import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from scarlet_models.errors import UserError, first_line
from scarlet_models.installation import how_to_add

TOLERANCE = 1e-4  # share of the largest output: no more than another order of summation makes


def export_program(model: nn.Module, batch: Tensor) -> ExportedProgram:
    """The torch.export program of a model in eval mode: for batches of any size, of images as large as the batch's.

    The batch must hold at least two images.
    """
    try:
        return torch.export.export(model, (batch,), dynamic_shapes=({0: Dim("batch")},))
    except Exception as error:  # torch.export has no common base class for what it raises
        raise UserError(f"torch cannot export this network: {first_line(error)}") from error


def program_bytes(program: ExportedProgram, model: nn.Module, batches: Sequence[Tensor]) -> tuple[bytes, float]:
    """The content of a .pt2 file, and how much the program loaded from it differs from the model."""
    file = io.BytesIO()
    torch.export.save(program, file)
    loaded = torch.export.load(io.BytesIO(file.getvalue())).module()
    return file.getvalue(), largest_difference(model, loaded, batches)


def sample_batches(channels: int, size: int) -> list[Tensor]:
    """Batches of one and of three random images, to compare an exported network with the model."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(count, channels, size, size, generator=generator) for count in (1, 3)]


def missing_packages() -> list[str]:
    """Names of the packages that ONNX needs and that are not installed."""
    return [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]


def onnx_bytes(program: ExportedProgram, model: nn.Module, batches: Sequence[Tensor]) -> tuple[bytes, float]:
    """The content of an .onnx file (input "pixels", output "logits"), and how much it differs from the model."""
    if missing := missing_packages():
        raise UserError(f"ONNX needs {' and '.join(missing)}: {how_to_add('export')}")
    import onnxruntime

    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about torch's own opset versions
            onnx = torch.onnx.export(
                program,
                dynamo=True,
                input_names=["pixels"],
                output_names=["logits"],
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise UserError(f"torch cannot write this network as ONNX: {first_line(error)}") from error
    if onnx is None:
        raise UserError("torch wrote no ONNX")
    data = onnx.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return data, largest_difference(
        model, lambda batch: torch.from_numpy(session.run(["logits"], {"pixels": batch.numpy()})[0]), batches
    )


@torch.no_grad()
def largest_difference(
    model: Callable[[Tensor], Tensor], other: Callable[[Tensor], Tensor], batches: Sequence[Tensor]
) -> float:
    """The largest difference between two networks' outputs, as a share of the largest output.

    Raises:
        UserError: The difference is above TOLERANCE.
    """
    pairs = [(model(batch), other(batch)) for batch in batches]
    difference = max(float((ours - theirs).abs().max() / ours.abs().max()) for ours, theirs in pairs)
    if not difference <= TOLERANCE:  # not >, for NaN
        raise UserError(f"the exported program differs from the network by {difference:.1e} of its largest output")
    return difference
