"""Which network of a front to train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def pick(front: Sequence[Mapping[str, Any]], rule: str) -> Mapping[str, Any]:
    """The network of a front to train.

    Args:
        front: Records with genotype, accuracy and macs.
        rule: "accuracy" is the most accurate, with fewest MACs among equals; "knee" the farthest above the line from
            the cheapest to the most accurate, after both axes are scaled to their range.
    """
    best = max(front, key=lambda record: (record["accuracy"], -record["macs"]))
    if rule == "accuracy":
        return best
    cheapest = min(front, key=lambda record: (record["macs"], -record["accuracy"]))
    macs, accuracy = (np.array([record[key] for record in front], float) for key in ("macs", "accuracy"))
    width, height = (float(best[key] - cheapest[key]) or 1.0 for key in ("macs", "accuracy"))
    above = (accuracy - cheapest["accuracy"]) / height - (macs - cheapest["macs"]) / width
    return front[int(above.argmax())]
