"""ONNX files, in fp32 and in int8, run by onnxruntime.

int8 is static: weights per output channel, activations per tensor, as QuantizeLinear and DequantizeLinear nodes (QDQ).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from scarlet_models.errors import UserError, first_line

from .programs import ABOUT, Exported, Run, quiet

_PART = 32  # images that go through the network at a time, to find the ranges of activations


def onnx_file(program: ExportedProgram, facts: str, threads: int) -> Exported:
    """The content of an .onnx file: input "pixels", output "logits"."""
    try:
        with quiet("torch.onnx", "onnxscript", "onnx_ir"):
            written = torch.onnx.export(
                program,
                dynamo=True,
                input_names=["pixels"],
                output_names=["logits"],
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise UserError(f"torch cannot write this network as ONNX: {first_line(error)}") from error
    if written is None:
        raise UserError("torch wrote no ONNX")
    model = written.model_proto
    for node in model.graph.node:
        node.name = f"{_module_of(node)}:{node.name}"
        del node.metadata_props[:]  # places in this machine's files, in each node
    if facts:
        model.metadata_props.add(key=ABOUT, value=facts)
    return Exported(data := model.SerializeToString(), run_onnx(data, threads))


def _module_of(node: Any) -> str:
    """The module of the network that a node is of, such as blocks.3.1.conv_pw; empty if that is not on record.

    The weight tells it, as a convolution into which a batch norm was folded has the norm's scope.
    """
    if weight := next((name for name in node.input if name.endswith(".weight")), ""):
        return weight.removesuffix(".weight")
    scopes = next((entry.value for entry in node.metadata_props if entry.key == "pkg.torch.onnx.name_scopes"), "[]")
    names = [name.strip(" '\"") for name in scopes.strip("[]").split(",")]
    return names[-2] if len(names) > 1 else ""  # the last is the operator's


def run_onnx(data: bytes, threads: int) -> Run:
    """A call that runs an ONNX model of one input and one output."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session: Any = onnxruntime.InferenceSession(data, settings, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"pixels": images.numpy()})[0])


def quantized(data: bytes, calibration: Tensor, keep: Sequence[str], threads: int) -> Exported:
    """The int8 version of an ONNX model.

    Args:
        data: Content of `onnx_file`.
        calibration: Images to find the ranges of activations on.
        keep: Modules that stay fp32.
        threads: Of onnxruntime when the file runs.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_static

    model = onnx.load_from_string(data)
    kept = [node.name for node in model.graph.node if is_kept(node.name.partition(":")[0], keep)]
    with tempfile.TemporaryDirectory() as folder, quiet("root"):
        path = Path(folder) / "int8.onnx"
        quantize_static(
            model,
            path,
            _Reader(calibration),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=kept,
        )
        content = path.read_bytes()
    return Exported(content, run_onnx(content, threads))


def is_kept(module: str, keep: Sequence[str]) -> bool:
    """Whether a module is one of these or in one."""
    return any(f"{module}.".startswith(f"{name}.") for name in keep)


class _Reader:
    """Gives calibration images in parts, as onnxruntime asks for them."""

    def __init__(self, images: Tensor) -> None:
        self.parts = iter(images.split(_PART))

    def get_next(self) -> dict[str, Any] | None:
        part = next(self.parts, None)
        return None if part is None else {"pixels": part.numpy()}


def sensitivity(data: bytes, images: Tensor) -> dict[str, float]:
    """The error of the logits when one block alone is int8, by block: root mean square, over that of the logits.

    Args:
        data: Content of `onnx_file`.
        images: Images to calibrate on, and to compare on.
    """
    import onnx

    modules = [node.name.partition(":")[0] for node in onnx.load_from_string(data).graph.node]
    blocks = list(dict.fromkeys(".".join(module.split(".")[:3]) for module in modules if module))
    exact = run_onnx(data, 0)(images)
    errors = {}
    for block in blocks:
        others = [other for other in blocks if other != block]
        given = quantized(data, images, others, 0).run(images)
        errors[block] = float((given - exact).square().mean().sqrt() / exact.square().mean().sqrt())
    return errors
