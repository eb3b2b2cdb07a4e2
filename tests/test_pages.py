"""The figures on the pages are those of the results beside them, and of the files that ship."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scarlet_models import cli
from scarlet_models.files import sha256_of
from scarlet_models.weights.shipped import ACCURACIES, TAG

ROOT = Path(__file__).parents[1]
TRAINING = ROOT / "docs" / "training"
RUNS = sorted(path.parent.name for path in TRAINING.glob("*/final.json"))


def _final(run: str) -> dict[str, Any]:
    final: dict[str, Any] = json.loads((TRAINING / run / "final.json").read_text())
    return final


def _percentages(cell: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+\.\d+", cell)]


def _shipped(name: str) -> dict[str, Any]:
    """The figures of the run that the shipped weights come from."""
    digest = sha256_of(ROOT / "scarlet_models" / "weights" / f"{name}.{TAG}.safetensors")
    (final,) = (final for final in map(_final, RUNS) if final["weights_sha256"] == digest)
    return final


def _held_out(run: str) -> float:
    with (TRAINING / run / "metrics.csv").open() as file:
        *_, last = csv.DictReader(file)
    return max(float(last["holdout_top1"]), float(last["ema_holdout_top1"]))


def _chosen_by_held_out_images(name: str) -> dict[str, Any]:
    """The figures of the phase that is best on held-out images."""
    return _final(max((run for run in RUNS if run.startswith(f"{name}_{TAG}")), key=_held_out))


@pytest.mark.parametrize("run", RUNS)
def test_a_training_is_listed_with_its_results(run: str) -> None:
    (row,) = re.findall(rf"^\| `{run}` \|.*$", (TRAINING / "README.md").read_text(), re.MULTILINE)
    *_, held, test, _ = row.split("|")
    assert _percentages(held) == pytest.approx([_held_out(run)], abs=0.006)
    assert _percentages(test) == pytest.approx([_final(run)["top1"], _final(run)["top5"]], abs=0.006)


@pytest.mark.parametrize("name", ACCURACIES)
def test_pages_state_the_accuracy_of_the_weights_that_ship(name: str) -> None:
    final = _shipped(name)
    card, readme = (ROOT / "MODEL_CARD.md").read_text(), (ROOT / "README.md").read_text()
    (row,) = re.findall(rf"^\| `{name}\.{TAG}` \|.*$", card, re.MULTILINE)
    assert f"**{final['top1']:.2f} / {final['top5']:.2f}**" in row
    by_rule = _chosen_by_held_out_images(name)
    assert by_rule["weights_sha256"] == final["weights_sha256"] or f"{by_rule['top1']:.2f}%" in card
    assert re.search(rf"^\| `{name}` \|.* {by_rule['top1']:.1f} \|$", readme, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("name", ACCURACIES)
def test_the_model_cards_command_gives_its_figures(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if not (images := os.environ.get("SCARLET_TINY_IMAGENET")):
        pytest.skip("set SCARLET_TINY_IMAGENET to a folder with Tiny-ImageNet's val/WNID/*.JPEG")
    tagged = rf"{name}\.{TAG}"
    command = re.search(rf"^scarlet-models (evaluate {tagged} .*)$", (ROOT / "MODEL_CARD.md").read_text(), re.M)
    assert command is not None
    arguments = [images if word == "tiny_imagenet" else word for word in command[1].split()]
    assert cli.main([*arguments, "--json", "--workers", "0"]) == 0
    measured, final = json.loads(capsys.readouterr().out), _shipped(name)
    assert measured["images"] == 10_000
    # Another processor rounds otherwise, which may turn a few images.
    assert [measured[key] for key in ("top1", "top5")] == pytest.approx([final["top1"], final["top5"]], abs=0.05)


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="of the extra docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    pages = {str(path.parent.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("index.html")}
    assert "<math" in pages["site/concepts/stabilizer"], "formulas are MathML"
    assert not [name for name, page in pages.items() if "arithmatex" in page], "all of them"
    assert not [name for name, page in pages.items() if "https://unpkg" in page], "nothing is fetched"
