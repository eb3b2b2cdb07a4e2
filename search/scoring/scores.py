"""Scores for a search: a supernet's paths on held-out images, or a table of known accuracies."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from scarlet_models.space.space import Genotype, SearchSpace
from scarlet_models.training.device import to_device
from scarlet_models.training.distributed import World

from .heldout import HeldOut, TrainedSupernet
from .options import ScoreOptions
from .population import PopulationEvaluator
from .score_cache import Score, ScoreCache

if TYPE_CHECKING:
    from .anchors import Anchors

_logger = logging.getLogger(__name__)

# Networks in one pass over the images: few, so that a killed search repeats little; more if a pass decodes images.
_CHUNK, _DECODING_CHUNK = 64, 256
_PRECISIONS = {"none": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Scores(ABC):
    """Gives accuracies in percent of genotypes (N, layers), and top-1 of the paths, NaN if that is the same: (2, N)."""

    source: str  # the supernet's sha256, or "table"
    space: SearchSpace
    classes: int
    networks: np.ndarray | None = None  # all that can be scored; None for the whole space
    anchors: Anchors | None = None  # what may correct the scores

    @abstractmethod
    def __call__(self, genotypes: np.ndarray) -> np.ndarray: ...

    def images(self) -> int:
        """The images of which an accuracy is the share that is right; 0 if it is not such a share."""
        return 0


class TableScores(Scores):
    """Known accuracies."""

    source = "table"

    def __init__(self, known_accuracies: Mapping[Genotype, float], space: SearchSpace) -> None:
        self.space, self.classes = space, space.num_classes
        self.networks = np.array([genotype.choices for genotype in known_accuracies])
        self.known = {genotype.choices: accuracy for genotype, accuracy in known_accuracies.items()}

    def __call__(self, genotypes: np.ndarray) -> np.ndarray:
        return np.array([(self.known[row], np.nan) for row in map(tuple, genotypes.tolist())]).T


class PathScores(Scores):
    """Top-1 of a supernet's paths, from the score cache or measured now by all ranks together.

    Rank 0 calls; the other ranks `serve` until rank 0 closes. The images are read when the first path is measured.
    """

    def __init__(self, supernet: TrainedSupernet, options: ScoreOptions, folder: Path, world: World) -> None:
        self.net, info = supernet.net, supernet.info
        self.source, self.space, self.classes, self.world = info.sha256, self.net.space, len(info.classes), world
        with world.main_first():
            self.held = HeldOut(options, info)
        self.options = options
        file, conditions = folder / "evaluations.jsonl", self.held.conditions(options)
        self.score_cache = ScoreCache(file, conditions) if world.is_main else None
        self.evaluator: PopulationEvaluator | None = None
        self.measuring = False

    def correct(self, known: Mapping[Genotype, float]) -> None:
        """Correct the scores by anchors of known accuracy, if that is better in cross-validation."""
        from .anchors import Anchors

        self.anchors = Anchors(known, self.measure(np.array([genotype.choices for genotype in known])))
        _logger.info("%s", self.anchors.summary())

    def __call__(self, genotypes: np.ndarray) -> np.ndarray:
        scores = self.measure(genotypes)
        top1 = np.array([score.top1 for score in scores])
        if self.anchors and self.anchors.better:
            return np.stack([self.anchors.predict(genotypes, scores), top1])
        return np.stack([top1, np.full(len(top1), np.nan)])

    def images(self) -> int:
        if not (self.score_cache and self.score_cache.known) or (self.anchors and self.anchors.better):
            return 0
        return next(iter(self.score_cache.known.values())).images  # all have as many: the conditions are the same

    def measure(self, genotypes: np.ndarray) -> list[Score]:
        """The scores of genotypes (N, layers)."""
        assert self.score_cache is not None
        wanted = [Genotype(tuple(row), self.space) for row in genotypes.tolist()]
        if not all(genotype.choices in self.score_cache.known for genotype in wanted):
            self.measuring = True
            self._measure(self.world.broadcast(wanted))
            self.measuring = False
        return [self.score_cache.known[genotype.choices] for genotype in wanted]

    def serve(self) -> None:
        """Help rank 0 to measure until it closes."""
        while (wanted := self.world.broadcast(None)) is not None:
            self._measure(wanted)

    def close(self) -> None:
        """Release the other ranks, unless rank 0 failed during a measurement: torchrun then ends them."""
        if self.world.is_main and not self.measuring:
            self.world.broadcast(None)

    def _measure(self, wanted: list[Genotype]) -> None:
        if self.evaluator is None:
            device, options = self.world.device, self.options
            batches, calibration = self.held.batches(device), None
            if options.batch_norm == "recalibrated":
                calibration, _ = self.held.calibration(options.calibration_images, device)
            self.evaluator = PopulationEvaluator(
                to_device(self.net, device, fast_depthwise=False),
                batches,
                calibration,
                chunk=_CHUNK if isinstance(batches, list) else _DECODING_CHUNK,
                dtype=_PRECISIONS[options.amp],
                score_cache=self.score_cache,
                world=self.world,
                progress=True,
            )
        self.evaluator.evaluate(wanted)
