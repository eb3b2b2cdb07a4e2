"""What all formats share: tracing a network, and a file with its call."""

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
