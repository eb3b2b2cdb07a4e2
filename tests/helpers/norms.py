"""Batch norms as after training, so that eval mode means something."""

import torch
from torch import nn


@torch.no_grad()
def randomise_norms(model: nn.Module, seed: int = 0) -> None:
    """Give every batch norm statistics and scales that are not those of a fresh one, in place."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in ((module.weight, 0.7), (module.running_var, 0.5), (module.bias, -0.3)):
                tensor.copy_(low + 0.6 * torch.rand(tensor.shape, generator=generator))
            module.running_mean.normal_(0, 0.3, generator=generator)
