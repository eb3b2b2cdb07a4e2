"""evaluations.jsonl: a cache of scores, so that no path is scored twice and a killed command resumes."""

import hashlib
import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scarlet_models.documents import parse_json, read_text
from scarlet_models.errors import UserError
from scarlet_models.files import append, cannot_write, lock
from scarlet_models.options import build
from scarlet_models.space.space import Genotype

_LIMIT = 4 << 30  # bytes of evaluations.jsonl


@dataclass(frozen=True)
class Score:
    """Top-1 in percent and mean cross-entropy (in the file null if it is not finite) of a path over some images."""

    top1: float
    loss: float
    images: int


class ScoreCache:
    """Scores of genotypes under one set of conditions, appended to a file when they are measured.

    Each line is a JSON object: `genotype`, `top1`, `loss`, `images`, the conditions (plain data: weights, images, batch
    norm), and `check`, which shows damage. The file may hold lines of other conditions. A last line that a kill left
    torn is dropped; another that is damaged is a UserError. This process becomes the owner of the file's folder.
    """

    def __init__(self, path: Path, conditions: dict[str, Any]) -> None:
        self.path, self.conditions = path, conditions
        self.known: dict[tuple[int, ...], Score] = {}  # by the genotype's choices
        lock(path.parent)
        if path.exists():
            self._read()

    def _read(self) -> None:
        text = read_text(self.path, _LIMIT)
        if torn := text[text.rfind("\n") + 1 :]:
            try:
                os.truncate(self.path, self.path.stat().st_size - len(torn.encode()))
            except OSError as error:
                raise cannot_write(self.path, error) from error
        for number, line in enumerate(text.removesuffix(torn).splitlines(), 1):
            try:
                row = parse_json(line, "", dict)
                if row.pop("check") != _check(row):
                    raise ValueError
                choices = tuple(map(int, row.pop("genotype").split(",")))
                figures = {name: row.pop(name) for name in ("top1", "loss", "images")}
                score = build(Score, figures | ({"loss": math.nan} if figures["loss"] is None else {}))
                if not 0 <= score.top1 <= 100 or score.loss < 0 or score.images < 1:
                    raise ValueError
            except (ValueError, KeyError, AttributeError):
                raise UserError(f"{self.path}:{number}: not a measurement; remove this line to continue") from None
            if row == self.conditions:
                self.known[choices] = score

    def add(self, genotype: Genotype, score: Score) -> None:
        """Append a measurement; it is on disk when this returns."""
        loss = score.loss if math.isfinite(score.loss) else None
        row = {"genotype": str(genotype), **asdict(score), "loss": loss, **self.conditions}
        append(self.path, json.dumps({**row, "check": _check(row)}) + "\n", durable=True)
        self.known[genotype.choices] = score


def _check(row: dict[str, Any]) -> str:
    """A checksum of a line: of its values, whatever their order."""
    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()[:16]
