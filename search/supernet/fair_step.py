"""The gradient of a fair step: many paths on one batch, with one pass through the stem and the memory of one path."""

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
    """Add the gradient of the sum of the paths' losses to the parameters' `grad`; images are (N, C, H, W), labels (N,).

    Each path runs forward and backward from the stem's output, whose gradients add up (in float32 or better, also under
    autocast). Then the stem runs backward once. The graph of a path is freed before the next path starts. `scale` gives
    what to differentiate in a loss's place; `precision` is entered for the stem and for each path. Returns the loss of
    each path, and how many images it classified correctly: float (paths,), detached.
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


@contextmanager
def batch_statistics(net: nn.Module) -> Iterator[None]:
    """Eval mode in which batch norms use the statistics of the batch; their running statistics do not change.

    A supernet's running statistics mix all paths and suit none. This scores a path without recalibrating it first.
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
