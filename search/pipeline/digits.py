"""scikit-learn's handwritten digits as a folder of images: data that needs no network. And reading them back."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from scarlet_models.errors import UserError
from scarlet_models.training.data import LabelledImages
from scarlet_models.training.options import DataOptions
from scarlet_models.training.transforms import eval_transform
from scarlet_models.weights.save import load

TEST_SHARE = 0.2


def write_digits(folder: Path) -> None:
    """Write 1,797 greyscale images of 8 px as FOLDER/{train,test}/DIGIT/NUMBER.png, unless the folder is there.

    A fifth, drawn at random from a fixed seed, is the test split. (Alpaydin and Kaynak, UCI, 1998; CC BY 4.0.)
    """
    from sklearn.datasets import load_digits

    if folder.exists():
        return
    images, labels = load_digits(return_X_y=True)
    test = np.random.default_rng(0).permutation(len(labels)) < TEST_SHARE * len(labels)
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = unfinished / ("test" if test[number] else "train") / str(label) / f"{number:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.rint(image.reshape(8, 8) * (255 / 16)).astype(np.uint8)
            Image.fromarray(pixels).save(path)
        unfinished.rename(folder)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}; choose another --out") from None


def read_digits(exported: str, data: DataOptions) -> list[dict[str, str]]:
    """What is on each image of the test split, and what the exported network says."""
    import torch
    from timm.data import resolve_model_data_config

    model = load(exported)
    config = resolve_model_data_config(model)
    images = LabelledImages(data, data.test_split)
    transform = eval_transform(config["input_size"][-1], config)
    pixels = torch.stack([transform(images[i][0]) for i in range(len(images))])
    with torch.inference_mode():
        said = model(pixels).argmax(1).tolist()
    names = images.classes
    return [{"digit": names[true], "said": names[label]} for true, label in zip(images.labels, said, strict=True)]
