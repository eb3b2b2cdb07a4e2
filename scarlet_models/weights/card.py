"""Model cards: what a network is and how to load it, as Markdown with the Hub's front matter."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from huggingface_hub import ModelCardData

from .resolve import PUBLISHED, PUBLISHED_URL, SHIPPED

CARD = "README.md"

_ABOUT = {
    PUBLISHED: "The ImageNet-1k weights that the authors of SCARLET-NAS published, in timm's layout. They come from "
    f"{PUBLISHED_URL}, which states no licence for them.",
    SHIPPED: "Trained on CIFAR-10 by the project scarlet-models, for trying things out.",
}
_DATASETS = {PUBLISHED: ["imagenet-1k"], SHIPPED: ["cifar10"]}

_USAGE = """## Use

```python
import scarlet_models  # pip install . in a clone of scarlet-models; registers the architecture with timm
import timm

model = timm.create_model({}, pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
```
"""


def card(
    model: Any, source: str, more: Mapping[str, str] | None = None, data_config: Mapping[str, Any] | None = None
) -> str:
    """A model card: what the network is and how to load it.

    Args:
        model: A timm model.
        source: What `timm.create_model` takes to load it, such as hf-hub:USER/NAME.
        more: Further facts, in Markdown; names in them need `escaped`.
        data_config: Entries of the model's data config that are others than in `pretrained_cfg`.
    """
    cfg: dict[str, Any] = {**model.pretrained_cfg, **(data_config or {})}
    tag, size = cfg.get("tag"), cfg["input_size"][-1]
    data = ModelCardData(
        tags=["image-classification", "timm", "scarlet-nas"],
        pipeline_tag="image-classification",
        library_name="timm",
        license=cfg.get("license"),
        datasets=_DATASETS.get(tag or ""),
    )
    facts = {
        "Params": f"{sum(parameter.numel() for parameter in model.parameters()):,}",
        "Input": f"{size} x {size}",
        "Classes": str(model.num_classes),
        "Paper": "SCARLET-NAS, https://arxiv.org/abs/1908.06022",
    }
    if genotype := getattr(model, "genotype", None):
        facts = {
            "Search space": escaped(genotype.space.name),
            "Genotype": f"`{genotype}`",
            "MACs": f"{genotype.cost(size, model.num_classes).macs:,}",
            **facts,
        }
    lines = [f"- **{key}:** {value}" for key, value in {**facts, **(more or {})}.items()]
    title = escaped(".".join(filter(None, (cfg["architecture"], tag))))
    front = ["---", data.to_yaml(), "---", f"# {title}", ""]
    return "\n".join([*front, _ABOUT.get(tag or "", ""), "", *lines, "", _USAGE.format(json.dumps(source))])


def escaped(text: str) -> str:
    """A name as Markdown shows it: in one line, and with nothing in it that is markup, HTML or a link."""
    return re.sub(r"([\\`*_\[\]()<>#&|~!])", r"\\\1", " ".join(str(text).split()))
