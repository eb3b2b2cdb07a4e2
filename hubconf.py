"""torch.hub entry points: the SCARLET networks (arXiv 1908.06022) as timm models. Nothing needs to be installed but
the dependencies; from a clone: `torch.hub.load("path/to/clone", "scarlet_a", source="local")`.
"""

from __future__ import annotations

import typing  # not its names: torch.hub lists every callable here

if typing.TYPE_CHECKING:
    from torch import nn

dependencies = ["torch", "torchvision", "timm", "numpy", "yaml", "safetensors", "huggingface_hub"]


def scarlet_a(pretrained: bool = False, **kwargs: typing.Any) -> nn.Module:
    """SCARLET-A: 365M MACs at 224 px, 6.7M params.

    pretrained=True takes the published ImageNet weights if they are in the local store (`scarlet-models convert`), else
    those that come with this repository, with a warning; pretrained_cfg="tiny_in" takes those without. Other
    arguments are timm's: num_classes, in_chans, features_only, out_indices, output_stride, drop_rate, ...
    """
    return _create("scarlet_a", pretrained, **kwargs)


def scarlet_b(pretrained: bool = False, **kwargs: typing.Any) -> nn.Module:
    """SCARLET-B: 327M MACs at 224 px, 6.5M params. Arguments as for scarlet_a."""
    return _create("scarlet_b", pretrained, **kwargs)


def scarlet_c(pretrained: bool = False, **kwargs: typing.Any) -> nn.Module:
    """SCARLET-C: 280M MACs at 224 px, 6.1M params. Arguments as for scarlet_a."""
    return _create("scarlet_c", pretrained, **kwargs)


def scarlet_a2(pretrained: bool = False, **kwargs: typing.Any) -> nn.Module:
    """SCARLET-A scaled as EfficientNet-B2: 0.94G MACs at 260 px, 13.2M params. It has no weights.

    Arguments are timm's, as for scarlet_a.
    """
    return _create("scarlet_a2", pretrained, **kwargs)


def scarlet_a4(pretrained: bool = False, **kwargs: typing.Any) -> nn.Module:
    """SCARLET-A scaled as EfficientNet-B4: 4.21G MACs at 380 px, 27.9M params. It has no weights.

    Arguments are timm's, as for scarlet_a.
    """
    return _create("scarlet_a4", pretrained, **kwargs)


def scarlet_net(pretrained: bool = False, **kwargs: typing.Any) -> nn.Module:
    """The network of any genotype: scarlet_net(genotype="2,4,1,...", space="scarlet"). It has no weights.

    genotype has a choice index for each layer of the space; space is a name, a YAML file or a mapping. Other arguments
    are timm's, as for scarlet_a.
    """
    return _create("scarlet_net", pretrained, **kwargs)


def retinanet_scarlet(name: str = "scarlet_a", num_classes: int = 91, **kwargs: typing.Any) -> nn.Module:
    """torchvision's RetinaNet over the features of a SCARLET network.

    name is a network's or a genotype; num_classes counts the background. weights_backbone=True starts from the
    network's weights; the detector itself has none. Other arguments: out_channels, taps, extra_levels, anchor_scale,
    trainable_stages, frozen_norm, and those of torchvision's detector.
    """
    return _detector("retinanet", name, num_classes, **kwargs)


def fasterrcnn_scarlet(name: str = "scarlet_a", num_classes: int = 91, **kwargs: typing.Any) -> nn.Module:
    """torchvision's Faster R-CNN with FPN over a SCARLET network. Arguments as for retinanet_scarlet."""
    return _detector("fasterrcnn", name, num_classes, **kwargs)


def ssdlite_scarlet(name: str = "scarlet_a", num_classes: int = 91, **kwargs: typing.Any) -> nn.Module:
    """SSDlite on torchvision's SSD over a SCARLET network.

    Arguments as for retinanet_scarlet, but instead of a pyramid's: size, taps, extra_channels.
    """
    return _detector("ssdlite", name, num_classes, **kwargs)


def _detector(kind: str, name: str, num_classes: int, **kwargs: typing.Any) -> nn.Module:
    import scarlet_models  # noqa: F401  # registers the networks
    from scarlet_models.detection.models import DETECTORS

    return DETECTORS[kind](name, num_classes, **kwargs)


def _create(name: str, pretrained: bool, **kwargs: typing.Any) -> nn.Module:
    import timm

    import scarlet_models  # noqa: F401  # registers the models

    return timm.create_model(name, pretrained=pretrained, **kwargs)
