"""The weights that ship: their tags, the data that they were trained on, their classes and their accuracies."""

from pathlib import Path
from typing import Any, NamedTuple

from scarlet_models.documents import read_json

PUBLISHED = "xiaomi_in1k"
PUBLISHED_URL = "https://github.com/xiaomi-automl/SCARLET-NAS"


class Trained(NamedTuple):
    """Weights that this project trained at 64 px under one tag.

    Args:
        data: Name of the data set.
        hub_id: The data set's id on the Hugging Face Hub.
        classes: Names of the classes, in the order of the outputs.
        described: Readable names of the classes, where they are others.
        crop_pct: Share of the resized image that evaluation looks at.
        accuracies: Top-1 and top-5 of each network on the validation or test images, in percent.
    """

    data: str
    hub_id: str
    classes: tuple[str, ...]
    described: dict[str, str] | None = None
    crop_pct: float = 1.0
    accuracies: dict[str, list[float]] = {}  # noqa: RUF012  # a NamedTuple's defaults are its own; nothing writes to it

    def cfg(self) -> dict[str, Any]:
        """The entries of timm's pretrained cfg that are not those of the published weights."""
        return {
            "num_classes": len(self.classes),
            "crop_pct": self.crop_pct,
            "interpolation": "bicubic",
            "label_names": self.classes,
            "label_descriptions": self.described,
            "origin_url": None,
        }


_TINY: dict[str, Any] = read_json(Path(__file__).with_name("tiny_in.json"), dict)
TRAINED = {
    "tiny_in": Trained(
        "Tiny-ImageNet",
        "zh-plus/tiny-imagenet",
        tuple(_TINY["classes"]),
        _TINY["classes"],
        0.875,
        _TINY["validation"],
    ),
    "c10": Trained(
        "CIFAR-10",
        "cifar10",
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    ),
}
SHIPPED = {"scarlet_a": "tiny_in", "scarlet_b": "c10", "scarlet_c": "c10"}
