"""A detector with all that its use needs, and the folder that holds it: config.json and model.safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from torchvision.transforms import v2

from scarlet_models.errors import UserError, first_line
from scarlet_models.networks import genotype_of
from scarlet_models.weights.save import CONFIG, WEIGHTS, whole_folder, write_weights

from .models import DETECTORS

_KEYS = ("detector", "network", "arguments", "short_side", "long_side", "categories")


@dataclass(frozen=True)
class Found:
    """What a detector found on an image.

    Args:
        boxes: x1, y1, x2, y2 in pixels of the image, float32 of shape (n, 4), on the CPU.
        labels: int64 (n,), from 1.
        scores: float32 (n,), falling.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor

    def above(self, threshold: float) -> Found:
        """What has at least this score."""
        kept = self.scores >= threshold
        return Found(self.boxes[kept], self.labels[kept], self.scores[kept])


class Detector:
    """A detector of torchvision over a network, its categories, and how images are resized for it.

    Attributes:
        config: detector, network, arguments, short_side, long_side and categories, as config.json has them.
        categories: id and name of each; label i is the i-th, from 1.
        resize: For PIL images, and boxes with them.
    """

    def __init__(self, config: Mapping[str, Any], weights_from: str = "") -> None:
        """Builds the detector anew.

        Args:
            config: As `describe` gives it.
            weights_from: Name of the network whose weights the backbone starts from; random ones if empty.

        Raises:
            UserError: There is no such network, or an argument that the detector does not take.
        """
        self.config = dict(config)
        self.categories: list[dict[str, Any]] = config["categories"]
        kind, short, long = config["detector"], config["short_side"], config["long_side"]
        if not 0 < short < long:
            raise UserError(f"--image-size [{short}, {long}]: the shorter side must be above 0 and below the longer")
        square = kind == "ssdlite"
        self.resize = v2.Resize((short, short)) if square else v2.Resize(short, max_size=long)
        network = dict(config["network"])
        name = network.pop("name")
        sizes = {"size": short} if square else {"min_size": short, "max_size": long}
        arguments = {**sizes, **network, **config["arguments"], "weights_backbone": bool(weights_from)}
        try:
            self.model = DETECTORS[kind](weights_from or name, len(self.categories) + 1, **arguments)
        except TypeError as error:
            raise UserError(f"{kind} cannot be built: {first_line(error)}") from error
        if "image_mean" not in config["arguments"]:  # weights bring their own, which must be known without them
            transform: Any = self.model.transform
            own = {"image_mean": transform.image_mean, "image_std": transform.image_std}
            self.config["arguments"] = {**config["arguments"], **own}

    def prepare(self, image: Image.Image) -> Tensor:
        """An image as the model takes it: float32 (3, H, W) in [0, 1], resized."""
        pixels: Tensor = v2.functional.to_dtype(v2.functional.to_image(self.resize(image)), torch.float32, scale=True)
        return pixels.as_subclass(Tensor)

    @torch.inference_mode()
    def find(self, images: Sequence[Tensor], sizes: Sequence[tuple[int, int]]) -> list[Found]:
        """What is on images.

        Args:
            images: As `prepare` gives them.
            sizes: Width and height of each before that; boxes are given in these pixels.
        """
        device = next(self.model.parameters()).device
        found = []
        for image, size, result in zip(images, sizes, self.model.eval()([i.to(device) for i in images]), strict=True):
            scale = torch.tensor(size) / torch.tensor([image.shape[2], image.shape[1]])
            boxes = result["boxes"].cpu() * scale.repeat(2)
            found.append(Found(boxes, result["labels"].cpu(), result["scores"].cpu()))
        return found

    def as_coco(self, found: Found, image_id: int) -> list[dict[str, Any]]:
        """COCO's results format: the box as x, y, width and height, with the categories' own ids."""
        sized = torch.cat([found.boxes[:, :2], found.boxes[:, 2:] - found.boxes[:, :2]], 1)
        rows = zip(sized.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True)
        return [
            {"image_id": image_id, "category_id": self.categories[label - 1]["id"], "bbox": box, "score": score}
            for box, label, score in rows
        ]

    def save(self, folder: Path) -> None:
        """Writes the folder that `load` reads, replacing such a folder, whole or not at all.

        Raises:
            UserError: It cannot be written, or holds other files.
        """
        with whole_folder(folder, {CONFIG, WEIGHTS}) as new:
            (new / CONFIG).write_text(json.dumps(self.config, indent=2) + "\n")
            write_weights(self.model.state_dict(), new / WEIGHTS)


def describe(
    detector: str,
    network: str,
    arguments: Mapping[str, Any],
    sides: tuple[int, int],
    categories: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The config of a detector; a network of a space is told by its genotype and the whole space.

    Args:
        detector: A key of DETECTORS.
        network: A released name, a genotype of the space scarlet, local-dir:FOLDER, or any name of timm.
        arguments: Of the detector's function.
        sides: Shorter and longer side of the images that it sees; for ssdlite the first is that of a square.
        categories: id and name of each, in the order of labels.

    Raises:
        UserError: There is no such network.
    """
    genotype = genotype_of(network)
    inline = {"name": str(genotype), "space": genotype.space.to_dict()} if genotype else {"name": network}
    parts = (detector, inline, dict(arguments), *sides, list(categories))
    return dict(zip(_KEYS, parts, strict=True))


def load(folder: Path | str) -> Detector:
    """The detector of such a folder, in eval mode on the CPU.

    Raises:
        UserError: The folder is incomplete, damaged, or of something else.
    """
    folder = Path(folder)
    try:
        config = json.loads((folder / CONFIG).read_text())
        if not isinstance(config, dict) or not set(_KEYS) <= set(config) or config["detector"] not in DETECTORS:
            raise ValueError(f"{CONFIG} describes no detector")
        detector = Detector(config)
        detector.model.load_state_dict(safetensors.torch.load((folder / WEIGHTS).read_bytes()))
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{folder} is not a trained detector: {first_line(error)}") from error
    detector.model.eval()
    return detector
