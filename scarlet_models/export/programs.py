"""A network as the file of another runtime, with a call that runs that file in its runtime."""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from scarlet_models.errors import UserError, first_line
from scarlet_models.installation import how_to_add

from .options import PACKAGES

ABOUT = "about"  # where each file keeps labels, mean, std, input size and genotype, as JSON
TOLERANCE = 1e-4  # share of the largest output: no more than another order of summation makes

Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Exported:
    """The content of a file, and a call that runs it on images (N, C, H, W) in its own runtime."""

    data: bytes
    run: Run


def missing_packages(kind: str) -> list[str]:
    """Names of the packages that a format needs and that are not installed."""
    return [name for name in PACKAGES.get(kind, ("", ()))[1] if importlib.util.find_spec(name) is None]


def need_packages(kind: str) -> None:
    """Refuse a format whose packages are not installed."""
    if missing := missing_packages(kind):
        raise UserError(f"{kind} needs {' and '.join(missing)}: {how_to_add(PACKAGES[kind][0])}")


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
        from .pte import pte_file

        return pte_file(model, images, facts, calibration if int8 else None, keep, threads)
    program = export_program(model, images if len(images) > 1 else images.repeat(2, *[1] * (images.dim() - 1)))
    if kind == "pt2":
        return _pt2_file(program, facts)
    from .onnx_files import onnx_file, quantized

    file = onnx_file(program, facts, threads)
    return quantized(file.data, calibration, keep, threads) if int8 and calibration is not None else file


def export_program(model: nn.Module, batch: Tensor) -> ExportedProgram:
    """The torch.export program of a model in eval mode: for batches of any size, of images as large as the batch's.

    The batch must hold at least two images.
    """
    return traced(model, batch, ({0: Dim("batch")},))


def traced(model: nn.Module, batch: Tensor, dynamic_shapes: Any = None) -> ExportedProgram:
    """What torch.export makes of a model, for batches of this shape where `dynamic_shapes` says nothing else."""
    try:
        return torch.export.export(model, (batch,), dynamic_shapes=dynamic_shapes)
    except Exception as error:  # torch.export has no common base class for what it raises
        raise UserError(f"torch cannot export this network: {first_line(error)}") from error


def _pt2_file(program: ExportedProgram, facts: str) -> Exported:
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={ABOUT: facts})
    return Exported(file.getvalue(), torch.export.load(io.BytesIO(file.getvalue())).module())


def sample_images(channels: int, size: int, count: int = 3) -> Tensor:
    """Random images, to compare an exported network with the model."""
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def largest_difference(model: Run, other: Run, images: Tensor, exact: bool = True) -> float:
    """The largest difference between two networks' outputs, as a share of the largest output.

    Raises:
        UserError: It is no number or, if the two should be exactly alike, above TOLERANCE.
    """
    pairs = [(model(batch), other(batch)) for batch in (images[:1], images)]
    difference = max(float((ours - theirs).abs().max() / ours.abs().max()) for ours, theirs in pairs)
    if not difference <= (TOLERANCE if exact else float("inf")):  # not >, for NaN
        raise UserError(f"the exported program differs from the network by {difference:.1e} of its largest output")
    return difference


@contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """A block without the warnings that exporters print about themselves."""
    levels = {logger: logger.level for logger in map(logging.getLogger, loggers)}
    for logger in levels:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
