"""evaluations.jsonl: a cache of scores, so that no path is scored twice and a killed command resumes."""

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
    """Top-1 in percent and mean cross-entropy of a path over a number of images."""

    top1: float
    loss: float
    images: int


class ScoreCache:
    """Scores of genotypes under one set of conditions, appended to a file when they are measured.

    Each line is a JSON object: `genotype`, `top1`, `loss`, `images`, and the conditions. The file may hold lines of
    other conditions. A last line that a kill left torn is dropped.

    Args:
        path: The file; the first measurement makes it.
        conditions: What a score depends on besides the genotype, as plain data: weights, images, batch norm.

    Raises:
        UserError: The file cannot be read, or a line other than the last is damaged.
    """

    def __init__(self, path: Path, conditions: dict[str, Any]) -> None:
        self.path, self.conditions = path, conditions
        self.known: dict[tuple[int, ...], Score] = {}  # by the genotype's choices
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
                choices = tuple(map(int, row.pop("genotype").split(",")))
                score = Score(float(row.pop("top1")), float(row.pop("loss")), int(row.pop("images")))
            except (ValueError, KeyError, TypeError, AttributeError):
                raise UserError(f"{self.path}:{number}: not a measurement; remove this line to continue") from None
            if row == self.conditions:
                self.known[choices] = score

    def get(self, genotype: Genotype) -> Score | None:
        """The score that was measured, or None."""
        return self.known.get(genotype.choices)

    def add(self, genotype: Genotype, score: Score) -> None:
        """Append a measurement; it is on disk when this returns.

        Raises:
            UserError: The file cannot be written.
        """
        line = json.dumps({"genotype": str(genotype), **asdict(score), **self.conditions}) + "\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror}; free space, then resume") from error
        self.known[genotype.choices] = score
