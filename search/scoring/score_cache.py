"""evaluations.jsonl: what was measured, so that nothing is measured twice and a killed command goes on where it was."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scarlet_models.errors import UserError
from scarlet_models.space.space import Genotype


@dataclass(frozen=True)
class Score:
    """What was measured of a path: top-1 in percent and mean cross-entropy over a number of images."""

    top1: float
    loss: float
    images: int


class ScoreCache:
    """Scores of genotypes under one set of conditions, appended to a file as they are measured.

    Each line is a JSON object: `genotype`, `top1`, `loss`, `images`, and the conditions. The file may hold lines of
    other conditions. A last line that a kill tore off is dropped.

    Args:
        path: The file; made with the first measurement.
        conditions: All that a score depends on besides the genotype, as plain data: weights, images, batch norm.

    Raises:
        UserError: the file cannot be read, or a line that is not the last is damaged.
    """

    def __init__(self, path: Path, conditions: dict[str, Any]) -> None:
        self.path, self.conditions = path, conditions
        self.known: dict[str, Score] = {}
        if path.exists():
            self._read()

    def _read(self) -> None:
        try:
            lines = self.path.read_bytes().splitlines(keepends=True)
            if lines and not lines[-1].endswith(b"\n"):
                os.truncate(self.path, sum(map(len, lines[:-1])))
                lines.pop()
        except OSError as error:
            raise UserError(f"cannot read {self.path}: {error.strerror}") from error
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                genotype = str(row.pop("genotype"))
                score = Score(float(row.pop("top1")), float(row.pop("loss")), int(row.pop("images")))
            except (ValueError, KeyError, TypeError, AttributeError):
                raise UserError(f"{self.path}:{number}: not a measurement; remove this line to go on") from None
            if row == self.conditions:
                self.known[genotype] = score

    def get(self, genotype: Genotype) -> Score | None:
        """What was measured, or None."""
        return self.known.get(str(genotype))

    def add(self, genotype: Genotype, score: Score) -> None:
        """Appends a measurement; it is on disk when this returns.

        Raises:
            UserError: the file cannot be written.
        """
        line = json.dumps({"genotype": str(genotype), **asdict(score), **self.conditions}) + "\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror}; free space, then go on") from error
        self.known[str(genotype)] = score
