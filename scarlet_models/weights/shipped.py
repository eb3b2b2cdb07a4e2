"""The weights that ship, trained by this project on Tiny-ImageNet at 64 px; and where the published ones come from."""

from pathlib import Path
from typing import Any

from scarlet_models.documents import read_json

PUBLISHED = "xiaomi_in1k"
PUBLISHED_URL = "https://github.com/xiaomi-automl/SCARLET-NAS"

TAG = "tiny_in"
DATA, HUB_ID = "Tiny-ImageNet", "zh-plus/tiny-imagenet"

_about: dict[str, Any] = read_json(Path(__file__).with_name(f"{TAG}.json"), dict)
CLASSES: dict[str, str] = _about["classes"]  # WordNet ids, in the order of the outputs, and readable names
ACCURACIES: dict[str, list[float]] = _about["validation"]  # top-1 and top-5 in percent, of each network that ships
CFG = {  # entries of timm's pretrained cfg that are not those of the published weights
    "num_classes": len(CLASSES),
    "crop_pct": 0.875,
    "interpolation": "bicubic",
    "label_names": tuple(CLASSES),
    "label_descriptions": CLASSES,
    "origin_url": None,
}
