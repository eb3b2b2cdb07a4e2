"""ONNX files, in fp32 and in int8, run by onnxruntime.

int8 is static: weights per output channel, activations per tensor, as QuantizeLinear and DequantizeLinear nodes (QDQ).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
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
            written: Any = torch.onnx.export(
                program,
                dynamo=True,
                input_names=["pixels"],
                output_names=["logits"],
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise UserError(f"torch cannot write this network as ONNX: {first_line(error)}") from error
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


def onnx_session(data: bytes, threads: int) -> Any:
    """A session of onnxruntime on the CPU."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(data, settings, providers=["CPUExecutionProvider"])


def run_onnx(data: bytes, threads: int) -> Run:
    """A call that runs an ONNX model of one input and one output."""
    session = onnx_session(data, threads)
    return lambda images: torch.from_numpy(session.run(None, {"pixels": images.numpy()})[0])


def quantized(data: bytes, calibration: Tensor, keep: Sequence[str], threads: int) -> Exported:
    """The int8 version of an `onnx_file`; arguments are as for `export`."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_static

    model = onnx.load_from_string(data)
    parts = ({"pixels": part.numpy()} for part in calibration.split(_PART))
    reader: Any = SimpleNamespace(get_next=lambda: next(parts, None))
    kept = [node.name for node in model.graph.node if is_kept(node.name.partition(":")[0], keep)]
    with tempfile.TemporaryDirectory() as folder, quiet("root"):
        path = Path(folder) / "int8.onnx"
        quantize_static(
            model,
            path,
            reader,
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


def sensitivity(data: bytes, images: Tensor) -> dict[str, float]:
    """The error of the logits when one block alone is int8, by block: root mean square, over that of the logits.

    The images are those to calibrate on, and to compare on.
    """
    import onnx

    modules = [node.name.partition(":")[0] for node in onnx.load_from_string(data).graph.node]
    blocks = list(dict.fromkeys(".".join(module.split(".")[:3]) for module in modules if module))
    exact, errors = run_onnx(data, 0)(images), {}
    for block in blocks:
        given = quantized(data, images, [other for other in blocks if other != block], 0).run(images)
        errors[block] = float((given - exact).square().mean().sqrt() / exact.square().mean().sqrt())
    return errors
