"""Known accuracies of networks: NAS-Bench-Macro's table, or a file of the user's own.

JSON (also .json.gz) maps a genotype to a number or to an object with `mean_acc`; CSV has the columns `genotype` and
`accuracy`, others are ignored. A genotype is its choice indices, separated by commas, or run together where every index
is one digit ("02012100").
"""

import csv
import gzip
import json
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scarlet_models.errors import UserError, first_line
from scarlet_models.space.space import Genotype, SearchSpace

from .options import FEWEST_ANCHORS


def load_known_accuracies(path: str | Path, space: SearchSpace) -> dict[Genotype, float]:
    """Accuracy in percent of each network by its canonical genotype, in the order of the file.

    Genotypes that differ only in the order of identities are one network, with the mean of their accuracies. A
    UserError names the file, and the entry if one is bad.
    """
    path = Path(path)
    try:
        entries = list(_csv_entries(path) if path.suffix == ".csv" else _json_entries(path))
    except (OSError, EOFError, UnicodeDecodeError, ValueError, zlib.error, csv.Error) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise UserError(f"cannot read known accuracies from {path}: {reason}") from None
    values: dict[Genotype, list[float]] = {}
    for place, text, accuracy in entries:
        try:
            genotype = Genotype.parse(",".join(text) if text.isdigit() else text, space).canonical()
            number = float(accuracy)
            if not math.isfinite(number):
                raise ValueError
        except UserError as error:
            raise UserError(f"{path}: {place}: {error}") from None
        except (TypeError, ValueError):
            raise UserError(f"{path}: {place}: accuracy {accuracy!r} is not a number") from None
        values.setdefault(genotype, []).append(number)
    if not values:
        raise UserError(f"{path} has no accuracies")
    return {genotype: sum(numbers) / len(numbers) for genotype, numbers in values.items()}


def load_anchors(path: str, space: SearchSpace) -> dict[Genotype, float]:
    """Known accuracies of anchors; a UserError if the file cannot be read or has too few networks for a regression."""
    anchors = load_known_accuracies(path, space)
    if len(anchors) < FEWEST_ANCHORS or len(set(anchors.values())) < 2:
        raise UserError(f"--anchors {path}: {len(anchors)} networks; give at least {FEWEST_ANCHORS} that differ")
    return anchors


def _csv_entries(path: Path) -> Iterator[tuple[str, str, Any]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if not {"genotype", "accuracy"} <= set(reader.fieldnames or ()):
            raise ValueError("line 1 lacks the columns genotype and accuracy")
        for row in reader:
            if None in row:  # more cells than columns
                raise ValueError(f'line {reader.line_num}: put the genotype in quotes: "0,1,2"')
            yield f"line {reader.line_num}", row["genotype"] or "", row["accuracy"]  # a short row has None


def _json_entries(path: Path) -> Iterator[tuple[str, str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        table = json.load(file)
    if not isinstance(table, dict):
        raise ValueError("not an object that maps genotypes to accuracies")
    for text, value in table.items():
        yield f"entry {text!r}", text, value.get("mean_acc") if isinstance(value, dict) else value
