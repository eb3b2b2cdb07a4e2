"""1x1 convolutions of tiny maps as matrix products give torch's outputs and gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from scarlet_models.search.pointwise import PointwiseConv2d, accelerate_pointwise
from torch import nn


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_equals_torch(size: int, bias: bool, memory_format: torch.memory_format) -> None:
    plain = nn.Conv2d(24, 40, 1, bias=bias).to(memory_format=memory_format)
    fast = accelerate_pointwise(copy.deepcopy(plain))
    assert type(fast) is PointwiseConv2d
    outputs = []
    for conv in (plain, fast):
        x = torch.randn(8, 24, size, size, generator=torch.Generator().manual_seed(0))
        x = x.to(memory_format=memory_format).requires_grad_()
        y = conv(x)
        y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(1)))
        outputs.append((y, x.grad, *(parameter.grad for parameter in conv.parameters())))
    for theirs, ours in zip(*outputs, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    is_linear = "Convolution" not in str(outputs[1][0].grad_fn)
    assert is_linear == (size <= 2)


def test_gradcheck() -> None:
    conv = accelerate_pointwise(nn.Conv2d(3, 4, 1, dtype=torch.float64))
    x = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(conv, (x,)) and torch.autograd.gradgradcheck(conv, (x,))


def test_only_covered_convolutions_change_and_state_dict_stays() -> None:
    convs = [
        nn.Conv2d(4, 4, 1),
        nn.Conv2d(4, 4, 1, stride=2),
        nn.Conv2d(4, 4, 1, padding=1),
        nn.Conv2d(4, 4, 1, groups=2),
        nn.Conv2d(4, 4, 3),
    ]
    plain = nn.Sequential(*convs)
    fast = accelerate_pointwise(copy.deepcopy(plain))
    assert [i for i, module in enumerate(fast) if type(module) is PointwiseConv2d] == [0]
    fast.load_state_dict(plain.state_dict())
    assert type(copy.deepcopy(fast)[0]) is PointwiseConv2d


def test_without_gradients_and_under_autocast_it_is_plain() -> None:
    plain = nn.Conv2d(24, 40, 1)
    fast = accelerate_pointwise(copy.deepcopy(plain))
    x = torch.randn(8, 24, 1, 1)
    with torch.no_grad():
        assert torch.equal(fast(x), plain(x))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fast(x), plain(x)) and fast(x).dtype is torch.bfloat16
