"""What is on images: the most probable classes of each, from files, folders, or one image on stdin.

Images are resized and cropped as the network's weights want it. One that cannot be read gets one line on stderr, the
others go on, and the exit status is 2 in the end. With --json there is one JSON object a line for each image.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scarlet_models.errors import UserError
from scarlet_models.options import option

if TYPE_CHECKING:
    from PIL.Image import Image

    from scarlet_models.inference import Classifier, Prediction

EXAMPLE = """  scarlet-models classify cat.jpg holiday/ --model scarlet_a.c10
  curl -s https://example.org/cat.jpg | scarlet-models classify - --top-k 3
  scarlet-models classify photos/ --model local-dir:runs/a/exported/a --json > classes.jsonl"""


@dataclass
class Options:
    """Options of classify.

    Args:
        images: Files, folders (searched in them and below), or - for one image on stdin.
        model: A name from `scarlet-models list` or of timm, local-dir:FOLDER or hf-hub:ID.
        top_k: Classes shown of each image.
        batch_size: Images classified at once.
        device: cpu, cuda or cuda:N.
        json: Print one JSON object a line for each image.
    """

    images: list[str] = option(positional=True)
    model: str = "scarlet_a"
    top_k: int = 5
    batch_size: int = option(32, least=1)
    device: str = option("cpu", free=True)
    json: bool = option(False, once=True)


@dataclass
class _Result:
    """What is known about an image in the end."""

    image: str
    predictions: list[Prediction]
    error: str | None = None


def main(options: Options) -> None:
    """Print the classes of each image as they come; fail at the end if some could not be read."""
    from rich.console import Console
    from rich.progress import Progress

    from scarlet_models.images import find_images
    from scarlet_models.inference import Classifier
    from scarlet_models.networks import create
    from scarlet_models.training.device import pick_device

    if options.top_k < 1 or options.batch_size < 1:
        raise UserError("--top-k and --batch-size must be 1 or more")
    names = [str(found) for name in options.images for found in (["-"] if name == "-" else find_images(name))]
    device = pick_device(options.device)
    classifier = Classifier(create(options.model, pretrained=True), device)
    bad = 0
    # Where results go to the terminal they are the progress.
    hidden = sys.stdout.isatty() or not sys.stderr.isatty() or len(names) <= options.batch_size
    with Progress(console=Console(stderr=True), disable=hidden) as progress:
        task = progress.add_task("images", total=len(names))
        for result in _classify(classifier, names, options):
            if result.error and len(names) == 1:
                raise UserError(f"{result.image}: {result.error}")
            bad += result.error is not None
            _show(result, options.json)
            progress.advance(task)
    if bad:
        raise UserError(f"{bad} of {len(names)} images could not be read")


def _classify(classifier: Classifier, names: list[str], options: Options) -> Iterator[_Result]:
    for start in range(0, len(names), options.batch_size):
        read = [(name, *_read(name)) for name in names[start : start + options.batch_size]]
        images = [image for _, image, _ in read if image is not None]
        predictions = iter(classifier(images, options.top_k) if images else [])
        for name, _, error in read:
            yield _Result(_printable(name), [] if error else next(predictions), error)


def _read(name: str) -> tuple[Image | None, str | None]:
    """An image, or what is wrong with it."""
    from scarlet_models.images import read_image

    try:
        return read_image(sys.stdin.buffer.read() if name == "-" else Path(name)), None
    except UserError as error:
        return None, str(error)


def _printable(name: str) -> str:
    """A file's name as it is, unless it would disturb a terminal."""
    if name == "-":
        return "stdin"
    return name if name.isprintable() else repr(name)


def _show(result: _Result, as_json: bool) -> None:
    if result.error:
        print(f"scarlet-models classify: {result.image}: {result.error}", file=sys.stderr, flush=True)
    if as_json:
        known = asdict(result)
        print(json.dumps({key: value for key, value in known.items() if value}))
    elif not result.error:
        _show_bars(result)


def _show_bars(result: _Result) -> None:
    from rich.bar import Bar
    from rich.table import Table
    from rich.text import Text

    from scarlet_models.terminal import console

    out, bars = console(), Table.grid(padding=(0, 2))
    for prediction in result.predictions:
        bar = Bar(1.0, 0.0, prediction.probability, width=30, color="red")
        bars.add_row("", Text(prediction.label), bar, f"{prediction.probability:6.1%}")
    out.print(Text(result.image, style="bold"))
    out.print(bars)
