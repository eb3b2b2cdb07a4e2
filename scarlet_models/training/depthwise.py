"""Faster training on CPUs: the gradients of depthwise convolutions on small maps and in bfloat16.

torch's CPU library takes a slow path for the weight gradient of a depthwise convolution whose kernel is larger than its
map, which is the rule in the late stages of a MobileNet on small images: there it takes most of a training step. In
bfloat16 its depthwise gradients are slow on every map: up to five times as slow as in float32.
"""

from functools import lru_cache
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Pair = tuple[int, int]
Network = TypeVar("Network", bound=nn.Module)
_MOST_PIXELS = 12 * 12  # where torch's fast path overtakes the products, whose memory grows by the square


def accelerate_depthwise(model: Network) -> Network:
    """Makes a model's depthwise convolutions compute their weight gradient faster on CPUs, in place.

    Outputs and, in float32, input gradients are torch's own, bit for bit; weight gradients are the same sum in another
    order. Parameters and state_dict keys stay, and so does what the model does elsewhere (GPUs, evaluation).
    Tools that look for the type nn.Conv2d itself, such as thop and FX tracing, should get the model before this.
    Convolutions with a channel multiplier, dilation or padding as wide as the kernel are left alone.
    """
    for module in model.modules():
        if type(module) is nn.Conv2d and _is_covered(module):
            module.__class__ = DepthwiseConv2d
    return model


def _is_covered(conv: nn.Conv2d) -> bool:
    return (
        conv.groups == conv.in_channels == conv.out_channels
        and conv.dilation == (1, 1)
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
        and all(padding < kernel for padding, kernel in zip(conv.padding, conv.kernel_size, strict=True))
    )


class DepthwiseConv2d(nn.Conv2d):
    """nn.Conv2d of one input channel a filter, whose gradients are fast on small maps and under bfloat16 autocast."""

    def forward(self, input: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, C, H', W')."""
        if not (torch.is_grad_enabled() and self.weight.requires_grad and input.dim() == 4 and input.is_cpu):
            return super().forward(input)
        if torch.is_autocast_enabled("cpu"):
            helps = torch.get_autocast_dtype("cpu") == torch.bfloat16
            input = input.bfloat16() if helps else input
        else:
            is_wide = input.dtype == self.weight.dtype and input.dtype in (torch.float32, torch.float64)
            helps = is_wide and torch_is_slow(input.shape, self.kernel_size)
        if not helps:
            return super().forward(input)
        result: Tensor = _Depthwise.apply(input, self.weight, self.bias, self.stride, self.padding)
        return result


def torch_is_slow(shape: torch.Size, kernel: tuple[int, ...]) -> bool:
    """Whether products beat torch for the weight gradient of inputs of a shape (N, C, H, W), by a fixed rule."""
    return shape[2] * shape[3] <= _MOST_PIXELS and max(kernel) > min(3, *shape[2:])


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        with torch.autocast("cpu", enabled=False):
            bias = bias if bias is None else bias.to(x.dtype)
            return F.conv2d(x, weight.to(x.dtype), bias, stride, padding, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, padding, kernel = ctx.stride, ctx.padding, (weight.shape[2], weight.shape[3])
        needs_input, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        wide, wide_x = grad.to(weight.dtype), x.to(weight.dtype)  # reduced precision is slow, or rounds these sums
        flips = x.dtype != weight.dtype and stride == (1, 1)  # several times as fast
        multiplies = torch_is_slow(x.shape, kernel)
        left = [needs_input and not flips, needs_weight and not multiplies, False]
        grad_input, grad_weight, _ = torch.ops.aten.convolution_backward(
            wide, wide_x, weight, None, stride, padding, (1, 1), False, (0, 0), len(weight), left
        )
        if needs_input and flips:
            around = [size - 1 - by for size, by in zip(kernel, padding, strict=True)]
            grad_input = F.conv2d(grad, weight.flip(2, 3).to(grad.dtype), None, 1, around, groups=len(weight))
        if needs_weight and multiplies:
            grad_weight = weight_gradient(wide_x, wide, kernel, stride, padding)
        grad_bias = wide.sum((0, 2, 3)) if needs_bias else None
        return grad_input if grad_input is None else grad_input.to(x.dtype), grad_weight, grad_bias, None, None


def weight_gradient(x: Tensor, grad: Tensor, kernel: Pair, stride: Pair, padding: Pair) -> Tensor:
    """The gradient of a depthwise convolution's weight, from matrix products with the channels as their batch.

    One channel's gradient at tap (y, x) is the sum, over images and output pixels (i, j), of grad[i, j] times
    input[stride * i - padding + y, stride * j - padding + x]. The sums over images are a matrix product of output
    pixels by input pixels, without copying the input once a tap; then the pairs that belong to one tap are added up.
    `x` is the input (N, C, H, W), `grad` the output's gradient (N, C, H', W').
    """
    inputs = x.contiguous().flatten(2).transpose(0, 1)  # (C, N, H*W)
    grads = grad.contiguous().flatten(2).permute(1, 2, 0)  # (C, H'*W', N)
    taps = _taps(grad.shape[2:], x.shape[2:], kernel, stride, padding).to(x.dtype)
    return (torch.bmm(grads, inputs).flatten(1) @ taps).view(-1, 1, *kernel)


@lru_cache(maxsize=32)  # megabytes each
def _taps(outputs: torch.Size, inputs: torch.Size, kernel: Pair, stride: Pair, padding: Pair) -> Tensor:
    """1 where an output and an input pixel meet at a tap, else 0: (H'*W'*H*W, taps)."""
    axes = []
    for axis in range(2):
        sizes = (outputs[axis], inputs[axis], kernel[axis])
        output, input, tap = torch.meshgrid(*map(torch.arange, sizes), indexing="ij")
        axes.append((input == output * stride[axis] - padding[axis] + tap).float())
    return torch.einsum("oiy,pjx->opijyx", *axes).flatten(4).flatten(0, 3).contiguous()
