"""The study in SCARLET's shape from end to end, tiny: ground truth, pilots, supernets, verdicts and picks."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jobs
import known_accuracies
import numpy as np
import picks
import pilots
import pytest
import stabilizer
import study
import torch
import verdicts
import yaml
from PIL import Image

from scarlet_models.models import scarlet_net
from scarlet_models.search import cli
from scarlet_models.search.ablation import study as ablation
from scarlet_models.weights import save as saving

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "scarlet_cifar"
STUDIES = Path(verdicts.__file__).parent


class Forked:
    """A command of scarlet-search in a forked process, which need not import torch again."""

    def __init__(self, command: list[str], stdout: Any = None, stderr: Any = None, env: object = None) -> None:
        self.returncode: int | None = None
        if not (pid := os.fork()):
            for file, number in ((stdout, 1), (stderr, 2)):
                if file:
                    os.dup2(file.fileno(), number)
                    setattr(sys, ("", "stdout", "stderr")[number], os.fdopen(number, "w"))
            status = 1
            try:
                status = cli.main(command[3:])
            finally:
                sys.stderr.flush()
                os._exit(status)
        self.pid = pid

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with images, tiny recipes and the weights of a donor; made-up known accuracies, far from docs."""
    monkeypatch.setattr(study, "HERE", tmp_path / "docs")
    for module in (jobs, ablation):
        monkeypatch.setattr(module, "subprocess", SimpleNamespace(Popen=Forked))
    results = study.results("scarlet_cifar")
    results.mkdir(parents=True)
    study.figures().mkdir()
    shutil.copy(RESULTS / "known_networks.csv", results)
    draw = np.random.default_rng(0)
    for number, row in enumerate(known_accuracies.fixed()):
        accuracies = dict(zip(("train_top1", "holdout_top1", "test_top1"), draw.uniform(60, 70, 3), strict=True))
        known = {"network": f"{number:02d}", "genotype": row["genotype"], "seed": 0, **accuracies, "cpu_seconds": 5}
        study.append(known_accuracies.table(), {**known, "machine": "another"})
    for split, count in (("train", 40), ("test", 5)):
        for name in ("blue", "red"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = draw.integers(0, 200, (32, 32, 3)) + (50 if name == "red" else 0)
                Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "data" / split / name / f"{i}.png")
    for name, changes in (
        ("supernet", {"batch_size": 8, "eval_images": 8}),
        ("known", {"batch_size": 16, "epochs": 1, "warmup_epochs": 0.0}),
    ):
        recipe = yaml.safe_load((STUDIES / f"{name}.yaml").read_text())
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(recipe | changes))
    torch.manual_seed(0)
    donor = scarlet_net(genotype=known_accuracies.DONOR, space="scarlet_cifar", num_classes=2)
    saving.save(donor, tmp_path / "donor", label_names=("blue", "red"))
    return tmp_path


@pytest.mark.slow
def test_the_chain(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    data, runs, results = str(root / "data"), root / "runs", study.results("scarlet_cifar")
    monkeypatch.setattr(pilots, "RECIPE", root / "supernet.yaml")
    monkeypatch.setattr(pilots, "RATES", ("0.02", "0.05"))
    pilots.main(data, str(root / "donor"), root / "pilots", steps=2)
    assert capsys.readouterr().out.count("--train.lr 0.0") == 2

    known_accuracies.write_known(runs / "known.csv")
    places = ["--data-dir", data, "--known", str(runs / "known.csv"), "--out", str(runs), "--workers", "0"]
    recipe = ["--recipe", str(root / "supernet.yaml"), "--train.inherit", str(root / "donor"), "--train.lr", "0.05"]
    sizes = ["--steps", "4", "--seeds", "[0,1]", "--variants", "[skip,identity]", "--networks", "0"]
    assert cli.main(["ablate", *places, *recipe, *sizes]) == 0

    stabilizer.collect(runs, "scarlet_cifar")
    rows = study.read(results / "one_shot.csv")
    assert sum(int(row["paths"]) for row in rows if (row["variant"], row["seed"]) == ("skip", "0")) == 13
    capsys.readouterr()
    verdicts.main(seeds=2, draws=2)
    text = capsys.readouterr().out
    assert text == (results / "verdicts.md").read_text() + "\n"
    for expected in ("over 40 networks and 2 paired seeds", "| identity + 10 anchors |", "| 10 anchors, no supernet |"):
        assert expected in text
    assert {path.name for path in study.figures().iterdir()} == {
        f"scarlet_cifar_{n}.png" for n in ("curves", "one_shot")
    }
    with pytest.raises(SystemExit, match=r"24 parts are missing.*skip_s2: ranking of these networks, recalibrated"):
        verdicts.main()

    monkeypatch.setattr(picks, "SEARCH", ["--population", "4", "--generations", "1", "--images", "8"])
    monkeypatch.setattr(known_accuracies, "RECIPE", root / "known.yaml")
    with pytest.raises(SystemExit, match=r"4 picks are missing.*identity_s0 \(raw\)"):
        picks.main(seeds=2)
    for _ in range(2):  # the second time, nothing is left to do
        picks.pick(data, runs, root / "picks")
    rows = study.read(results / "picks.csv")
    assert [(row["kind"], row["supernet"]) for row in rows] == [
        (kind, f"identity_s{seed}") for seed in range(2) for kind in picks.KINDS
    ]
    assert {row["anchors_used"] for row in rows if row["kind"] == "anchored"} <= {"yes", "no"}
    assert all(int(row[name]) > 0 for row in rows for name in ("supernet_seconds", "search_seconds", "cpu_seconds"))
    capsys.readouterr()
    picks.main(seeds=2)
    assert "| identity_s1, anchored |" in capsys.readouterr().out
    assert json.loads((runs / "identity_s0" / "cpu_seconds.json").read_text())["train"] > 0
