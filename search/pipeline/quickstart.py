"""The whole search in minutes on a laptop, with no network and no data: handwritten digits, a space of small networks.

Writes scikit-learn's digits as images, runs the stages of run with the recipe digits, and shows that timm loads the
result and that it reads digits it has never seen. Run it again to see that nothing is done twice.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import resolve_model_data_config

from scarlet_models.options import option
from scarlet_models.training.data import LabelledImages
from scarlet_models.training.progress import log_to_stderr
from scarlet_models.training.transforms import eval_transform

from . import run
from .digits import write_digits

EXAMPLE = """  scarlet-search quickstart
  scarlet-search quickstart --out runs/second --seed 1"""

SHOWN = 10  # digits that are printed at the end

_logger = logging.getLogger(__name__)


@dataclass
class Options:
    """Options of quickstart.

    Args:
        out: The run's folder.
        seed: Of everything random.
        threads: CPU threads for torch; 0 leaves its own choice.
        device: auto, cpu, cuda or cuda:N.
        json: Print the result as one JSON object.
    """

    out: str = option("runs/quickstart", free=True)
    seed: int = option(0, least=0, most=2**63 - 1)
    threads: int = option(0, least=0, free=True)
    device: str = option("auto", free=True)
    json: bool = option(False, once=True)


def main(options: Options) -> None:
    """Write the digits, search, and read some of them.

    Raises:
        UserError: a bad option, or a folder that cannot be written.
    """
    log_to_stderr()
    started = time.monotonic()
    digits = Path(options.out) / "digits"
    _logger.info("digits: scikit-learn's 1,797 handwritten digits are the images, in %s", digits)
    write_digits(digits)
    settings = _settings(options, digits)
    result = run.carry_out(settings)
    _logger.info("timm loads the network, which reads the digits of the test split, that nothing has seen before")
    result["read"] = read_digits(result["exported"], settings)
    result["seconds"] = round(time.monotonic() - started, 1)
    if options.json:
        print(json.dumps(result))
    else:
        _show(result)


def _settings(options: Options, digits: Path) -> run.Options:
    from scarlet_models.search.cli import PROGRAM

    recipe: run.Options = PROGRAM.parse("run", PROGRAM.load("run"), ["--config", "digits"])
    given = {key: getattr(options, key) for key in ("out", "seed", "threads", "device", "json")}
    return replace(recipe, data_dir=str(digits), name="quickstart", **given)


def read_digits(exported: str, settings: run.Options) -> list[dict[str, str]]:
    """What is on each image of the test split, and what the exported network says, loaded as timm's users do."""
    model = timm.create_model(f"local-dir:{exported}", pretrained=True).eval()
    config = resolve_model_data_config(model)
    images = LabelledImages(settings, settings.test_split)
    transform = eval_transform(config["input_size"][-1], config)
    pixels = torch.stack([transform(images[i][0]) for i in range(len(images))])
    with torch.inference_mode():
        said = model(pixels).argmax(1).tolist()
    names = images.classes
    return [{"digit": names[true], "said": names[label]} for true, label in zip(images.labels, said, strict=True)]


def _show(result: dict[str, Any]) -> None:
    run.show(result)
    read = result["read"]
    right = sum(one["digit"] == one["said"] for one in read)
    step = len(read) // SHOWN
    some = read[step // 2 :: step]
    texts = [one["said"] if one["said"] == one["digit"] else f"{one['said']} (is {one['digit']})" for one in some]
    print(f"\nit reads {right} of {len(read)} new digits right; some of them: {'  '.join(texts)}")
    print(f"{result['seconds']:.0f} seconds. Your own images, a folder with train/CLASS/*.jpg and test/CLASS/*.jpg:")
    print("scarlet-search run --config digits --data-dir PICTURES --out runs/first")
