"""torchvision's RetinaNet, Faster R-CNN and SSDlite over SCARLET networks.

As in torchvision, `num_classes` counts the background, labels begin at 1, and images are lists of float tensors
(3, H, W) in [0, 1] of any sizes.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.rpn import RPNHead
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteHead
from torchvision.ops import Conv2dNormActivation, MultiScaleRoIAlign

from scarlet_models.errors import UserError

from .backbone import ScarletFPN, build_features, normalisation

COCO_CLASSES = 91  # torchvision's count: category ids up to 90, used as they are, and the background
BACKBONE_OPTIONS = ("space", "weights_backbone", "trainable_stages", "frozen_norm")


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
    """RetinaNet (arXiv 1708.02002) on levels of strides 8 to 128, with torchvision's group-normalised heads ("v2").

    Args:
        name: What `networks.create` takes.
        num_classes: With the background.
        out_channels, taps, extra_levels: Of the pyramid; see `ScarletFPN`.
        anchor_scale: Side of a level's smallest anchors over its stride; there are three octave steps of each.
        options: space, weights_backbone, trainable_stages and frozen_norm as for `build_features`; others are
            torchvision's: min_size, max_size, score_thresh, ...

    Raises:
        UserError: As `build_features`; an unknown option; or out_channels is no multiple of 8.
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
    """Faster R-CNN with FPN (arXiv 1612.03144) on levels of strides 4 to 64. Arguments as for `retinanet_scarlet`.

    Regions are pooled from the levels that are the network's own, not from extra ones; anchors have one size a level.
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
        box_roi_pool=MultiScaleRoIAlign(backbone.names, output_size=7, sampling_ratio=2),
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
    """SSDlite (arXiv 1801.04381, section 6.2) on two maps of the network and four smaller ones.

    Args:
        name: As for `retinanet_scarlet`, and so are num_classes and options.
        size: Side in pixels of the square that every image is resized to.
        taps: The network's own maps; (3, 4) are strides 16 and 32.
        extra_channels: Of the further maps, each of half the last one's side.
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
        self.image_mean, self.image_std = normalisation(body)
        layer = partial(Conv2dNormActivation, norm_layer=norm, activation_layer=nn.ReLU6)
        self.extra = nn.ModuleList()
        for last, wanted in zip(self.channels[-len(extra_channels) - 1 :], extra_channels, strict=False):
            middle = wanted // 2
            shrink = layer(middle, middle, kernel_size=3, stride=2, groups=middle)
            self.extra.append(
                nn.Sequential(layer(last, middle, kernel_size=1), shrink, layer(middle, wanted, kernel_size=1))
            )

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
    return {"image_mean": backbone.image_mean, "image_std": backbone.image_std, **options}
