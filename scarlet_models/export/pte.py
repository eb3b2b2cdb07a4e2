"""ExecuTorch files for its XNNPACK backend, in fp32 and in int8, run by ExecuTorch's own runtime.

They take batches of the size that they were made for, as XNNPACK is slower where sizes are open. int8 is static:
weights per output channel, activations per tensor.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from scarlet_models.errors import UserError, first_line

from .programs import ABOUT, Exported, Run, quiet, traced


def pte_file(
    model: nn.Module, images: Tensor, facts: str, calibration: Tensor | None, keep: Sequence[str], threads: int
) -> Exported:
    """The content of a .pte file; int8 with calibration images. Its method "forward" gives the outputs of images."""
    with quiet("root", "executorch", "torchao"):
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        program = traced(model, images)
        if calibration is not None:
            program = traced(_quantized(program.module(), calibration, len(images), keep), images)
        try:
            lowered = to_edge_transform_and_lower(
                program, partitioner=[XnnpackPartitioner()], constant_methods={ABOUT: facts} if facts else None
            )
            data = bytes(lowered.to_executorch().buffer)
        except Exception as error:  # ExecuTorch has no common base class for what it raises
            raise UserError(f"ExecuTorch cannot take this network: {first_line(error)}") from error
    return Exported(data, run_pte(data, len(images), threads))


def _quantized(model: nn.Module, calibration: Tensor, batch_size: int, keep: Sequence[str]) -> nn.Module:
    """torchao's PT2E quantization of a program's module."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    for name in keep:
        quantizer.set_module_name(name, None)
    prepared = prepare_pt2e(model, quantizer)
    with torch.no_grad():
        for part in calibration[: len(calibration) // batch_size * batch_size].split(batch_size):
            prepared(part)
    return convert_pt2e(prepared)


def run_pte(data: bytes, batch_size: int, threads: int) -> Run:
    """A call that runs a program on images, as many at a time as it was made for."""
    with quiet("root"):
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
