"""What may be in a file of weights: plain tensors of the expected names and shapes, all finite."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

# Complex, quantized and 8-bit numbers, which float32 does not simply take, are refused.
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int32, torch.int64)


def mismatch(tensors: Mapping[str, Tensor], expected: Mapping[str, torch.Size]) -> str:
    """How tensors differ from the expected keys and shapes; empty if they do not and all are finite as float32."""
    missing, extra = expected.keys() - tensors.keys(), tensors.keys() - expected.keys()
    for keys, what in (missing, "is missing"), (extra, "is too much"):
        if keys:
            return f"{min(keys)} {what}" + (f", and {len(keys) - 1} more" if len(keys) > 1 else "")
    for key, shape in expected.items():
        tensor = tensors[key]
        if tensor.dtype not in _DTYPES or tensor.layout != torch.strided or tensor.is_meta:
            return f"{key} is no plain tensor of numbers"
        if tensor.shape != shape:
            return f"{key} has shape {tuple(tensor.shape)}, not {tuple(shape)}"
    return not_finite(tensors)


def not_finite(tensors: Mapping[str, Tensor]) -> str:
    """Which tensor holds NaN or infinity, or would as float32; empty if none does."""
    wrong = (key for key, tensor in tensors.items() if not tensor.float().isfinite().all())
    return next((f"{key} is not finite in float32" for key in wrong), "")
