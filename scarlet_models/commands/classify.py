"""Name the most probable classes of images: of files, of folders, or of one image on stdin.

Images are resized and cropped as the network's weights need. An image that cannot be read gets one line on stderr, the
others are still classified, and the exit status is 2. --json prints one JSON object a line for each image.
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scarlet_models.errors import UserError
from scarlet_models.options import DeviceOptions, option
from scarlet_models.terminal import console

EXAMPLE = """  scarlet-models classify cat.jpg holiday/ --model scarlet_a.tiny_in
  curl -s https://example.org/cat.jpg | scarlet-models classify - --top-k 3
  scarlet-models classify photos/ --model local-dir:runs/a/exported/a --json > classes.jsonl"""


@dataclass
class Options(DeviceOptions):
    """Options of classify.

    Args:
        images: Files, folders (with all folders in them), or - for one image on stdin.
        model: A name from `scarlet-models list` or of timm, local-dir:FOLDER or hf-hub:ID.
        top_k: Number of classes to show for each image.
        batch_size: Number of images classified at once.
    """

    images: list[str] = option(positional=True)
    model: str = "scarlet_a"
    top_k: int = option(5, least=1)
    batch_size: int = option(32, least=1)


def main(options: Options) -> None:
    from rich.console import Console
    from rich.progress import track

    from scarlet_models.images import find_images, read_image
    from scarlet_models.inference import Classifier, classify_named
    from scarlet_models.networks import create
    from scarlet_models.training.device import pick_device

    def read(name: str) -> Any:
        return read_image(sys.stdin.buffer.read() if name == "-" else Path(name))

    names = [str(found) for name in options.images for found in (["-"] if name == "-" else find_images(name))]
    device = pick_device(options.device, options.threads)
    classifier = Classifier(create(options.model, pretrained=True), device)
    results = classify_named(classifier, names, read, options.batch_size, options.top_k)
    hidden = sys.stdout.isatty() or not sys.stderr.isatty()  # results on a terminal show the progress themselves
    bad = 0
    for name, predictions, error in track(results, "images", len(names), console=Console(stderr=True), disable=hidden):
        name = "stdin" if name == "-" else name if name.isprintable() else repr(name)  # which would disturb a terminal
        if error and len(names) == 1:
            raise UserError(f"{name}: {error}")
        if error:
            bad += 1
            print(f"scarlet-models classify: {name}: {error}", file=sys.stderr, flush=True)
        if options.json:
            found = {"error": error} if error else {"predictions": [asdict(each) for each in predictions]}
            print(json.dumps({"image": name, **found}))
        elif not error:
            _show_bars(name, [(each.label, each.probability) for each in predictions])
    if bad:
        raise UserError(f"{bad} of {len(names)} images could not be read")


def _show_bars(name: str, classes: list[tuple[str, float]]) -> None:
    from rich.bar import Bar
    from rich.table import Table
    from rich.text import Text

    out, bars = console(), Table.grid(padding=(0, 2))
    for label, probability in classes:
        bars.add_row("", Text(label), Bar(1.0, 0.0, probability, width=30, color="red"), f"{probability:6.1%}")
    out.print(Text(name, style="bold"))
    out.print(bars)
