"""A detector with all that its use needs, and the folder that holds it: config.json and model.safetensors."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from torchvision.transforms import v2

from scarlet_models.documents import read_json
from scarlet_models.errors import UserError, as_user_error, first_line
from scarlet_models.networks import genotype_of, recipe_of
from scarlet_models.weights.save import whole_folder, write_weights
from scarlet_models.weights.source import CONFIG, LOCAL, WEIGHTS, locate

from .models import DETECTORS


class Found(NamedTuple):
    """What a detector found on an image, on the CPU."""

    boxes: Tensor  # x1, y1, x2, y2 in pixels of the image, float32 of shape (n, 4)
    labels: Tensor  # int64 (n,), from 1
    scores: Tensor  # float32 (n,), falling


class Detector:
    """A detector of torchvision over a network, its categories, and how images, and boxes with them, are resized.

    Args:
        config: As `describe` gives it and config.json has it. Label i is its i-th category, from 1.
        weights_from: Name of the network whose weights the backbone starts from; random ones if empty.
    """

    def __init__(self, config: Mapping[str, Any], weights_from: str = "") -> None:
        self.config = dict(config)
        self.categories: list[dict[str, Any]] = config["categories"]
        kind, short, long = config["detector"], config["short_side"], config["long_side"]
        if not 0 < short < long:
            raise UserError(f"--image-size [{short}, {long}]: the shorter side must be above 0 and below the longer")
        square = kind == "ssdlite"
        self.resize = v2.Resize((short, short)) if square else v2.Resize(short, max_size=long)
        sizes = {"size": short} if square else {"min_size": short, "max_size": long}
        network = {**config["network"], **({"name": weights_from} if weights_from else {})}
        arguments = {**sizes, **network, **config["arguments"], "weights_backbone": bool(weights_from)}
        with as_user_error(f"{kind} cannot be built", TypeError):
            self.model = DETECTORS[kind](num_classes=len(self.categories) + 1, **arguments)
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
        """What is on images that `prepare` gave, in pixels of their sizes (width, height) before that."""
        device = next(self.model.parameters()).device
        found = []
        for image, size, result in zip(images, sizes, self.model.eval()([i.to(device) for i in images]), strict=True):
            boxes, labels, scores = (result[name].cpu() for name in ("boxes", "labels", "scores"))
            scale = torch.tensor(size) / torch.tensor([image.shape[2], image.shape[1]])
            found.append(Found(boxes * scale.repeat(2), labels, scores))
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
        """Write the folder that `load` reads, or replace such a folder, whole or not at all."""
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
    """The config of a detector: a key of DETECTORS, its network, the function's arguments, and what it sees and finds.

    A network of a space is told by its genotype and the whole space, any other by timm's name, never by its folder.
    `sides` are the shorter and the longer one of images; for ssdlite the first is that of a square. `categories` are in
    the order of labels.
    """
    if "weights_backbone" in arguments:
        raise UserError("--detector-args weights_backbone: give --pretrained or --no-pretrained in its place")
    genotype, (architecture, built_with) = genotype_of(network), recipe_of(network)
    own = {"name": str(genotype), "space": genotype.space.to_dict()} if genotype else {"name": architecture}
    more = {key: value for key, value in built_with.items() if key not in ("genotype", "space", "num_classes")}
    return {
        "detector": detector,
        "network": {**own, "model_args": more},
        "arguments": dict(arguments),
        "short_side": sides[0],
        "long_side": sides[1],
        "categories": list(categories),
    }


def load(folder: Path | str) -> Detector:
    """The detector of such a folder, or of a run that has exported one, in eval mode on the CPU."""
    place = Path(locate(str(folder)).removeprefix(f"{LOCAL}:"))
    try:
        detector = Detector(read_json(place / CONFIG, dict))
        detector.model.load_state_dict(safetensors.torch.load_file(place / WEIGHTS))
    except KeyError as error:
        raise UserError(f"{folder} is not a trained detector: {CONFIG} has no {error}") from error
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{folder} is not a trained detector: {first_line(error)}") from error
    detector.model.eval()
    return detector
