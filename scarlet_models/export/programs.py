"""What all formats share: tracing a network, the file with its call, and comparing the two."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from scarlet_models.errors import UserError, first_line

ABOUT = "about"  # where each file keeps labels, mean, std, input size and genotype, as JSON
TOLERANCE = 1e-4  # share of the largest output: no more than another order of summation makes

Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Exported:
    """The content of a file, and a call that runs it on images (N, C, H, W) in its own runtime."""

    data: bytes
    run: Run


def traced(model: nn.Module, batch: Tensor, dynamic_shapes: Any = None) -> ExportedProgram:
    """What torch.export makes of a model, for batches of this shape where `dynamic_shapes` says nothing else."""
    try:
        return torch.export.export(model, (batch,), dynamic_shapes=dynamic_shapes)
    except Exception as error:  # torch.export has no common base class for what it raises
        raise UserError(f"torch cannot export this network: {first_line(error)}") from error


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
