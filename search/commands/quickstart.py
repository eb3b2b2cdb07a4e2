"""Run the whole search in minutes on a laptop, with no network and no data: handwritten digits, small networks.

Writes scikit-learn's digits as images, runs the stages of run with the recipe digits, loads the result with timm, and
reads digits that it has never seen. Run it again to see that nothing is done twice.
"""

import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scarlet_models.files import owning
from scarlet_models.options import option
from scarlet_models.parsing import next_line, shell_line
from scarlet_models.search import cli
from scarlet_models.search.pipeline.options import SharedOptions
from scarlet_models.terminal import output

from . import run

EXAMPLE = """  scarlet-search quickstart
  scarlet-search quickstart --out runs/second --seed 1"""

_SHOWN = 10  # digits that are printed at the end

_logger = logging.getLogger(__name__)


@dataclass
class Options(SharedOptions):
    """Options of quickstart."""

    out: str = option("runs/quickstart", free=True)


def main(options: Options) -> None:
    from scarlet_models.search.pipeline.digits import read_digits, write_digits

    started = time.monotonic()
    digits = Path(options.out) / "digits"
    _logger.info("digits: scikit-learn's 1,797 handwritten digits are the images, in %s", digits)
    with owning(digits.parent):
        write_digits(digits)
    recipe: run.Options = cli.PROGRAM.build("run", cli.PROGRAM.resolve("run", {"config": "digits"}))
    search = replace(recipe, data_dir=str(digits), name="quickstart", **vars(options))
    result = run.carry_out(search, shell_line("scarlet-search quickstart", options))
    _logger.info("timm loads the network, which reads the digits of the test split, that nothing has seen before")
    result["read"] = read_digits(result["exported"], search)
    result["seconds"] = round(time.monotonic() - started, 1)
    output(result, options.json, _show)


def _show(result: dict[str, Any]) -> None:
    run.show(result)
    read = result["read"]
    right = sum(one["digit"] == one["said"] for one in read)
    step = len(read) // _SHOWN
    some = read[step // 2 :: step]
    texts = [one["said"] if one["said"] == one["digit"] else f"{one['said']} (is {one['digit']})" for one in some]
    print(f"\nit reads {right} of {len(read)} new digits right; some of them: {'  '.join(texts)}")
    took = f"{result['seconds']:.0f} seconds"
    print(f"{took}. For your own images, a folder with train/CLASS/*.jpg and test/CLASS/*.jpg:")
    print(next_line("scarlet-search", "run", "--config", "digits", "--data-dir", "IMAGES", "--out", "runs/first"))
