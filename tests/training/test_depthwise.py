"""The fast depthwise weight gradient is torch's gradient."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import scarlet_models.training.depthwise as depthwise
from scarlet_models.training.depthwise import DepthwiseConv2d, accelerate_depthwise, torch_is_slow

KERNELS, STRIDES, MAPS = (3, 5, 7), (1, 2), range(1, 10)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """The formula on every map, also where torch's own gradient is used for speed."""
    monkeypatch.setattr(depthwise, "torch_is_slow", lambda shape, kernel: True)


def pair(conv: nn.Conv2d) -> tuple[nn.Conv2d, nn.Conv2d]:
    fast = accelerate_depthwise(copy.deepcopy(conv))
    assert type(conv) is nn.Conv2d and type(fast) is DepthwiseConv2d
    return conv, fast


def run(conv: nn.Conv2d, x: Tensor) -> tuple[Tensor, ...]:
    x = x.clone().requires_grad_()
    y = conv(x)
    y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype))
    assert x.grad is not None and conv.weight.grad is not None
    return y.detach(), x.grad, conv.weight.grad


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("stride", STRIDES)
def test_gradcheck(kernel: int, stride: int, always: None) -> None:
    for size in MAPS:
        conv = nn.Conv2d(2, 2, kernel, stride, kernel // 2, groups=2, dtype=torch.float64)
        accelerate_depthwise(conv)
        x = torch.randn(2, 2, size, size, dtype=torch.float64, requires_grad=True)
        assert conv.bias is not None

        def forward(x: Tensor, weight: Tensor, bias: Tensor, conv: nn.Conv2d = conv) -> Tensor:
            return torch.func.functional_call(conv, {"weight": weight, "bias": bias}, (x,))

        y = conv(x)
        assert y.grad_fn is not None and "Depthwise" in y.grad_fn.name()
        assert torch.autograd.gradcheck(forward, (x, conv.weight, conv.bias), fast_mode=size > 3)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_equals_torch_in_float32(kernel: int, stride: int, memory_format: torch.memory_format, always: None) -> None:
    for size in MAPS:
        plain, fast = pair(nn.Conv2d(24, 24, kernel, stride, kernel // 2, groups=24, bias=False))
        x = torch.randn(8, 24, size, size).to(memory_format=memory_format)
        (y, dx, dw), (fast_y, fast_dx, fast_dw) = run(plain, x), run(fast, x)
        assert torch.equal(y, fast_y) and torch.equal(dx, fast_dx)
        assert fast_dw.shape == dw.shape
        assert (fast_dw - dw).norm() <= 1e-5 * dw.norm()


def test_rectangles_and_unusual_padding(always: None) -> None:
    plain, fast = pair(nn.Conv2d(4, 4, (3, 5), (2, 1), (2, 0), groups=4, dtype=torch.float64))
    x = torch.randn(3, 4, 6, 11, dtype=torch.float64)
    for ours, theirs in zip(run(fast, x), run(plain, x), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert fast.bias is not None and plain.bias is not None
    torch.testing.assert_close(fast.bias.grad, plain.bias.grad)


def test_repeats_bit_for_bit() -> None:
    conv = accelerate_depthwise(nn.Conv2d(48, 48, 7, padding=3, groups=48, bias=False))
    x = torch.randn(16, 48, 4, 4).to(memory_format=torch.channels_last)
    gradients = []
    for _ in range(3):
        conv.zero_grad()
        gradients.append(run(conv, x)[2].clone())
    assert torch.equal(gradients[0], gradients[1]) and torch.equal(gradients[0], gradients[2])


def test_frozen_parts_get_no_gradient(always: None) -> None:
    conv = accelerate_depthwise(nn.Conv2d(4, 4, 5, padding=2, groups=4))
    conv(torch.randn(2, 4, 3, 3)).sum().backward()  # an input that needs no gradient
    assert conv.weight.grad is not None
    conv.zero_grad()
    conv.weight.requires_grad_(False)
    x = torch.randn(2, 4, 3, 3, requires_grad=True)
    conv(x).sum().backward()
    assert x.grad is not None and conv.weight.grad is None and conv.bias is not None and conv.bias.grad is not None


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.Conv2d(8, 8, 5, padding=2, groups=8, bias=False),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3, padding=2, groups=8, dilation=2),
        nn.Conv2d(8, 8, 3, padding="same", groups=8),
        nn.Conv2d(8, 16, 3, padding=1, groups=8),
        nn.Conv2d(16, 16, 3, padding=1, groups=4),
    )


def test_only_covered_convolutions_change_and_state_dict_stays() -> None:
    plain = network()
    fast = accelerate_depthwise(copy.deepcopy(plain))
    assert [i for i, module in enumerate(fast) if type(module) is DepthwiseConv2d] == [1]
    assert list(fast.state_dict()) == list(plain.state_dict())
    fast.load_state_dict(plain.state_dict())
    plain.load_state_dict(fast.state_dict())


def test_deepcopy_is_independent_and_as_fast() -> None:
    fast = accelerate_depthwise(network())
    twin = copy.deepcopy(fast)
    assert type(twin[1]) is DepthwiseConv2d
    twin(torch.randn(2, 3, 4, 4)).sum().backward()
    assert twin[1].weight.grad is not None and fast[1].weight.grad is None


def test_eval_no_grad_and_autocast_are_plain() -> None:
    plain = network().eval()
    fast = accelerate_depthwise(copy.deepcopy(plain))
    x = torch.randn(2, 3, 4, 4)
    with torch.no_grad():
        assert torch.equal(plain(x), fast(x))
    with torch.inference_mode():
        assert torch.equal(plain(x), fast(x))
    with torch.autocast("cpu", torch.bfloat16):
        y = fast(x)
        assert torch.equal(y, plain(x)) and y.dtype is torch.bfloat16
    y.float().sum().backward()


def test_training_follows_torch() -> None:
    torch.manual_seed(0)
    plain = network().double()
    fast = accelerate_depthwise(copy.deepcopy(plain))
    x = torch.randn(8, 3, 4, 4, dtype=torch.float64)
    for model in (plain, fast):
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for _ in range(5):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
    for name, ours in fast.state_dict().items():
        torch.testing.assert_close(ours, plain.state_dict()[name])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("stride", STRIDES)
def test_bfloat16_gradients_are_those_of_float32(kernel: int, stride: int) -> None:
    """Up to what bfloat16 rounds; the weight's gradient is summed in float32."""
    for size in (2, 5, 14):
        plain, fast = pair(nn.Conv2d(8, 8, kernel, stride, kernel // 2, groups=8))
        x = torch.randn(16, 8, size, size).bfloat16().float()
        with torch.no_grad():
            plain.weight.copy_(plain.weight.bfloat16())
            fast.weight.copy_(plain.weight)
        wanted = run(plain, x)
        with torch.autocast("cpu", torch.bfloat16):
            got = run(fast, x)
        assert got[0].dtype is torch.bfloat16 and got[1].dtype is got[2].dtype is torch.float32
        for ours, theirs in zip(got, wanted, strict=True):
            assert (ours.float() - theirs).norm() <= 0.01 * theirs.norm()
        assert fast.bias is not None and fast.bias.grad is not None


def test_wide_maps_are_left_to_torch_for_products_would_take_gigabytes() -> None:
    assert torch_is_slow(torch.Size((8, 144, 4, 16)), (7, 7))
    assert not torch_is_slow(torch.Size((8, 144, 4, 512)), (7, 7))
