"""Extract features of a frozen network and train a logistic regression on them.

python examples/linear_probe.py my_images          # my_images/train/CLASS/*.jpg and my_images/test/CLASS/*.jpg
"""

import sys
from pathlib import Path

import timm
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from timm.data import create_dataset, create_transform, resolve_model_data_config
from torch import Tensor
from torch.utils.data import DataLoader

import scarlet_models  # noqa: F401  registers the networks with timm


@torch.inference_mode()
def extract(images: Path, split: str) -> tuple[Tensor, Tensor]:
    """Features (N, 1280) of a split's images, and their labels (N,)."""
    model = timm.create_model("scarlet_a.tiny_in", pretrained=True, num_classes=0).eval()
    transform = create_transform(**resolve_model_data_config(model))
    data = create_dataset("", root=str(images), split=split, transform=transform)
    batches = [(model(pixels), labels) for pixels, labels in DataLoader(data, batch_size=64)]
    return torch.cat([features for features, _ in batches]), torch.cat([labels for _, labels in batches])


def main(images: Path) -> float:
    """Percent of the test images that the regression classifies correctly."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    probe.fit(*extract(images, "train"))
    top1 = 100 * float(probe.score(*extract(images, "test")))
    print(f"linear probe: {top1:.1f}% of the test images")
    return top1


if __name__ == "__main__":
    main(Path(sys.argv[1]))
