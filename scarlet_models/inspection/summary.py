"""What is known about networks, as plain data: what `scarlet-models list` and `info` print."""

from dataclasses import asdict
from typing import Any

import timm
from timm.models import get_pretrained_cfg

from scarlet_models.networks import create_on_meta, genotype_of, image_size
from scarlet_models.weights.store import find

from .counting import count, count_with_thop
from .layout import feature_taps, layout


def summarise_released() -> list[dict[str, Any]]:
    """Every model and tag of this package: its cost, and the file of its weights (None if there is none here)."""
    summaries = []
    for name in timm.list_models("scarlet_*", include_tags=True, exclude_filters=["scarlet_net*"]):
        cfg: Any = get_pretrained_cfg(name)
        architecture, _, tag = name.partition(".")
        size, genotype = cfg.input_size[-1], genotype_of(name)
        cost = genotype.cost(size, cfg.num_classes) if genotype else count(create_on_meta(name), size)
        weights = find(architecture, tag) if tag else None
        shape = {"input_size": size, "num_classes": cfg.num_classes, "params": cost.params, "macs": cost.macs}
        summaries.append({"model": name, **shape, "weights": str(weights) if weights else None})
    return summaries


def describe(name: str, space: str = "scarlet", input_size: int = 0) -> dict[str, Any]:
    """A network's genotype, blocks, feature taps and cost by each counter (None if a counter does not apply)."""
    genotype = genotype_of(name, space)
    model: Any = create_on_meta(name, space)
    size = input_size or image_size(model)
    return {
        "model": name,
        "genotype": str(genotype) if genotype else None,
        "space": genotype.space.name if genotype else None,
        "input_size": size,
        "num_classes": model.num_classes,
        "blocks": [asdict(block) for block in layout(model, size, genotype)],
        "cost": {
            "genotype": asdict(genotype.cost(size, model.num_classes)) if genotype else None,
            "torch": asdict(count(model, size)),
            "thop": asdict(count_with_thop(model, size)),
        },
        "feature_taps": feature_taps(model),
    }
