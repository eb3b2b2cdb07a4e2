"""Inference: batch norms folded into convolutions; classification of images with a timm model and its classes."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from PIL.Image import Image
from timm.data import ImageNetInfo, create_transform, infer_imagenet_subset, resolve_model_data_config
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from scarlet_models.errors import UserError

_MODES = {1: "L", 3: "RGB"}  # of Pillow, by the number of channels


@dataclass(frozen=True)
class Prediction:
    """One class of an image, and its probability."""

    label: str
    index: int
    probability: float


class Classifier:
    """Classifies images with a timm model in evaluation mode; one that has no classifier is a UserError."""

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.model, self.device = fast(model, device), device
        config = resolve_model_data_config(model)
        channels = config["input_size"][0]
        if channels not in _MODES:
            raise UserError(f"the model takes images of {channels} channels, not greyscale or RGB ones")
        self.mode, self.labels = _MODES[channels], class_names(model)
        self.transform: Any = create_transform(**config, is_training=False)

    @torch.inference_mode()
    def __call__(self, images: Sequence[Image], top_k: int = 5) -> list[list[Prediction]]:
        """The `top_k` most probable classes of each image, the most probable first."""
        batch = torch.stack([self.transform(image.convert(self.mode)) for image in images])
        batch = batch.to(self.device, memory_format=torch.channels_last)
        top = self.model(batch).float().softmax(1).topk(min(top_k, len(self.labels)))
        return [
            [Prediction(self.labels[index], index, value) for value, index in zip(values, indices, strict=True)]
            for values, indices in zip(top.values.tolist(), top.indices.tolist(), strict=True)
        ]


def fast(model: nn.Module, device: torch.device) -> nn.Module:
    """The model as it is fastest in evaluation: on the device, in channels_last, its batch norms folded if possible.

    A model that does not run each batch norm right behind the convolution before it gives other logits; it stays whole.
    """
    layout: Any = {"memory_format": torch.channels_last}
    model = model.to(device, **layout).eval()
    folded = fold_batch_norms(copy.deepcopy(model))
    shape = resolve_model_data_config(model)["input_size"]
    images = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)).to(device, **layout)
    try:
        with torch.inference_mode():
            before, after = model(images), folded(images)
            same = torch.allclose(before, after, rtol=1e-3, atol=1e-3 * float(before.abs().max()))
    except (RuntimeError, TypeError, AttributeError, AssertionError):
        return model
    return folded.to(device, **layout) if same else model


def fold_batch_norms(module: nn.Module) -> nn.Module:
    """Folds each batch norm that follows a convolution among a module's children into it, in place, in eval mode.

    The parts that change are new; the others, and all parameters, stay as they are.
    """
    parts = list(module._modules.items())
    for (name, conv), (following, norm) in pairwise([*parts, ("", None)]):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, _BatchNorm) and norm.num_features == conv.out_channels:
            module._modules[name] = fuse_conv_bn_eval(conv, norm)
            module._modules[following] = getattr(norm, "act", None) or nn.Identity()  # timm's norms hold it
        elif conv is not None:
            fold_batch_norms(conv)
    return module


def class_names(model: nn.Module) -> list[str]:
    """Names of a model's classes: those of its cfg, else ImageNet's if the number fits, else "class 0" and so on."""
    cfg: Any = model.pretrained_cfg
    count: Any = model.num_classes
    if not count:
        raise UserError("the model has no classifier (num_classes is 0)")
    if (names := cfg.get("label_names")) and len(names) == count:
        described = cfg.get("label_descriptions") or {}
        return [str(described.get(name, name)) for name in names]
    if subset := infer_imagenet_subset(model):
        return list(ImageNetInfo(subset).label_descriptions())
    return [f"class {index}" for index in range(count)]


def classify_named(
    classifier: Classifier, names: Sequence[str], read: Callable[[str], Image], batch_size: int, top_k: int = 5
) -> Iterator[tuple[str, list[Prediction], str]]:
    """Each image's name, its most probable classes, and what is wrong with it: why `read` raised UserError."""
    for start in range(0, len(names), batch_size):
        batch, images, errors = names[start : start + batch_size], dict[str, Image](), dict[str, str]()
        for name in batch:
            try:
                images[name] = read(name)
            except UserError as error:
                errors[name] = str(error)
        predictions = dict(zip(images, classifier(list(images.values()), top_k) if images else [], strict=True))
        yield from ((name, predictions.get(name, []), errors.get(name, "")) for name in batch)
