"""Backbones for torchvision's detectors: timm's features of a network, and a feature pyramid over them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from timm.layers import freeze_batch_norm_2d
from timm.utils import freeze
from torch import Tensor, nn
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool, LastLevelP6P7

from scarlet_models.errors import UserError
from scarlet_models.networks import create

STAGES = 5  # the taps of a network: reductions 2, 4, 8, 16, 32


def build_features(
    name: str,
    taps: Sequence[int],
    *,
    space: str | Mapping[str, Any] = "scarlet",
    weights_backbone: bool = False,
    trainable_stages: int = STAGES,
    frozen_norm: bool = False,
) -> Any:  # timm's feature_info is nothing that nn.Module declares
    """timm's feature extractor of a network, partly frozen if wished.

    Args:
        name: What `networks.create` takes.
        taps: Which of its feature maps to give, ascending, 0 (stride 2) to 4 (stride 32).
        space: Search space of a genotype.
        weights_backbone: Start from the network's pretrained weights, which `pretrained=True` finds.
        trainable_stages: How many stages train, counted from the last; the others are frozen, norms included.
        frozen_norm: Use all batch norms as they are, neither their statistics nor their weights train.
    """
    if not taps or list(taps) != sorted(set(taps)) or not set(taps) <= set(range(STAGES)):
        raise UserError(f"taps {list(taps)} are not ascending numbers from 0 to {STAGES - 1}")
    if not 0 <= trainable_stages <= STAGES:
        raise UserError(f"there are 0 to {STAGES} trainable stages, not {trainable_stages}")
    chosen: Any = space
    net = create(name, chosen, pretrained=weights_backbone, features_only=True, out_indices=tuple(taps))
    _freeze_stages(net, STAGES - trainable_stages)
    return freeze_batch_norm_2d(net) if frozen_norm else net


def _freeze_stages(net: Any, count: int) -> None:
    """Freeze everything up to the tap of the last of the first `count` stages."""
    if not count:
        return
    last = net.feature_info.info[count - 1]["module"]
    layers = [name for name, module in net.named_modules() if any(True for _ in module.parameters(recurse=False))]
    end = max(number for number, name in enumerate(layers) if name.startswith(f"{last}."))
    freeze(net, layers[: end + 1])  # registered in the order in which they run


class ScarletFPN(nn.Module):
    """A feature pyramid over a SCARLET network, as any detector of torchvision takes it.

    Args:
        name: Of the network; this and other options are as for `build_features`.
        out_channels: Channels of every level.
        taps: Feature maps that become levels; (2, 3, 4) are strides 8, 16, 32.
        extra_levels: 0; 1 for a max pool of the last level, as Faster R-CNN has it; 2 for the two strided convolutions
            of RetinaNet.

    Attributes:
        strides: Of the levels in pixels, where each extra one doubles the last.
    """

    def __init__(
        self,
        name: str = "scarlet_a",
        *,
        out_channels: int = 256,
        taps: Sequence[int] = (2, 3, 4),
        extra_levels: int = 0,
        **options: Any,
    ) -> None:
        super().__init__()
        if extra_levels not in (0, 1, 2):
            raise UserError(f"a pyramid has 0, 1 or 2 extra levels, not {extra_levels}")
        self.body = build_features(name, taps, **options)
        extra = (None, LastLevelMaxPool(), LastLevelP6P7(out_channels, out_channels))[extra_levels]
        self.fpn = FeaturePyramidNetwork(self.body.feature_info.channels(), out_channels, extra)
        self.out_channels = out_channels
        own = self.body.feature_info.reduction()
        self.strides = [*own, *(own[-1] * 2 ** (i + 1) for i in range(extra_levels))]
        self.names = [str(i) for i in range(len(own))]
        self.image_mean, self.image_std = normalisation(self.body)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Levels of normalised images (N, 3, H, W), finest first: "0", "1", ..., then "pool", or "p6" and "p7"."""
        levels: dict[str, Tensor] = self.fpn(OrderedDict(zip(self.names, self.body(images), strict=True)))
        return levels  # each (N, out_channels, about H / stride, about W / stride)


def normalisation(net: nn.Module) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of a timm network's images."""
    cfg: Any = net.pretrained_cfg
    return list(cfg["mean"]), list(cfg["std"])
