"""The gradient of a fair step: many paths on one batch, the stem they share run once, the memory of one path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from scarlet_models.space.space import Genotype

from .supernet import Supernet

_EXACT = nullcontext()


def add_gradients(
    net: Supernet,
    paths: Sequence[Genotype],
    images: Tensor,
    labels: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    scale: Callable[[Tensor], Tensor] = lambda value: value,
    precision: AbstractContextManager[object] = _EXACT,
) -> tuple[Tensor, Tensor]:
    """Adds the gradient of the sum of the paths' losses to the parameters' `grad`.

    Path after path runs forward and backward from the stem's output, whose gradients add up (in float32 or better, also
    under autocast); then the stem runs backward once. A path's graph is freed before the next path starts.

    Args:
        net: The supernet.
        paths: The fair step.
        images: (N, channels, H, W).
        labels: (N,) int64.
        loss: (logits, labels) -> scalar.
        scale: loss -> what is differentiated in its place, such as a multiple.
        precision: Autocast for the forward passes; entered once for the stem and once a path.

    Returns:
        Each path's loss, and how many images it got right: both float, shape (paths,), detached.
    """
    with precision:
        stem = net.stem(images)
    features = stem.detach().to(torch.promote_types(stem.dtype, torch.float32)).requires_grad_()
    losses, hits = [], []
    for path in paths:
        with precision:
            logits = net.forward_path(features, path)
            value = loss(logits, labels)
        scale(value).backward()
        losses.append(value.detach())
        hits.append((logits.detach().argmax(1) == labels).sum())
    stem.backward(features.grad.to(stem.dtype))
    return torch.stack(losses), torch.stack(hits).to(losses[0].dtype)


def shared_parameters(net: Supernet) -> list[nn.Parameter]:
    """The parameters of stem and head, which every path uses."""
    return [*net.stem.parameters(), *net.head.parameters()]


@contextmanager
def batch_statistics(net: nn.Module) -> Iterator[None]:
    """Eval mode, but batch norms use the statistics of the batch; their running ones stay as they are.

    A supernet's running statistics mix all paths and suit none: this scores a path without calibrating it first.
    """
    norms = [module for module in net.modules() if isinstance(module, _BatchNorm)]
    was_training = net.training
    net.eval()
    for norm in norms:
        norm.training, norm.track_running_stats = True, False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
        net.train(was_training)
