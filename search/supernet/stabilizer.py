"""The equivariant learnable stabilizer, which replaces identities in the supernet, variants of it, and its folding.

Folding is exact in eval mode: the layers around an identity absorb its linear map. Let h be the features behind a
block without a shortcut, f_1, f_2, ... the residual branches that follow, and W a stabilizer behind them. With
h' = W h, W (h + f_1(h)) = h' + W f_1(W^-1 h'), and so on from branch to branch. So W is multiplied into the projection
of the block without a shortcut, and each residual block in between changes basis: W^-1 into its expansion, W into its
projection. The features behind W, and so every feature tap, stay the same. If W cannot be inverted, it can still be
folded forward into the next block without a shortcut, provided that no residual block lies between. A feature tap in
between then shows the features in front of W.

A block absorbs W in front of it if it starts with a dense convolution of any kernel: W has no bias, so zero padding
stays zero. It absorbs W behind it if it ends in a dense convolution and a batch norm without an activation. The head
absorbs W also through the global mean: both are linear.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from timm.models._efficientnet_blocks import SqueezeExcite
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from scarlet_models.errors import UserError

# 1x1 convolution (the paper's); plain skip; 1x1 with batch norm; 1x1 with ReLU
VARIANTS = ("linear", "skip", "bn", "relu")

# The paper names none. After 2,500 fair steps (mean of three seeds) the supernet reaches 49.2% with this and 45.0% with
# torch's initialisation, and networks of equal depth rank better (docs/stabilizer.md).
DEFAULT_INIT = "identity"

# A change of basis multiplies the rounding of weights (6e-8 in float32) by up to the condition number.
MAX_CONDITION = 1e4
_DEPTHWISE = "a depthwise convolution"

Link = tuple[str, nn.Module]


def _identity_noise(weight: Tensor) -> None:
    """The identity plus Gaussian noise whose spectral norm is about 0.2."""
    nn.init.dirac_(weight)
    with torch.no_grad():
        weight += 0.1 / math.sqrt(weight.shape[0]) * torch.randn_like(weight)


INITS: dict[str, Callable[[Tensor], object]] = {
    "torch": lambda weight: None,  # what nn.Conv2d has just done
    "identity": nn.init.dirac_,
    "orthogonal": nn.init.orthogonal_,
    "identity_noise": _identity_noise,
}


class Stabilizer(nn.Conv2d):
    """Equivariant learnable stabilizer (arXiv 1908.06022): a 1x1 convolution without bias that keeps (N, C, H, W).

    It is linear and so adds no representational power: `fold_stabilizers` absorbs it into the layers around it.
    """

    def __init__(self, channels: int, init: str = DEFAULT_INIT) -> None:
        super().__init__(channels, channels, 1, bias=False)
        INITS[init](self.weight)


def identity_module(channels: int, variant: str, init: str) -> nn.Module:
    """The module that replaces an identity that keeps the shape: one of `VARIANTS`, initialised as `INITS` says."""
    if init not in INITS:
        raise UserError(f"initialisation {init!r} of the stabilizer is not one of {', '.join(INITS)}")
    stabilizer = nn.Identity() if variant == "skip" else Stabilizer(channels, init)
    behind = {"bn": nn.BatchNorm2d(channels), "relu": nn.ReLU()}.get(variant)
    return nn.Sequential(stabilizer, behind) if behind else stabilizer


class FoldingError(UserError):
    """A stabilizer cannot be folded: `reason` names the layer."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}; fold=False keeps it in the model")
        self.reason = reason


def fold_stabilizers(links: Sequence[Link]) -> list[Link]:
    """Fold all stabilizers of a chain of blocks into its other modules, in place; a FoldingError says why not.

    The links are name and module of everything between the stem's activation and the head's batch norm: timm blocks,
    `Stabilizer`s, and at the end the head's 1x1 convolution. Returns those that are no stabilizers; in eval mode they
    compute the same output, up to rounding.
    """
    ends = [i for i, (_, module) in enumerate(links) if not _keeps_shortcut(module)]
    for start, end in pairwise([-1, *ends]):
        segment = links[max(start, 0) : end]
        if any(isinstance(module, Stabilizer) for _, module in segment):
            _fold_segment(segment, links[end])
    return [link for link in links if not isinstance(link[1], Stabilizer)]


def _keeps_shortcut(module: nn.Module) -> bool:
    return isinstance(module, Stabilizer) or bool(getattr(module, "has_skip", False))


def _fold_segment(segment: Sequence[Link], following: Link) -> None:
    """Fold the stabilizers between a block without a shortcut, which only the first segment may lack, and the next."""
    try:
        bases = _bases(segment)
    except FoldingError as error:
        body = len(segment)
        while body and isinstance(segment[body - 1][1], Stabilizer):
            body -= 1
        bases = _bases(segment[:body])
        if not _expansion(following[1]):
            why = f"{following[0]} behind it starts with {_DEPTHWISE}, and {error.reason.rpartition(': ')[2]}"
            raise _refusal(segment[body][0], why) from None
        for _, stabilizer in reversed(segment[body:]):
            _change_input(_expansion(following[1]), _matrix(stabilizer))
    for module, basis in bases:
        _change_output(module, basis)
        if _keeps_shortcut(module):
            _change_input(_expansion(module), torch.linalg.inv(basis))


def _bases(segment: Sequence[Link]) -> list[tuple[nn.Module, Tensor]]:
    """The product of the stabilizers behind each block, if it can be folded into them; else a FoldingError."""
    bases: list[tuple[nn.Module, Tensor]] = []
    basis: Tensor | None = None
    nearest = ""
    for name, module in reversed(segment):
        if isinstance(module, Stabilizer):
            basis = _matrix(module) if basis is None else basis @ _matrix(module)
            nearest = name
        elif basis is not None:
            bases.append((module, basis))
            if not _projection(module):
                raise _refusal(nearest, f"in front stands {name}, which ends in {_DEPTHWISE} or an activation")
            if not _keeps_shortcut(module):
                return bases
            in_front = f"in front stands a block with a shortcut ({name})"
            if not _expansion(module):
                raise _refusal(nearest, f"{in_front} that starts with {_DEPTHWISE}")
            condition = float(torch.linalg.cond(basis)) if basis.isfinite().all() else torch.nan
            if not condition < MAX_CONDITION:
                number = f"the condition number of the stabilizers behind that is {condition:.1e}"
                raise _refusal(nearest, f"{in_front}, and {number}, not below {MAX_CONDITION:.0e}")
    if basis is None:
        return []
    raise _refusal(nearest, "no block without a shortcut stands in front")


def _refusal(name: str, reason: str) -> FoldingError:
    return FoldingError(f"{name}: its stabilizer cannot be folded: {reason}")


def _matrix(stabilizer: Any) -> Tensor:
    return _float64(stabilizer.weight).flatten(1)


def _float64(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().double()


def _expansion(block: nn.Module) -> Any:
    """The convolution that a block starts with, if it is dense and so can absorb a linear map in front of it."""
    first = next(module for module in block.modules() if isinstance(module, nn.Conv2d))
    return first if first.groups == 1 else None


def _projection(block: nn.Module) -> tuple[Any, Any] | None:
    """The convolution that a block ends in and its batch norm, if it is dense and no activation follows."""
    gates = {part for module in block.modules() if isinstance(module, SqueezeExcite) for part in module.modules()}
    *_, last = (module for module in block.modules() if isinstance(module, nn.Conv2d) and module not in gates)
    *_, norm = (module for module in block.modules() if isinstance(module, _BatchNorm))
    linear = isinstance(getattr(norm, "act", None), nn.Identity)
    return (last, norm) if last.groups == 1 and linear else None


@torch.no_grad()
def _change_input(conv: nn.Conv2d, matrix: Tensor) -> None:
    """Make conv(x) what conv(matrix x) was."""
    conv.weight.copy_(torch.tensordot(_float64(conv.weight), matrix, dims=([1], [0])).movedim(-1, 1))


@torch.no_grad()
def _change_output(module: nn.Module, matrix: Tensor) -> None:
    """Multiply what a block adds to its shortcut (or gives, without one) by `matrix`.

    The convolution takes the matrix and the batch norm's scale. The batch norm, whose scale is then 1, gets the mean of
    the new convolution's output, and the variance that it would have were the old channels uncorrelated.
    """
    projection = _projection(module)
    assert projection is not None, "checked by _bases"
    conv, bn = projection
    weight, bias, mean, var = (_float64(tensor) for tensor in (bn.weight, bn.bias, bn.running_mean, bn.running_var))
    matrix_and_scale = matrix * weight / (var + bn.eps).sqrt()
    new_var = matrix_and_scale.square() @ var
    conv.weight.copy_((matrix_and_scale @ _float64(conv.weight).flatten(1)).view_as(conv.weight))
    bn.running_mean.copy_(matrix_and_scale @ mean)
    bn.running_var.copy_(new_var)
    bn.weight.copy_((new_var + bn.eps).sqrt())
    bn.bias.copy_(matrix @ bias)
