"""Files of a run are input: what is damaged, altered or gone is one line; a run may get longer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.runs import metrics, newest, same
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from scarlet_models.errors import UserError
from scarlet_models.search.pipeline.journal import NAME, Journal
from scarlet_models.search.scoring.score_cache import Score, ScoreCache
from scarlet_models.space.space import Genotype
from scarlet_models.training.distributed import World
from scarlet_models.training.options import OptimizerOptions, RunOptions
from scarlet_models.training.run_folder import MetricsTable
from scarlet_models.training.task import Scale, Task
from scarlet_models.training.trainer import Trainer


@dataclass
class Short(OptimizerOptions, RunOptions):
    epochs: int = 2
    workers: int = 0


class Points(Task):
    """A line through points."""

    def __init__(self, options: Short) -> None:
        super().__init__(options, World(0, 1, torch.device("cpu")))
        self.plan(range(20), options.epochs)
        torch.manual_seed(0)
        self.model = nn.Linear(1, 1)

    def dataset(self, epoch: int) -> Dataset[Any]:
        x = torch.linspace(0, 1, 20)[:, None]
        return TensorDataset(x, 3 * x + 2)

    def add_gradients(self, batch: tuple[Tensor, Tensor], scale: Scale) -> dict[str, Tensor]:
        loss = (self.model(batch[0]) - batch[1]).square().mean()
        scale(loss).backward()
        return {"loss": loss.detach()}

    def take_in(self, step: int, figures: dict[str, Tensor]) -> dict[str, float]:
        return {"loss": figures["loss"].item()}

    def measure(self, epoch: int) -> dict[str, float]:
        return {}


def train(out: Path, **more: Any) -> None:
    Trainer(Points(Short(out=str(out), batch_size=4, lr=0.1, **more)), "points").run()


# A longer run


def test_a_run_can_be_extended(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The schedule is laid over the new length, and the same extension gives the same weights."""
    for name in ("one", "other"):
        train(tmp_path / name)
        with caplog.at_level("INFO"):
            train(tmp_path / name, epochs=4, resume=True)
        assert "extended from 2 to 4 epochs: the schedule is laid over them all" in caplog.text
    train(tmp_path / "long", epochs=4)
    one, long = metrics(tmp_path / "one"), metrics(tmp_path / "long")
    assert same(newest(tmp_path / "one"), newest(tmp_path / "other"))
    assert [row["lr"] for row in one[10:]] == [row["lr"] for row in long[10:]]
    assert one[:10] != long[:10]
    environment = json.loads((tmp_path / "one/env.json").read_text())
    assert environment["extended"] == [{"step": 10, "epochs": [2, 4]}]
    assert yaml.safe_load((tmp_path / "one/config.yaml").read_text())["epochs"] == 4
    train(tmp_path / "one", epochs=4, resume=True)  # resuming the longer run is no extension
    assert json.loads((tmp_path / "one/env.json").read_text()) == environment
    with pytest.raises(UserError, match="--epochs was 4, is 3: a run can only get longer"):
        train(tmp_path / "one", epochs=3, resume=True)


# Options and environment


@pytest.mark.parametrize("name", ["config.yaml", "env.json"])
@pytest.mark.parametrize("content", [None, b"", b"[1]", b"5", b"\xff", b"{", b"a: [" * 100])
def test_what_would_show_changes_must_be_there(tmp_path: Path, name: str, content: bytes | None) -> None:
    train(tmp_path / "run")
    path = tmp_path / "run" / name
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(UserError, match=f"{name}") as caught:
        train(tmp_path / "run", resume=True)
    assert "\n" not in str(caught.value)
    if content is None:
        assert "is missing, so changes would go unseen: restore it, or resume with --allow-drift" in str(caught.value)
        train(tmp_path / "run", resume=True, allow_drift=True)


# Tables


def test_a_torn_row_is_dropped_and_a_number_that_is_none_is_an_empty_cell(tmp_path: Path) -> None:
    table = MetricsTable(tmp_path / "metrics.csv", 0)
    table.append({"step": 1, "loss": 0.5})
    table.append({"step": 2, "loss": float("inf")})
    with table.path.open("a") as file:
        file.write("3,0.12")  # of 0.125
    again = MetricsTable(table.path, 9)
    again.append({"step": 4, "top1": 50.0})
    assert again.rows() == [{"step": 1, "loss": 0.5}, {"step": 2}, {"step": 4, "top1": 50}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"step,a\n1\n", "metrics.csv:2: not a row of this table"),
        (b"step,a\n1,2\nx,1\n", "metrics.csv:3: not a row of this table"),
        (b"step,a\n1,nan\n", "metrics.csv:2: .*nan is not a finite number"),
        (b"step,a\n1,1e999\n", "1e999 is not a finite number"),
        (b"a,b\n1,2\n", "the column step is missing"),
        (b"a,a\n1,2\n", "a column stands twice"),
        (b"\xff\xfe\n", "not UTF-8 text"),
        (b"", "the column step is missing"),
    ],
)
def test_a_damaged_table_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "metrics.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        MetricsTable(tmp_path / "metrics.csv", 10)


# Scores and stages


@pytest.mark.parametrize(
    ("old", "new"),
    [('"top1": 25.0', '"top1": 99.0'), ('"top1": 25.0', '"top1": NaN'), ('"a"', '"b"'), ("0,1,2,3,0", "0,1,2,3,1")],
)
def test_an_altered_score_is_refused(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "evaluations.jsonl"
    cache = ScoreCache(path, {"supernet": "a"})
    cache.add(Genotype.parse("0,1,2,3,0", "mini"), Score(25.0, 0.5, 4))
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError, match=r"evaluations.jsonl:1: not a measurement; remove this line"):
        ScoreCache(path, {"supernet": "a"})


@pytest.mark.parametrize("score", [Score(99999.0, 0.5, 4), Score(50.0, -1.0, 4), Score(50.0, 1.0, 0)])
def test_a_score_out_of_range_is_refused(tmp_path: Path, score: Score) -> None:
    path = tmp_path / "evaluations.jsonl"
    ScoreCache(path, {}).add(Genotype.parse("0,1,2,3,0", "mini"), score)
    with pytest.raises(UserError, match="not a measurement"):
        ScoreCache(path, {})


def test_a_loss_that_is_not_finite_is_kept_as_such(tmp_path: Path) -> None:
    path, genotype = tmp_path / "evaluations.jsonl", Genotype.parse("0,1,2,3,0", "mini")
    ScoreCache(path, {}).add(genotype, Score(50.0, float("inf"), 4))
    found = ScoreCache(path, {}).known.get(genotype.choices)
    assert found is not None and found.top1 == 50 and found.loss != found.loss


@pytest.mark.parametrize("content", [b"5", b"[]", b'{"train": 5}', b'{"train": {"options": {}}}', b"\xff", b"[" * 9000])
def test_a_damaged_journal_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(UserError, match=r"stages.json is damaged \(.*\): remove it, and each stage goes on"):
        Journal(tmp_path)
