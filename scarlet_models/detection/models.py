"""torchvision's RetinaNet, Faster R-CNN and SSDlite over SCARLET networks, and the feature pyramid that they share.

As in torchvision, `num_classes` counts the background, labels begin at 1, and images are lists of float tensors
(3, H, W) in [0, 1] of any sizes.
"""

import inspect
import itertools
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from timm.layers import freeze_batch_norm_2d
from timm.utils import freeze
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.rpn import RPNHead
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteHead, _extra_block
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool, LastLevelP6P7

from scarlet_models.errors import UserError
from scarlet_models.networks import create

STAGES = 5  # the taps of a network: reductions 2, 4, 8, 16, 32
COCO_CLASSES = 91  # torchvision's count: category ids up to 90, used as they are, and the background
BACKBONE_OPTIONS = ("space", "model_args", "weights_backbone", "trainable_stages", "frozen_norm")


def build_features(
    name: str,
    taps: Sequence[int],
    *,
    space: str | Mapping[str, Any] = "scarlet",
    model_args: Mapping[str, Any] | None = None,
    weights_backbone: bool = False,
    trainable_stages: int = STAGES,
    frozen_norm: bool = False,
) -> Any:  # timm's feature_info is nothing that nn.Module declares
    """timm's feature extractor of a network, partly frozen if wished.

    Args:
        name: What `networks.create` takes.
        taps: Which of its feature maps to give, ascending, 0 (stride 2) to 4 (stride 32).
        space: Search space of a genotype.
        model_args: timm's arguments of the network, such as act_layer.
        weights_backbone: Start from the network's pretrained weights, which `pretrained=True` finds.
        trainable_stages: How many stages train, counted from the last; the others are frozen, norms included.
        frozen_norm: Use all batch norms as they are, neither their statistics nor their weights train.
    """
    if not taps or list(taps) != sorted(set(taps)) or not set(taps) <= set(range(STAGES)):
        raise UserError(f"taps {list(taps)} are not ascending numbers from 0 to {STAGES - 1}")
    if not 0 <= trainable_stages <= STAGES:
        raise UserError(f"there are 0 to {STAGES} trainable stages, not {trainable_stages}")
    arguments: Any = {**(model_args or {}), "space": space, "features_only": True, "out_indices": tuple(taps)}
    net: Any = create(name, pretrained=weights_backbone, **arguments)
    if frozen := STAGES - trainable_stages:
        last = net.feature_info.info[frozen - 1]["module"]
        layers = [name for name, module in net.named_modules() if any(True for _ in module.parameters(recurse=False))]
        end = max(number for number, name in enumerate(layers) if name.startswith(f"{last}."))
        freeze(net, layers[: end + 1])  # registered in the order in which they run
    return freeze_batch_norm_2d(net) if frozen_norm else net


class ScarletFPN(nn.Module):
    """A feature pyramid over a SCARLET network: the backbone of any torchvision detector.

    Args:
        name: Name of the network, a genotype, or an exported folder.
        out_channels: Channels of each level.
        taps: The network's feature maps that become levels. (2, 3, 4) have strides 8, 16 and 32.
        extra_levels: Smaller levels after those: 0, 1 (a max pool, as in Faster R-CNN) or 2 (two strided convolutions,
            as in RetinaNet).
        options: Space, weights and frozen parts of the network: space="scarlet", weights_backbone=False,
            trainable_stages=5 (the last ones; 0 freezes the network), frozen_norm=False.

    Attributes:
        strides: Stride of each level in pixels.
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

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Levels of normalised images (N, 3, H, W), finest first: "0", "1", ..., then "pool", or "p6" and "p7"."""
        maps = OrderedDict((str(number), feature) for number, feature in enumerate(self.body(images)))
        levels: dict[str, Tensor] = self.fpn(maps)
        return levels  # each (N, out_channels, about H / stride, about W / stride)


def retinanet_scarlet(
    name: str = "scarlet_a",
    num_classes: int = COCO_CLASSES,
    *,
    out_channels: int = 256,
    taps: Sequence[int] = (2, 3, 4),
    extra_levels: int = 2,
    anchor_scale: float = 4.0,
    **options: Any,
) -> RetinaNet:
    """RetinaNet (arXiv 1708.02002) over a SCARLET network.

    The five levels have strides 8 to 128. The heads are those of torchvision's `retinanet_resnet50_fpn_v2`, with group
    norm.

    Args:
        name: Name of the network, a genotype, or an exported folder.
        num_classes: Number of classes, the background included.
        out_channels: Channels of each pyramid level, a multiple of 8.
        taps: The network's feature maps that become levels; see `ScarletFPN`.
        extra_levels: Number of smaller levels after those; see `ScarletFPN`.
        anchor_scale: Side of a level's smallest anchor, in strides of the level. Two larger ones follow, a third of an
            octave apart.
        options: Options of `ScarletFPN` (space, weights_backbone, trainable_stages, frozen_norm) and of torchvision's
            RetinaNet (min_size, max_size, score_thresh, ...).

    Raises:
        UserError: The network or an option is unknown, or out_channels is no multiple of 8.
    """
    if out_channels < 8 or out_channels % 8:
        raise UserError(f"the heads normalise groups of 8 channels: out_channels {out_channels} is no multiple of 8")
    own, others = _split(options, RetinaNet)
    backbone = ScarletFPN(name, out_channels=out_channels, taps=taps, extra_levels=extra_levels, **own)
    sizes = [tuple(anchor_scale * stride * 2 ** (step / 3) for step in range(3)) for stride in backbone.strides]
    anchors = AnchorGenerator(tuple(sizes), ((0.5, 1.0, 2.0),) * len(sizes))
    norm = partial(nn.GroupNorm, out_channels // 8)  # torchvision: 32 groups of 256 channels
    head = RetinaNetHead(out_channels, anchors.num_anchors_per_location()[0], num_classes, norm_layer=norm)
    return RetinaNet(backbone, num_classes, anchor_generator=anchors, head=head, **_normalised(backbone, others))


def fasterrcnn_scarlet(
    name: str = "scarlet_a",
    num_classes: int = COCO_CLASSES,
    *,
    out_channels: int = 256,
    taps: Sequence[int] = (1, 2, 3, 4),
    extra_levels: int = 1,
    anchor_scale: float = 8.0,
    **options: Any,
) -> FasterRCNN:
    """Faster R-CNN with a feature pyramid (arXiv 1612.03144) over a SCARLET network.

    The five levels have strides 4 to 64. Anchors have one size on each level, `anchor_scale` strides. Regions are
    pooled from the network's own levels only. Arguments and errors are those of `retinanet_scarlet`; `options` may hold
    those of torchvision's FasterRCNN.
    """
    own, others = _split(options, FasterRCNN)
    backbone = ScarletFPN(name, out_channels=out_channels, taps=taps, extra_levels=extra_levels, **own)
    sizes = tuple((anchor_scale * stride,) for stride in backbone.strides)
    anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))
    return FasterRCNN(
        backbone,
        num_classes,
        rpn_anchor_generator=anchors,
        rpn_head=RPNHead(out_channels, anchors.num_anchors_per_location()[0]),
        box_roi_pool=MultiScaleRoIAlign(list(map(str, range(len(taps)))), output_size=7, sampling_ratio=2),
        **_normalised(backbone, others),
    )


def ssdlite_scarlet(
    name: str = "scarlet_a",
    num_classes: int = COCO_CLASSES,
    *,
    size: int = 320,
    taps: Sequence[int] = (3, 4),
    extra_channels: Sequence[int] = (512, 256, 256, 128),
    **options: Any,
) -> SSD:
    """SSDlite (arXiv 1801.04381, section 6.2) over a SCARLET network, on two of its feature maps and four smaller ones.

    Args:
        name: Name of the network, a genotype, or an exported folder.
        num_classes: Number of classes, the background included.
        size: Side in pixels of the square to which every image is resized.
        taps: The network's feature maps to use. (3, 4) have strides 16 and 32.
        extra_channels: Channels of the smaller maps. Each has half the side of the one before.
        options: As for `retinanet_scarlet`, with those of torchvision's SSD.
    """
    own, others = _split(options, SSD)
    norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.03)  # as torchvision's own SSDlite
    backbone = _SmallerMaps(build_features(name, taps, **own), extra_channels, norm)
    anchors = DefaultBoxGenerator([[2, 3] for _ in backbone.channels], min_ratio=0.2, max_ratio=0.95)
    head = SSDLiteHead(backbone.channels, anchors.num_anchors_per_location(), num_classes, norm)
    thresholds = {"score_thresh": 0.001, "nms_thresh": 0.55, "detections_per_img": 300, "topk_candidates": 300}
    others = _normalised(backbone, {**thresholds, **others})
    return SSD(backbone, anchors, (size, size), num_classes, head=head, **others)


DETECTORS: dict[str, Callable[..., nn.Module]] = {
    "retinanet": retinanet_scarlet,
    "fasterrcnn": fasterrcnn_scarlet,
    "ssdlite": ssdlite_scarlet,
}


class _SmallerMaps(nn.Module):
    """A network's maps and further ones, each made from the last at half its side by a separable convolution."""

    def __init__(self, body: Any, extra_channels: Sequence[int], norm: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.body = body
        self.channels = [*body.feature_info.channels(), *extra_channels]
        ends = itertools.pairwise(self.channels[-len(extra_channels) - 1 :])
        self.extra = nn.ModuleList(_extra_block(*channels, norm) for channels in ends)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = list(self.body(images))
        for block in self.extra:
            maps.append(block(maps[-1]))
        return OrderedDict((str(number), feature) for number, feature in enumerate(maps))


def _split(options: dict[str, Any], detector: type[nn.Module]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of the backbone, and those of torchvision's detector, which itself would let unknown ones pass."""
    known = {*BACKBONE_OPTIONS, *inspect.signature(detector).parameters} - {"kwargs"}
    if unknown := sorted(set(options) - known):
        raise UserError(f"{detector.__name__} has no argument {unknown[0]!r}; it has {', '.join(sorted(known))}")
    own = {key: value for key, value in options.items() if key in BACKBONE_OPTIONS}
    return own, {key: value for key, value in options.items() if key not in own}


def _normalised(backbone: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The options, with the mean and the standard deviation of the network's images unless they give others."""
    cfg = backbone.body.pretrained_cfg
    return {"image_mean": list(cfg["mean"]), "image_std": list(cfg["std"]), **options}
