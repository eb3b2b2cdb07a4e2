"""MACs of convolutions and linear layers, and params, of a model that runs on the meta device: nothing is computed."""

import copy
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from scarlet_models.errors import UserError, first_line
from scarlet_models.space.cost import Cost


def count(model: nn.Module, input_size: int) -> Cost:
    """Cost of a model at `input_size` px: half of torch's flop count, and all trainable parameters."""
    return Cost(macs_by_module(model, input_size)[""], sum(p.numel() for p in model.parameters() if p.requires_grad))


def macs_by_module(model: nn.Module, input_size: int) -> dict[str, int]:
    """MACs of each module by its dotted name; "" is the whole model. Modules without MACs are left out."""
    from torch.utils.flop_counter import FlopCounterMode  # slow to import

    copied, image = on_meta(model, input_size)
    with FlopCounterMode(display=False) as counter:
        copied(image)
    prefix, counts = f"{type(model).__name__}.", counter.get_flop_counts()
    inside = {name.removeprefix(prefix): flops for name, flops in counts.items() if name.startswith(prefix)}
    return {"": counter.get_total_flops() // 2} | {name: sum(flops.values()) // 2 for name, flops in inside.items()}


def count_with_thop(model: nn.Module, input_size: int) -> Cost:
    """Cost by thop, which alone counts pooling and norms, and skips modules whose exact type it does not know."""
    try:
        import thop
        from thop.vision.basic_hooks import count_convNd, count_linear, zero_ops
    except ImportError as error:
        advice = "it shares its folder with ultralytics-thop: pip install --force-reinstall --no-deps thop"
        raise UserError(f"thop is damaged ({first_line(error)}); {advice}") from error
    copied, image = on_meta(model, input_size)
    rules: dict[type[nn.Module], Callable[..., None]] = {}
    for module in copied.modules():
        if isinstance(module, _ConvNd):
            rules[type(module)] = count_convNd
        elif isinstance(module, nn.Linear):
            rules[type(module)] = count_linear
        elif isinstance(module, _BatchNorm) or not list(module.children()):  # timm's batch norm holds its activation
            rules[type(module)] = zero_ops
    macs, params = thop.profile(copied, (image,), custom_ops=rules, verbose=False)
    return Cost(int(macs), int(params))


def on_meta(model: nn.Module, input_size: int) -> tuple[nn.Module, torch.Tensor]:
    """A copy of the model without weights, in eval mode, and a batch of one image for it."""
    image = torch.empty(1, in_channels(model), input_size, input_size, device="meta", dtype=_first(model).dtype)
    return copy.deepcopy(model).to("meta").eval(), image


def in_channels(model: nn.Module) -> int:
    """Of the model's first convolution."""
    return _first(model).shape[1]


def _first(model: nn.Module) -> torch.Tensor:
    return next(parameter for parameter in model.parameters() if parameter.dim() == 4)
