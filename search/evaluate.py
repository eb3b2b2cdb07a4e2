"""Accuracy of a supernet's paths, one path after another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from scarlet_models.space import Genotype

from .memo import Score
from .supernet import Supernet

Batches = Sequence[tuple[Tensor, Tensor]]  # images (N, channels, H, W), labels (N,), on the supernet's device


def evaluate(
    net: Supernet, genotypes: Iterable[Genotype], batches: Batches, calibration: Batches = ()
) -> Iterator[Score]:
    """The score of each genotype's path, in order. The supernet's weights and buffers stay as they are.

    Args:
        net: The supernet; it is left in eval mode.
        genotypes: What to score.
        batches: Held-out pictures.
        calibration: Pictures that batch norm's statistics are taken anew from for each path; none keeps the running
            ones, which mix all paths.
    """
    net.eval()
    for genotype in genotypes:
        with torch.no_grad(), calibrated(net, genotype, calibration) if calibration else nullcontext():
            hits, loss = 0, 0.0
            for images, labels in batches:
                logits = net(images, genotype)
                hits += int((logits.argmax(1) == labels).sum())
                loss += float(cross_entropy(logits, labels, reduction="sum"))
        pictures = sum(len(labels) for _, labels in batches)
        yield Score(100 * hits / pictures, loss / pictures, pictures)


@contextmanager
def calibrated(net: Supernet, genotype: Genotype, batches: Batches) -> Iterator[None]:
    """Gives the batch norms of a path the statistics of these batches: the mean over them, each weighing alike.

    This is what torch's own batch norm gathers with `momentum=None` while everything else is in eval mode. Afterwards
    the statistics are as before.
    """
    path = [net.stem, *(net.choice(layer, index) for layer, index in enumerate(genotype)), net.head]
    norms = [module for part in path for module in part.modules() if isinstance(module, _BatchNorm)]
    before = [(norm.momentum, [buffer.clone() for buffer in norm.buffers()]) for norm in norms]
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
            norm.train()
        for images, _ in batches:
            net(images, genotype)
        for norm in norms:
            norm.eval()
        yield
    finally:
        for norm, (momentum, buffers) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.eval()
            for buffer, value in zip(norm.buffers(), buffers, strict=True):
                buffer.copy_(value)
