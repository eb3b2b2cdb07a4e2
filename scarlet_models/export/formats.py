"""A network as the file of another runtime."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from scarlet_models.errors import UserError

from .onnx_files import onnx_file, quantized
from .options import need_packages
from .programs import ABOUT, Exported, traced
from .pte import pte_file


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
    """A model in eval mode on the CPU as a file.

    Args:
        kind: A format, such as "onnx-int8".
        model: Any network of one input and one output; it is not changed.
        images: Images (N, C, H, W) of the size that the file takes; ExecuTorch's also takes just N at a time.
        about: Facts for the file's metadata.
        calibration: Images to find the ranges of int8 activations on.
        keep: Modules of the network, such as blocks.3.1, that an int8 file computes in fp32.
        threads: CPU threads of the runtime; 0 leaves its own choice.

    Raises:
        UserError: A package is missing, or the network cannot be exported.
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
