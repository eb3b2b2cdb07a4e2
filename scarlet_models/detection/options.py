"""Options of training a detector. Imports no torch."""

from dataclasses import dataclass
from typing import Any, Literal

from scarlet_models.options import option
from scarlet_models.training.options import RunOptions, ScheduleOptions


@dataclass
class DetectOptions(ScheduleOptions, RunOptions):  # fields: last base first
    """What detector is trained, and on which images.

    Args:
        images: Folder or uncompressed tar of the images.
        annotations: Their boxes: JSON in COCO's instances format.
        split: Train on this split of the JSON's own "splits"; empty for all images.
        val_images: Images to measure on after epochs; those of --images if empty.
        val_annotations: Their boxes; those of --annotations if empty.
        val_split: Split to measure on. With neither this nor --val-annotations nothing is measured.
        val_every: Epochs between measurements; the last epoch is always measured.
        workers: Processes that decode and augment images; 0 does it in the main process.
        detector: What is built over the network's features.
        model: The network: a name, a genotype of the space scarlet, or a folder that a training exported.
        pretrained: Start from the network's weights.
        detector_args: More arguments of the detector: out_channels, taps, extra_levels, anchor_scale, trainable_stages,
            frozen_norm, and torchvision's own.
        image_size: Shorter side in pixels that images are resized to, and what the longer side may be at most. For
            ssdlite the first is the side of a square.
        flip: Probabilities of a horizontal and of a vertical flip.
        color_jitter: Strength of brightness, contrast and saturation changes; 0 for none.
        epochs: Passes over the training images.
    """

    out: str = option("runs/detect", free=True)
    images: str = option("", free=True)
    annotations: str = option("", free=True)
    split: str = ""
    val_images: str = option("", free=True)
    val_annotations: str = option("", free=True)
    val_split: str = ""
    val_every: int = option(1, least=1)
    workers: int = option(2, least=0, free=True)
    detector: Literal["retinanet", "fasterrcnn", "ssdlite"] = "retinanet"
    model: str = "scarlet_a"
    pretrained: bool = True
    detector_args: dict[str, Any] = option({})
    image_size: tuple[int, int] = option((800, 1333), least=1)
    flip: tuple[float, float] = option((0.5, 0.0), least=0, most=1)
    color_jitter: float = option(0.0, least=0)
    epochs: int = option(12, least=0)
    batch_size: int = option(16, least=1)
    lr: float = option(0.01, least=0)
    weight_decay: float = option(0.0001, least=0)
