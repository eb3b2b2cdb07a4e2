"""Small data sets and random supernets."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from timm.data import resolve_data_config

from scarlet_models.search.supernet.file import SupernetInfo, save_supernet
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.training.data import LabelledImages
from scarlet_models.training.options import DataOptions
from scarlet_models.training.split import split_holdout

DATA_CONFIG = resolve_data_config({"input_size": (3, 32, 32)})


def write_images(folder: Path, classes: int = 3, each: int = 20) -> None:
    """Random images whose brightness tells the class."""
    rng = np.random.default_rng(0)
    for label in range(classes):
        (folder / "train" / f"class{label}").mkdir(parents=True)
        for i in range(each):
            pixels = rng.integers(0, 100, (32, 32, 3)) + 70 * label
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "train" / f"class{label}" / f"{i}.png")


def write_supernet(data: Path, folder: Path, stabilizer: str = "linear", seed: int = 0) -> Supernet:
    """A random supernet of the mini space that claims to be trained on the images."""
    images = LabelledImages(DataOptions(data_dir=str(data)), "train")
    split = split_holdout(images.ids, images.labels, 0.4, 0)
    info = SupernetInfo(32, DATA_CONFIG, images.classes, 0.4, 0, split.hash, 1, "fair")
    torch.manual_seed(seed)
    net = Supernet("mini", len(images.classes), stabilizer, init="torch")
    folder.mkdir()
    save_supernet(net, folder, info)
    return net
