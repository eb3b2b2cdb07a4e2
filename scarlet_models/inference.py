"""Classification of images with a timm model, its transform and the names of its classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL.Image import Image
from timm.data import ImageNetInfo, create_transform, infer_imagenet_subset, resolve_model_data_config
from torch import nn

from scarlet_models.errors import UserError

_MODES = {1: "L", 3: "RGB"}  # of Pillow, by the number of channels


@dataclass(frozen=True)
class Prediction:
    """One class of an image, and its probability."""

    label: str
    index: int
    probability: float


@dataclass(frozen=True)
class Result:
    """An image's most probable classes, or what is wrong with it."""

    image: str
    predictions: list[Prediction]
    error: str | None = None


class Classifier:
    """Classifies images with a timm model in evaluation mode; one that has no classifier is a UserError."""

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.model, self.device = model.to(device).eval(), device
        config = resolve_model_data_config(model)
        channels = config["input_size"][0]
        if channels not in _MODES:
            raise UserError(f"the model takes images of {channels} channels, not greyscale or RGB ones")
        self.mode, self.labels = _MODES[channels], class_names(model)
        self.transform: Any = create_transform(**config, is_training=False)

    @torch.inference_mode()
    def __call__(self, images: Sequence[Image], top_k: int = 5) -> list[list[Prediction]]:
        """The `top_k` most probable classes of each image, the most probable first."""
        batch = torch.stack([self.transform(image.convert(self.mode)) for image in images]).to(self.device)
        top = self.model(batch).float().softmax(1).topk(min(top_k, len(self.labels)))
        return [
            [Prediction(self.labels[index], index, value) for value, index in zip(values, indices, strict=True)]
            for values, indices in zip(top.values.tolist(), top.indices.tolist(), strict=True)
        ]


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
) -> Iterator[Result]:
    """Classify images by name, a batch at a time; one for which `read` raises UserError does not stop the others."""
    for start in range(0, len(names), batch_size):
        images, errors = dict[str, Image](), dict[str, str]()
        for name in names[start : start + batch_size]:
            try:
                images[name] = read(name)
            except UserError as error:
                errors[name] = str(error)
        predictions = dict(zip(images, classifier(list(images.values()), top_k) if images else [], strict=True))
        for name in names[start : start + batch_size]:
            yield Result(name, predictions.get(name, []), errors.get(name))
