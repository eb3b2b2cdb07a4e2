"""The whole search in minutes on a laptop, with no network and no data: handwritten digits, a space of small networks.

Writes scikit-learn's digits as pictures, runs the stages of run with the recipe digits, and shows that timm loads the
result and that it reads digits it has never seen. Run it again to see that nothing is done twice.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from timm.data import resolve_model_data_config

from . import run
from .data import Pictures, eval_transform
from .digits import write_digits
from .progress import log_to_stderr

EXAMPLE = """  scarlet-search quickstart
  scarlet-search quickstart --out runs/second --seed 1"""

SHOWN = 10  # digits that are read at the end


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

    out: str = "runs/quickstart"
    seed: int = 0
    threads: int = 0
    device: str = "auto"
    json: bool = False


def main(options: Options) -> None:
    """Write the digits, search, and read some of them.

    Raises:
        UserError: a bad option, or a folder that cannot be written.
    """
    log_to_stderr()
    if options.threads:
        torch.set_num_threads(options.threads)
    started = time.monotonic()
    digits = Path(options.out) / "digits"
    write_digits(digits)
    settings = _settings(options, digits)
    search = run.Search(settings)
    search.show_plan()
    result = search.run()
    result["read"] = read_digits(result["exported"], settings)
    result["seconds"] = round(time.monotonic() - started, 1)
    if options.json:
        print(json.dumps(result))
        return
    run.show(result)
    pairs = "  ".join(f"{said}" if said == true else f"{said} (is {true})" for true, said in result["read"])
    print(f"it reads  {pairs}")
    print(f"{result['seconds']:.0f} seconds; next: scarlet-search run --config digits --data-dir PICTURES")


def _settings(options: Options, digits: Path) -> run.Options:
    from .cli import PROGRAM

    arguments = ["--config", "digits", "--data-dir", str(digits), "--out", options.out, "--name", "quickstart"]
    for key in ("seed", "threads", "device"):
        arguments += [f"--{key}", str(getattr(options, key))]
    parsed: run.Options = PROGRAM.parse("run", PROGRAM.load("run"), arguments)
    return parsed


def read_digits(exported: str, settings: run.Options) -> list[tuple[str, str]]:
    """What is on some pictures of the test split, and what the exported network says, loaded as timm's users do."""
    model = timm.create_model(f"local-dir:{exported}", pretrained=True).eval()
    config = resolve_model_data_config(model)
    pictures = Pictures(settings, settings.test_split)
    transform = eval_transform(config["input_size"][-1], config)
    chosen = range(0, len(pictures), len(pictures) // SHOWN)
    images = torch.stack([transform(pictures[i][0]) for i in chosen])
    with torch.inference_mode():
        said = model(images).argmax(1).tolist()
    names = pictures.classes
    return [(names[pictures.labels[i]], names[label]) for i, label in zip(chosen, said, strict=True)]
