"""A network as the file of another runtime: ONNX, torch.export and ExecuTorch (XNNPACK), in fp32 and in int8.

int8 is static: weights per output channel, activations per tensor. ONNX has it as QuantizeLinear and DequantizeLinear
nodes (QDQ). ExecuTorch's files take batches of the size that they were made for, as XNNPACK is slower where sizes are
open.
"""

import io
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from scarlet_models.errors import UserError, as_user_error

from .options import need_packages

ABOUT = "about"  # where each file keeps labels, mean, std, input size and genotype, as JSON
_PART = 32  # images that go through the network at a time, to find the ranges of activations

Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Exported:
    """The content of a file, and a call that runs it on images (N, C, H, W) in its own runtime."""

    data: bytes
    run: Run


def export(
    kind: str,
    model: nn.Module,
    images: Tensor,
    *,
    about: dict[str, Any] | None = None,
    calibration: Tensor | None = None,
    keep: Sequence[str] = (),
    threads: int = 1,
) -> Exported:
    """A model in eval mode on the CPU as a file; a UserError says that a package is missing or torch cannot export it.

    Args:
        kind: A format, such as "onnx-int8".
        model: Any network of one input and one output; it is not changed.
        images: Images (N, C, H, W) of the size that the file takes; ExecuTorch's also takes just N at a time.
        about: Facts for the file's metadata.
        calibration: Images to find the ranges of int8 activations on.
        keep: Modules of the network, such as blocks.3.1, that an int8 file computes in fp32.
        threads: CPU threads of the runtime; 0 leaves its own choice.
    """
    need_packages(kind)
    int8, facts = kind.endswith("int8"), json.dumps(about) if about else ""
    if int8 and calibration is None:
        raise UserError(f"{kind} needs images to calibrate on")
    if kind.startswith("executorch"):
        return pte_file(model, images, facts, calibration if int8 else None, keep, threads)
    batch = images if len(images) > 1 else torch.cat([images, images])  # torch takes a batch of one for its only size
    program = traced(model, batch, ({0: Dim("batch")},))
    if kind == "pt2":
        content = io.BytesIO()
        torch.export.save(program, content, extra_files={ABOUT: facts})
        return Exported(content.getvalue(), torch.export.load(io.BytesIO(content.getvalue())).module())
    file = onnx_file(program, facts, threads)
    return quantized(file.data, calibration, keep, threads) if int8 and calibration is not None else file


def traced(model: nn.Module, batch: Tensor, dynamic_shapes: Any = None) -> ExportedProgram:
    """What torch.export makes of a model, for batches of this shape where `dynamic_shapes` says nothing else."""
    with as_user_error("torch cannot export this network", Exception):  # what it raises has no common base class
        return torch.export.export(model, (batch,), dynamic_shapes=dynamic_shapes)


@contextmanager
def quiet() -> Iterator[None]:
    """A block without the warnings that exporters print about themselves."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def onnx_file(program: ExportedProgram, facts: str, threads: int) -> Exported:
    """The content of an .onnx file: input "pixels", output "logits"."""
    with as_user_error("torch cannot write this network as ONNX", torch.onnx.OnnxExporterError), quiet():
        written: Any = torch.onnx.export(
            program,
            dynamo=True,
            input_names=["pixels"],
            output_names=["logits"],
            external_data=False,
            verbose=False,
        )
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
    with tempfile.TemporaryDirectory() as folder, quiet():
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


def pte_file(
    model: nn.Module, images: Tensor, facts: str, calibration: Tensor | None, keep: Sequence[str], threads: int
) -> Exported:
    """The content of a .pte file; int8 with calibration images. Its method "forward" gives the outputs of images."""
    with quiet():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        program = traced(model, images)
        if calibration is not None:
            program = traced(_quantized(program.module(), calibration, len(images), keep), images)
        with as_user_error("ExecuTorch cannot take this network", Exception):  # what it raises has no common base class
            lowered = to_edge_transform_and_lower(
                program, partitioner=[XnnpackPartitioner()], constant_methods={ABOUT: facts} if facts else None
            )
            data = bytes(lowered.to_executorch().buffer)
    return Exported(data, run_pte(data, len(images), threads))


def _quantized(model: nn.Module, calibration: Tensor, batch_size: int, keep: Sequence[str]) -> nn.Module:
    """torchao's PT2E quantization of a program's module."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    quantizer.set_filter_function(
        lambda node: not any(is_kept(path, keep) for path, _ in node.meta.get("nn_module_stack", {}).values())
    )
    prepared = prepare_pt2e(model, quantizer)
    with torch.no_grad():
        for part in calibration[: len(calibration) // batch_size * batch_size].split(batch_size):
            prepared(part)
    return convert_pt2e(prepared)


def run_pte(data: bytes, batch_size: int, threads: int) -> Run:
    """A call that runs a program on images, as many at a time as it was made for."""
    with quiet():
        from executorch.extension.pybindings.portable_lib import _threadpool_get_thread_count, _unsafe_reset_threadpool
        from executorch.runtime import Runtime

    if threads and threads != _threadpool_get_thread_count():  # one pool for all programs of the process
        _unsafe_reset_threadpool(threads)
    program = Runtime.get().load_program(data)

    def run(images: Tensor) -> Tensor:
        method = program.load_method("forward")  # the program keeps it, and must itself be kept as long as it runs
        assert method is not None
        parts = [method.execute((part.contiguous(),))[0] for part in images.split(batch_size)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    return run
