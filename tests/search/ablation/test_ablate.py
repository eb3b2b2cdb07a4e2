"""ablate: what its cells are, and a study of tiny supernets that is killed, resumed and fails in one cell."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from stabilizer import find_cells

from scarlet_models.errors import UserError
from scarlet_models.files import owning
from scarlet_models.models import scarlet_net
from scarlet_models.search import cli
from scarlet_models.search.ablation.options import AblationOptions
from scarlet_models.search.ablation.study import LOG, SECONDS, STAGES, VARIANTS, Study, make_cells
from scarlet_models.search.scoring.heldout import open_supernet
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.space import SearchSpace
from scarlet_models.weights import save as saving

STEPS = 6


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of two colours, a recipe of seconds, and known accuracies."""
    folder, noise = tmp_path_factory.mktemp("ablate"), np.random.default_rng(0)
    for channel, name in ((2, "blue"), (0, "red")):
        (folder / "data" / "train" / name).mkdir(parents=True)
        for i in range(20):
            pixels = noise.integers(0, 120, (16, 16, 3))
            pixels[..., channel] += 100
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "data" / "train" / name / f"{i}.png")
    recipe = {"space": "mini", "image_size": 16, "batch_size": 8, "holdout": 0.5, "clip_grad": 5.0}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    space, rng = SearchSpace.load("mini"), np.random.default_rng(1)
    known = {str(space.sample(rng).canonical()): rng.uniform(60, 90) for _ in range(15)}
    (folder / "known.csv").write_text("genotype,accuracy\n" + "".join(f'"{g}",{a}\n' for g, a in known.items()))
    return folder


def arguments(root: Path, out: Path, variants: str = "[skip,torch]", *more: str) -> list[str]:
    places = ["--data-dir", str(root / "data"), "--known", str(root / "known.csv"), "--out", str(out)]
    recipe = ["--recipe", str(root / "recipe.yaml"), "--steps", str(STEPS), "--networks", "10", "--workers", "0"]
    return ["ablate", *places, *recipe, "--variants", variants, "--seeds", "[0]", "--json", *more]


def states(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    return {state.pop("cell"): state for state in json.loads(capsys.readouterr().out)}


@pytest.fixture(scope="module")
def study(root: Path) -> Path:
    """Both variants with one seed, two cells at once."""
    out = root / "study"
    assert cli.main(arguments(root, out, "[skip,torch]", "--jobs", "2")) == 0
    return out


def test_each_cell_is_trained_ranked_and_compared(root: Path, study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments(root, study, "[skip,torch,bn]", "--plan")) == 0
    plan = states(capsys)
    assert plan["skip_s0"] == plan["torch_s0"] == {"fair_steps": STEPS, **dict.fromkeys(STAGES, True)}
    assert plan["bn_s0"] == {"fair_steps": 0, **dict.fromkeys(STAGES, False)}
    kinds = {cell.variant: Supernet.from_pretrained(cell.folder).stabilizer for cell in find_cells(study)}
    assert kinds == {"skip": "skip", "torch": "linear"}
    with (study / "skip_s0" / "metrics.csv").open() as file:
        assert len(list(csv.DictReader(file))) == STEPS


def test_variants_see_the_same_images_and_paths(study: Path) -> None:
    configs = [yaml.safe_load((cell.folder / "config.yaml").read_text()) for cell in find_cells(study)]
    assert {key for key in configs[0] if configs[0][key] != configs[1][key]} == {"out", "stabilizer"}


def test_what_is_done_is_skipped(root: Path, study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in study.rglob("[!.]*") if path.is_file()}
    assert cli.main(arguments(root, study)) == 0
    assert {path: path.stat().st_mtime_ns for path in study.rglob("[!.]*") if path.is_file()} == before
    (study / "skip_s0" / "rank_running.json").unlink()
    assert cli.main(arguments(root, study)) == 0
    changed = {path.name for path, moment in before.items() if path.stat().st_mtime_ns != moment}
    assert changed == {"rank_running.json", "rank_running.csv", "rank_running.png", LOG, SECONDS}


def test_what_a_cell_cost_is_kept(study: Path) -> None:
    for cell in find_cells(study):
        spent = json.loads((cell.folder / SECONDS).read_text())
        assert list(spent) == list(STAGES)
        assert min(spent.values()) > 0.1  # each has imported torch


def test_a_finished_supernet_of_other_options_is_refused(
    root: Path, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for change, message in (
        (["--train.lr", "0.01"], "config.yaml differs: lr was 0.045, is 0.01"),
        (["--steps", "7"], "config.yaml differs: steps was 6, is 7"),
    ):
        assert cli.main([*arguments(root, study), *change]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1


def test_a_ranking_of_other_known_accuracies_or_images_is_not_done(
    root: Path, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (root / "known.csv").read_text()
    (tmp_path / "known.csv").write_text(re.sub(r"\n(\S+),\S+\n", r"\n\1,50.0\n", text, count=1))
    (tmp_path / "same.csv").write_text(text)
    for change, done in (
        (["--images", "5"], False),
        (["--known", str(tmp_path / "known.csv"), "--networks", "0"], False),
        (["--known", str(tmp_path / "same.csv")], True),
    ):
        assert cli.main([*arguments(root, study), *change, "--plan"]) == 0
        stages = dict.fromkeys(STAGES, True) | dict.fromkeys(("recalibrated", "running"), done)
        assert states(capsys)["skip_s0"] == {"fair_steps": STEPS, **stages}


@pytest.mark.slow
def test_killed_it_goes_on_to_the_same_supernet(
    root: Path, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-m", "scarlet_models.search", *arguments(root, tmp_path, "[torch]")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    metrics, deadline = tmp_path / "torch_s0" / "metrics.csv", time.monotonic() + 120
    while not metrics.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert cli.main(arguments(root, tmp_path, "[torch]")) == 0
    assert states(capsys)["torch_s0"]["similarity"]
    sums = [open_supernet(folder / "torch_s0").info.sha256 for folder in (tmp_path, study)]
    assert sums[0] == sums[1]


@pytest.mark.slow
def test_a_cell_that_fails_loses_no_other(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "skip_s0").mkdir()
    (tmp_path / "skip_s0" / "config.yaml").mkdir()  # train cannot write it
    assert cli.main(arguments(root, tmp_path)) == 2
    captured = capsys.readouterr()
    last = captured.err.splitlines()[-1]
    assert "1 of 2 cells failed, run it again to go on. skip_s0: train ended with" in last
    done = {state["cell"]: state["similarity"] for state in json.loads(captured.out)}
    assert done == {"skip_s0": False, "torch_s0": True}


def test_a_cell_in_work_is_left_alone(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Some process still trains it, perhaps one of a study that was killed."""
    with owning(tmp_path / "skip_s0"):
        assert cli.main(arguments(root, tmp_path, "[skip]")) == 2
    assert re.search(r"skip_s0 is in use by process \d+ on .*; wait for it or end it", capsys.readouterr().err)


def test_every_variant_trains(root: Path) -> None:
    options = AblationOptions(
        known=str(root / "known.csv"),
        recipe=str(root / "recipe.yaml"),
        variants=list(VARIANTS),
        seeds=[0, 1],
    )
    assert len(Study(options, cli.PROGRAM).cells) == 2 * len(VARIANTS)  # train has read the options of each


def test_a_space_of_ones_own_with_supernets_that_inherit(root: Path, tmp_path: Path) -> None:
    """Both variants of a seed start from the donor's weights; their blocks differ only in what stands for a skip."""
    space = yaml.safe_dump({**SearchSpace.load("mini").to_dict(), "name": "own"})
    (tmp_path / "own.yaml").write_text(space)
    torch.manual_seed(0)
    donor = scarlet_net(genotype="2,2,2,2,2", space=tmp_path / "own.yaml", num_classes=2)
    saving.save(donor, tmp_path / "donor", label_names=("blue", "red"))
    train = {"space": str(tmp_path / "own.yaml"), "inherit": str(tmp_path / "donor"), "lr": 0.0, "weight_decay": 0.0}
    options = AblationOptions(
        data_dir=str(root / "data"),
        known=str(root / "known.csv"),
        recipe=str(root / "recipe.yaml"),
        train=train,
        variants=["skip", "identity"],
        seeds=[3],
        steps=1,
        workers=0,
        out=str(tmp_path / "study"),
    )
    study = Study(options, cli.PROGRAM)
    for cell in study.cells:
        assert cli.main(study.arguments(cell, "train")) == 0
        assert study.state(cell)["train"]
    skip, identity = (Supernet.from_pretrained(cell.folder) for cell in study.cells)
    assert (skip.space.name, skip.stabilizer, identity.stabilizer) == ("own", "skip", "linear")
    blocks = dict(skip.named_parameters())
    assert all(torch.equal(weight, blocks[name]) for name, weight in identity.named_parameters() if name in blocks)
    assert torch.equal(skip.choice(0, 2).conv_dw.weight, donor.blocks[1][0].conv_dw.weight)
    weight = identity.choice(1, identity.space.identity).weight[:, :, 0, 0]
    assert torch.equal(weight, torch.eye(len(weight)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--train.lr", "fast"], "--lr: 'fast' is not a number"),
        (["--train.no-such", "1"], "train has no option no_such"),
        (["--variants", "[skip,other]"], "--variants: 'other' is not one of skip, torch"),
        (["--seeds", "[1,1]"], "--seeds: [1, 1] is empty or holds something twice"),
        (["--steps", "0"], "--steps: 0 is below 1"),
        (["--known", "none.csv"], "cannot read known accuracies from none.csv"),
        (["--recipe", "none"], "none"),
    ],
)
def test_mistakes_get_one_line(
    root: Path, tmp_path: Path, change: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*arguments(root, tmp_path / "new"), *change]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_cells_are_found_by_their_names(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no finished supernet"):
        find_cells(tmp_path)
    for name in ("skip_s1", "skip_s0", "identity_noise_s0", "identity_s0", "other_s0", "skip_sx", "bn_s0"):
        (tmp_path / name).mkdir()
        if name != "bn_s0":
            (tmp_path / name / "supernet.json").write_text('{"steps": 600}')
    assert [cell.name for cell in find_cells(tmp_path)] == ["skip_s0", "skip_s1", "identity_s0", "identity_noise_s0"]
    assert [cell.name for cell in make_cells(tmp_path, ["skip", "bn"], [0, 1])] == [
        "skip_s0",
        "bn_s0",
        "skip_s1",
        "bn_s1",
    ]


def test_the_study_becomes_tables_and_figures(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import stabilizer
    import study as results

    (tmp_path / "figures").mkdir()
    monkeypatch.setattr(results, "HERE", tmp_path)
    for _ in range(2):  # cells that are there already are replaced, not doubled
        stabilizer.collect(study)
    stabilizer.draw("stabilizer", "mini")
    rows = (tmp_path / "results" / "stabilizer" / "tables.md").read_text().splitlines()
    trained = {cells[1]: cells[2:] for row in rows[:6] if len(cells := [cell.strip() for cell in row.split("|")]) > 3}
    assert trained["skip"][0] == trained["torch"][0] == "1"
    with (study / "skip_s0" / "metrics.csv").open() as file:
        accuracy = np.mean([float(row["top1"]) for row in csv.DictReader(file)])
    assert float(trained["skip"][1]) == pytest.approx(accuracy, abs=0.006)
    ranked = json.loads((study / "torch_s0" / "rank_running.json").read_text())
    tau = f"{ranked['kendall_tau']['value']:.3f}"
    assert any(row.startswith("| torch, seed 0 |") and tau in row for row in rows)
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {f"stabilizer_{kind}.png" for kind in ("curves", "scatter", "depth", "similarity")}


def test_variances_of_paths_are_compared_with_the_running_ones() -> None:
    from batch_norms import variance_ratios

    net, images = Supernet("mini").eval(), torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    first = variance_ratios(net, images, 4)
    assert len(first["stem.bn1"]) == 4
    assert np.ptp(first["stem.bn1"]) == 0  # all paths begin there
    assert np.ptp(first["head.bn2"]) > 0
    for norm in net.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            assert norm.running_var is not None
            norm.running_var *= 2
    for name, ratios in variance_ratios(net, images, 4).items():
        np.testing.assert_allclose(ratios, np.array(first[name]) - np.log(2), atol=1e-5)
    assert not any(module._forward_pre_hooks for module in net.modules())
