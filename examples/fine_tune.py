"""Fine-tune a network on a folder of images, then evaluate and use it.

python examples/fine_tune.py my_images          # my_images/train/CLASS/*.jpg and my_images/test/CLASS/*.jpg
"""

import sys
from pathlib import Path

import timm
import torch
from timm.data import create_transform, resolve_model_data_config

import scarlet_models  # noqa: F401  registers the networks with timm
from scarlet_models.images import read_image
from scarlet_models.training import evaluate, train


def main(images: Path, out: Path, epochs: int = 5) -> str:
    """Fine-tune on the training split, measure the test split once, and classify one of its images."""
    result = train("scarlet_c.tiny_in", images, out=out, epochs=epochs, image_size=64, lr=0.02)
    print(f"held out: {result.top1:.1f}%")
    test = evaluate(result.folder, images, final=True, test_split="test")
    print(f"test: {test.top1:.1f}% of {test.images} images")

    model = timm.create_model(f"local-dir:{result.folder}", pretrained=True).eval()
    transform = create_transform(**resolve_model_data_config(model))
    photo = sorted((images / "test").rglob("*.*"))[0]
    with torch.inference_mode():
        label = model(transform(read_image(photo)).unsqueeze(0)).argmax().item()
    name = str(model.pretrained_cfg["label_names"][label])
    print(f"{photo}: {name}")
    return name


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path("runs/fine_tune"))
