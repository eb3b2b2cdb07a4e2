"""Training a network that a search has found, from its genotype, and scoring it once on the test split."""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scarlet_models.documents import read_json
from scarlet_models.errors import UserError
from scarlet_models.files import sha256_of, write_json
from scarlet_models.space.space import Genotype
from scarlet_models.training.classification import Start, TrainResult, train_classifier
from scarlet_models.training.data import LabelledImages, check_test_split
from scarlet_models.training.distributed import World
from scarlet_models.training.evaluation import evaluate_classifier, provenance
from scarlet_models.weights import save as saving
from scarlet_models.weights.source import locate

from .options import RetrainOptions

FINAL = "final.json"

_logger = logging.getLogger(__name__)


def retrain(options: RetrainOptions, world: World, command: str) -> tuple[TrainResult, dict[str, Any]]:
    """Trains to the end, exports, and with `options.final` scores the export: the test figures, empty without it."""
    if not options.genotype:
        raise UserError("--genotype is missing: choice indices such as 2,4,1,...; scarlet-models train takes a --model")
    genotype = Genotype.parse(options.genotype, options.space)
    test = ""
    if options.final:
        with world.main_first():
            test = check_test_split(options, LabelledImages(options, options.train_split)).fingerprint
    start = Start(str(genotype), inherit=locate(options.inherit), space=options.space)
    result = train_classifier(options, start, world, command)
    return result, _score_once(options, result.folder, world, test) if options.final else {}


def _score_once(options: RetrainOptions, folder: Path, world: World, test: str) -> dict[str, Any]:
    """The test figures in final.json, measured unless they are there for these very weights and test images."""
    path = Path(options.out) / FINAL
    if path.exists():
        known: dict[str, Any] = read_json(path, dict)
        if (known.get("weights_sha256"), known.get("data")) == (sha256_of(folder / saving.WEIGHTS), test):
            return known
    result = evaluate_classifier(str(folder), options, True, world)
    _logger.info("%s", result)
    report = {**asdict(result), **provenance(options.workers, world), "seed": options.seed}
    if world.is_main:
        write_json(path, report)
    return report
