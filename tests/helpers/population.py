"""A random supernet, some of its paths, and batches of random images to score them on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scarlet_models.search.supernet.sampler import FairSampler
from scarlet_models.search.supernet.supernet import Supernet

Data = list[tuple[Tensor, Tensor]]
PATHS = ["0,1,2,0,1", "0,1,2,0,2", "0,1,0,3,3", "0,3,0,3,3", "2,3,2,3,1", "2,3,2,1,3", "1,0,1,1,1"]


def batches(sizes: list[int], seed: int = 1, pixels: int = 16) -> Data:
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(n, 3, pixels, pixels, generator=generator), torch.randint(3, (n,), generator=generator))
        for n in sizes
    ]


VAL, CALIBRATION = batches([6, 6, 3]), batches([8, 8, 5], seed=2)


def make_net(space: Any = "mini", stabilizer: str = "linear") -> Supernet:
    """A supernet whose running statistics are those of a few random paths."""
    torch.manual_seed(0)
    net = Supernet(space, 3, stabilizer, init="torch")
    with torch.no_grad():
        for path in FairSampler(net.space).fair_step():
            net(torch.randn(8, 3, 16, 16), path)
    return net.eval()
