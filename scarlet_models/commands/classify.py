"""What is on pictures: the most probable classes of each, from files, folders, or one picture on stdin.

Pictures are resized and cropped as the network's weights want it. One that cannot be read gets one line on stderr, the
others go on, and the exit status is 2 in the end. With --json there is one JSON object a line for each picture.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from scarlet_models.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

    from scarlet_models.classifier import Classifier, Prediction

EXAMPLE = """  scarlet-models classify cat.jpg holiday/ --model scarlet_a.c10
  curl -s https://example.org/cat.jpg | scarlet-models classify - --top-k 3
  scarlet-models classify photos/ --model local-dir:runs/a/exported/a --json > classes.jsonl"""


@dataclass
class Options:
    """Options of classify.

    Args:
        pictures: Files, folders (searched in them and below), or - for one picture on stdin.
        model: A name from `scarlet-models list` or of timm, local-dir:FOLDER or hf-hub:ID.
        top_k: Classes shown of each picture.
        batch_size: Pictures classified at once.
        device: cpu, cuda or cuda:N.
        json: Print one JSON object a line for each picture.
    """

    pictures: list[str] = field(metadata={"positional": True})
    model: str = "scarlet_a"
    top_k: int = 5
    batch_size: int = 32
    device: str = "cpu"
    json: bool = False


@dataclass
class _Result:
    """What is known about a picture in the end."""

    picture: str
    predictions: list[Prediction]
    error: str | None = None


def main(options: Options) -> None:
    """Print the classes of each picture as they come; fail at the end if some could not be read."""
    from rich.console import Console
    from rich.progress import Progress

    from scarlet_models.classifier import Classifier
    from scarlet_models.networks import create, find_device
    from scarlet_models.pictures import find_pictures

    if options.top_k < 1 or options.batch_size < 1:
        raise UserError("--top-k and --batch-size must be 1 or more")
    names = [str(found) for name in options.pictures for found in (["-"] if name == "-" else find_pictures(name))]
    device = find_device(options.device)
    classifier = Classifier(create(options.model, pretrained=True), device)
    bad = 0
    # Where results go to the terminal they are the progress.
    hidden = sys.stdout.isatty() or not sys.stderr.isatty() or len(names) <= options.batch_size
    with Progress(console=Console(stderr=True), disable=hidden) as progress:
        task = progress.add_task("pictures", total=len(names))
        for result in _classify(classifier, names, options):
            if result.error and len(names) == 1:
                raise UserError(f"{result.picture}: {result.error}")
            bad += result.error is not None
            _show(result, options.json)
            progress.advance(task)
    if bad:
        raise UserError(f"{bad} of {len(names)} pictures could not be read")


def _classify(classifier: Classifier, names: list[str], options: Options) -> Iterator[_Result]:
    for start in range(0, len(names), options.batch_size):
        read = [(name, *_read(name)) for name in names[start : start + options.batch_size]]
        pictures = [picture for _, picture, _ in read if picture is not None]
        predictions = iter(classifier(pictures, options.top_k) if pictures else [])
        for name, _, error in read:
            yield _Result(_printable(name), [] if error else next(predictions), error)


def _read(name: str) -> tuple[Image | None, str | None]:
    """A picture, or what is wrong with it."""
    from scarlet_models.pictures import read_picture

    try:
        return read_picture(sys.stdin.buffer.read() if name == "-" else Path(name)), None
    except UserError as error:
        return None, str(error)


def _printable(name: str) -> str:
    """A file's name as it is, unless it would disturb a terminal."""
    if name == "-":
        return "stdin"
    return name if name.isprintable() else repr(name)


def _show(result: _Result, as_json: bool) -> None:
    if result.error:
        print(f"scarlet-models classify: {result.picture}: {result.error}", file=sys.stderr, flush=True)
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
    out.print(Text(result.picture, style="bold"))
    out.print(bars)
