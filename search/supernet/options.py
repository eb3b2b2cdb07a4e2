"""Options of training a supernet. Imports no torch."""

from dataclasses import dataclass
from typing import Literal

from scarlet_models.options import option
from scarlet_models.training.options import CropOptions, OptimizerOptions, RunOptions, TrainData


@dataclass
class SupernetOptions(OptimizerOptions, CropOptions, TrainData, RunOptions):  # fields: last base first
    """How a supernet is trained.

    Args:
        space: Search space: a name, a YAML file, or a network of timm's EfficientNet family, whose blocks are then the
            choices; empty for that of --inherit, else scarlet.
        stabilizer: What an identity trains as: linear (the paper's 1x1 convolution), skip (a plain skip), bn or relu
            (the convolution with batch norm or ReLU behind it).
        init: How stabilizers are initialised: torch (as any convolution), identity, orthogonal or identity_noise.
        inherit: Fill all choices from a trained network, layer by layer, for few images or little time: a saved folder,
            or the name of a network that has weights, such as mobilenetv4_conv_small.e2400_r224_in1k.
        sampling: "fair" runs each choice equally often (FairNAS); "uniform" draws as many paths, each on its own;
            "single" draws one path a step (SPOS).
        epochs: Passes over the training images.
        steps: Fair steps to train instead of epochs; 0 for epochs.
        image_size: Side of the images in pixels; 0 for the space's own.
        label_smoothing: Share of the target that is spread over all classes.
        average_shared: Divide the gradient of stem and head, which every path adds to, by the number of paths.
        crop_pct: Share of the resized image that evaluation looks at; 0 for 0.875.
        choices_every: Fair steps between the rows of choices.csv.
        eval_images: Held-out images to score a fixed fair step of paths on after each epoch; 0 for none.
    """

    out: str = option("runs/supernet", free=True)
    space: str = ""
    stabilizer: Literal["linear", "skip", "bn", "relu"] = "linear"
    init: Literal["torch", "identity", "orthogonal", "identity_noise"] = "identity"
    inherit: str = ""
    sampling: Literal["fair", "uniform", "single"] = "fair"
    epochs: int = option(60, least=0)
    steps: int = option(0, least=0)
    image_size: int = option(0, least=0)
    opt: str = "momentum"
    lr: float = option(0.045, least=0)
    label_smoothing: float = option(0.0, least=0, most=1)
    average_shared: bool = True
    clip_grad: float = option(20.0, least=0)
    crop_pct: float = option(0.0, least=0, most=1)
    choices_every: int = option(50, least=1)
    eval_images: int = option(500, least=0)
