"""COCO's average precision of boxes, by faster-coco-eval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scarlet_models.errors import UserError, how_to_add

FIGURES = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")  # the first six that COCO's tools print


def average_precision(ground_truth: dict[str, Any], detections: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """FIGURES in [0, 1] over all images of the ground truth, and AP50_of: that of each category by name.

    A figure is None where there is nothing to find. Arguments are as in COCO's instances and results formats.
    """
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise UserError(f"needs {error.name}: {how_to_add('detection')}") from None
    coco = COCO({**ground_truth, "info": {}})
    evaluation = COCOeval_faster(coco, coco.loadRes([dict(row) for row in detections]), iouType="bbox")
    evaluation.run()
    # Precision by IoU threshold, recall, category, size and number of detections; -1 where there is nothing to find.
    at_half = evaluation.eval["precision"][0, :, :, 0, -1]
    names = [category["name"] for category in ground_truth["categories"]]
    by_category = {name: _known(at_half[:, number].mean()) for number, name in enumerate(names)}
    figures = {name: _known(value) for name, value in zip(FIGURES, evaluation.stats[:6], strict=True)}
    return {**figures, "AP50_of": by_category}


def _known(value: float) -> float | None:
    return float(value) if value > -1 else None
