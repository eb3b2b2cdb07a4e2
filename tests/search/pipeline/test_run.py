"""run, reproduce and quickstart: whole searches on a few images, killed and gone on with, under other limits."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml
from helpers.supernets import write_images
from helpers.tables import invented_table

from scarlet_models.models import GENOTYPES
from scarlet_models.search import cli
from scarlet_models.search.commands import run
from scarlet_models.search.latency.table import LatencyTable
from scarlet_models.search.pipeline.journal import NAME as JOURNAL
from scarlet_models.search.pipeline.networks import pick, scored_networks
from scarlet_models.space.space import Genotype, SearchSpace

RECIPE: dict[str, Any] = {
    "space": "mini",
    "train_split": "train",
    "test_split": "test",
    "holdout": 0.4,
    "workers": 0,
    "threads": 1,
    "name": "found",
    "train": {"image_size": 16, "batch_size": 12, "steps": 6, "eval_images": 0, "checkpoint_minutes": 0.0},
    "latency": {"rounds": 2, "validate": 0},
    "evolve": {"population": 6, "generations": 3, "batch_size": 12, "calibration_images": 12},
    "retrain": {"image_size": 16, "batch_size": 12, "epochs": 3, "warmup_epochs": 0.0, "color_jitter": 0.0},
}
STAGES = ["train", "evolve", "retrain", "exported/found", "report"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, train and test split, and a recipe of seconds."""
    root = tmp_path_factory.mktemp("run")
    write_images(root / "data")
    write_images(root / "data", split="test")
    (root / "tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    return root


def arguments(root: Path, out: Path, *more: str) -> list[str]:
    return ["run", "--config", str(root / "tiny.yaml"), "--data-dir", str(root / "data"), "--out", str(out), *more]


def command(root: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "scarlet_models.search", *arguments(root, out, *more)]


@pytest.fixture(scope="module")
def done(root: Path) -> tuple[Path, dict[str, Any]]:
    """The folder of a search that nothing interrupted, and what the command printed."""
    run = subprocess.run(command(root, root / "done", "--json"), capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    for name in STAGES:
        assert f"$ scarlet-search {'export' if '/' in name else name} --config {root}/done/{name}.yaml" in run.stderr
    return root / "done", json.loads(run.stdout)


def measured(out: Path) -> list[str]:
    return [json.loads(line)["genotype"] for line in (out / "evolve/evaluations.jsonl").read_text().splitlines()]


def weights(out: Path, stage: str = "exported/found") -> bytes:
    return (out / stage / "model.safetensors").read_bytes()


def test_a_search_ends_with_a_network_that_timm_loads_and_a_page(done: tuple[Path, dict[str, Any]]) -> None:
    out, result = done
    search = json.loads((out / "evolve/search.json").read_text())
    scored = [*search["front"], *search["random"]["front"]]
    assert result["genotype"] == pick(scored, "accuracy")["genotype"]
    assert result["accuracy"] == max(record["accuracy"] for record in scored)
    cost = Genotype.parse(result["genotype"], "mini").cost()
    assert (result["macs"], result["params"]) == (cost.macs, cost.params)
    assert 0 < result["holdout_top1"] <= 100 and "test_top1" not in result
    model = timm.create_model(f"local-dir:{result['exported']}", pretrained=True).eval()
    assert model(torch.zeros(2, 3, 16, 16)).shape == (2, 3)
    assert json.loads((out / "retrain/exported/found/config.json").read_text()) == json.loads(
        (out / "exported/found/config.json").read_text()
    )
    assert result["genotype"] in Path(result["report"]).read_text()
    assert list(json.loads((out / JOURNAL).read_text())) == STAGES


def test_the_same_line_again_does_nothing(
    root: Path, done: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    out, result = done
    before = {path: path.stat().st_mtime_ns for path in out.rglob("[!.]*")}
    assert cli.main(arguments(root, out, "--json")) == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("[!.]*")} == before
    captured = capsys.readouterr()
    assert json.loads(captured.out) == result
    assert captured.err.count("done before") == len(STAGES)
    assert cli.main(arguments(root, out, "--plan")) == 0
    assert capsys.readouterr().out.count("  done  ") == len(STAGES)


def test_a_new_limit_measures_nothing_twice_and_trains_no_other_supernet(
    root: Path, done: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "moved"
    shutil.copytree(done[0], out)
    before, supernet = measured(out), (out / "train/supernet.safetensors").stat().st_mtime_ns
    limit = done[1]["macs"] - 1
    assert cli.main(arguments(root, out, "--max-macs", str(limit))) == 0
    captured = capsys.readouterr()
    assert "train: done before" in captured.err
    assert (out / "train/supernet.safetensors").stat().st_mtime_ns == supernet
    after = measured(out)
    assert after[: len(before)] == before
    assert len(set(after)) == len(after)
    assert all(Genotype.parse(text, "mini").cost().macs <= limit for text in after[len(before) :])
    found = json.loads((out / "exported/found/config.json").read_text())["model_args"]["genotype"]
    assert found != done[1]["genotype"] and found in captured.out
    assert Genotype.parse(found, "mini").cost().macs <= limit
    assert weights(out) != weights(done[0])
    assert weights(out, "retrain.1/exported/found") == weights(done[0], "retrain/exported/found")


def test_a_plan_is_printed_and_nothing_is_written(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "none"
    assert cli.main(arguments(root, out, "--max-latency", "50ms", "--plan")) == 0
    text = capsys.readouterr().out
    places = [text.index(f"\n{name}") for name in ("latency", "train", "evolve", "retrain", "exported/found", "report")]
    assert places == sorted(places)
    assert "36 images to learn from and 24 held out" in text
    assert "in all about" in text
    assert not out.exists()

    assert cli.main(arguments(root, out, "--train.steps", "600", "--plan", "--json")) == 0
    plan = json.loads(capsys.readouterr().out)
    assert [stage["stage"] for stage in plan["stages"]] == STAGES
    seconds = {stage["stage"]: stage["seconds"] for stage in plan["stages"]}
    assert seconds["train"] > seconds["retrain"] > 0
    assert plan["seconds"] == pytest.approx(sum(filter(None, seconds.values())))
    assert not any(stage["done"] for stage in plan["stages"])
    assert not out.exists()


def test_a_latency_out_of_reach_is_refused_before_any_training(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = arguments(root, tmp_path / "run", "--max-latency", "1us")
    assert cli.main(line) == 2
    error = capsys.readouterr().err
    assert "$ scarlet-search latency" in error and "$ scarlet-search train" not in error
    table = LatencyTable.load(tmp_path / "run/latency", SearchSpace.load("mini"))
    least, most = (table.base + choose(table.blocks, axis=1).sum() for choose in (np.nanmin, np.nanmax))
    refusal = "no network of space 'mini' takes at most 0.001 ms: by the table they take from"
    assert error.endswith(f"{refusal} {least:.3g} to {most:.3g} ms\n")
    assert not (tmp_path / "run/train").exists()

    assert cli.main([*line, "--plan"]) == 2
    captured = capsys.readouterr()
    (line,) = (line for line in captured.err.splitlines() if " images, " not in line)
    assert captured.out == "" and refusal in line


def test_a_bad_option_of_latency_is_refused_by_the_plan(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = arguments(root, tmp_path / "run", "--max-latency", "1s", "--latency.batch_size", "-1")
    assert cli.main([*line, "--plan"]) == 2
    assert "--batch-size: -1 is below 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "size", "classes"), [([], 16, 3), (["--latency.image-size", "8", "--latency.num-classes", "5"], 8, 5)]
)
def test_blocks_are_timed_at_the_size_that_macs_are_of(
    root: Path, tmp_path: Path, more: list[str], size: int, classes: int
) -> None:
    sizes = ["--evolve.input-size", "16", "--evolve.num_classes", "3", *more]
    assert cli.main(arguments(root, tmp_path / "run", "--max-latency", "1us", *sizes)) == 2
    facts = json.loads((tmp_path / "run/latency/table.json").read_text())["facts"]
    assert (facts["image_size"], facts["num_classes"]) == (size, classes)


def test_a_given_table_of_latencies_is_believed(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    invented_table().save(tmp_path / "table.json")
    line = arguments(root, tmp_path / "none", "--evolve.latency_table", str(tmp_path), "--plan", "--json")
    assert cli.main([*line, "--max-latency", "3ms"]) == 0
    assert [stage["stage"] for stage in json.loads(capsys.readouterr().out)["stages"]] == STAGES
    assert cli.main([*line, "--min-latency", "1s"]) == 2
    assert "takes at least 1000 ms: by the table they take from" in capsys.readouterr().err


def test_a_limit_of_latency_later_on_trains_no_other_supernet(
    root: Path, done: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "moved"
    shutil.copytree(done[0], out)
    for more in ([], ["--latency.rounds", "3"]):
        assert cli.main(arguments(root, out, *more, "--max-latency", "1us")) == 2
        assert "latency: done in" in capsys.readouterr().err
        assert cli.main(arguments(root, out, *more, "--max-latency", "10s", "--plan", "--json")) == 0
        stages = json.loads(capsys.readouterr().out)["stages"]
        assert [stage["stage"] for stage in stages if stage["done"]] == ["latency", "train"]
    assert measured(out) == measured(done[0])


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_says_how_to_go_on(root: Path, tmp_path: Path, number: signal.Signals, status: int) -> None:
    out = tmp_path / "a run"
    line = command(root, out, "--max-latency", "1us", "--latency.rounds", "100000")
    with subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr
        for text in process.stderr:
            if "$ scarlet-search latency" in text:
                break
        time.sleep(0.5)
        process.send_signal(number)
        said = process.stderr.read()
    assert process.returncode == status
    assert f"interrupted; this line goes on from there:\nscarlet-search run --config '{out}/config.yaml'\n" in said
    options = cli.PROGRAM.parse("run", cli.PROGRAM.load("run"), ["--config", f"{out}/config.yaml"])
    assert (options.max_latency, options.latency) == ("1us", {**RECIPE["latency"], "rounds": 100000})


def test_compared_networks_are_trained_beside_the_picked_one(
    root: Path, done: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Later on, too: nothing else runs again but the report, which sets them side by side."""
    out = tmp_path / "moved"
    shutil.copytree(done[0], out)
    assert cli.main(arguments(root, out, "--compare", "--max-macs", "10M", "--json")) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    compared = {row["role"]: row for row in result["compared"]}
    assert list(compared) == ["picked", "random", "largest"]
    assert compared["picked"]["genotype"] == result["genotype"] == done[1]["genotype"]
    assert compared["largest"]["macs"] == SearchSpace.load("mini").cost_table().largest.macs
    assert compared["random"]["genotype"] != compared["picked"]["genotype"]
    assert all("holdout_top1" in row for row in compared.values())
    assert weights(out) == weights(done[0])
    configs = [yaml.safe_load((out / row["stage"] / "config.yaml").read_text()) for row in compared.values()]
    differing = {key for key in configs[0] for config in configs if config[key] != configs[0][key]}
    assert differing == {"out", "genotype", "name"}

    page = (out / "report/index.html").read_text()
    assert "The networks side by side" in page
    assert all(f"{row['holdout_top1']:.2f}" in page for row in compared.values())
    assert cli.main(arguments(root, out, "--compare", "--max-macs", "10M")) == 0
    captured = capsys.readouterr()
    assert captured.err.count("done before") == len(STAGES) + 2
    assert f"{compared['picked']['genotype']}  <- picked" in captured.out
    for role, row in compared.items():
        assert any(line.startswith(role) and row["genotype"] in line for line in captured.out.splitlines())


def test_anchors_are_trained_first_and_correct_the_search(
    root: Path, done: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "moved"
    shutil.copytree(done[0], out)
    line = arguments(root, out, "--anchors", "5", "--retrain.epochs", "4", "--max-macs", "900K")
    assert cli.main([*line, "--plan", "--json"]) == 0
    plan = {stage["stage"]: stage for stage in json.loads(capsys.readouterr().out)["stages"]}
    names = [f"anchors/{number:02d}" for number in range(1, 6)]
    assert list(plan) == [*names, *STAGES]
    assert all(plan["retrain"]["seconds"] > plan[name]["seconds"] > 0 for name in names)
    assert plan["train"]["done"] and not plan["evolve"]["done"]

    assert cli.main(line) == 0
    assert "train: done before" in capsys.readouterr().err
    rows = list(csv.DictReader((out / "anchors.csv").read_text().splitlines()))
    configs = [yaml.safe_load((out / name / "config.yaml").read_text()) for name in names]
    assert [row["genotype"] for row in rows] == [config["genotype"] for config in configs]
    assert {config["epochs"] for config in configs} == {1}
    costs = [Genotype.parse(row["genotype"], "mini").cost().macs for row in rows]
    assert max(costs) <= 900_000 and len({row["genotype"] for row in rows}) == 5
    assert json.loads((out / "evolve/search.json").read_text())["anchors"]["networks"] == 5
    page = " ".join((out / "report/index.html").read_text().split())
    assert "5 anchors of known accuracy" in page
    assert page.count("<h2>Training</h2>") == 2  # of the picked network, and of the one before with other options

    assert cli.main(line) == 0
    assert capsys.readouterr().err.count("done before") == len(STAGES) + 5


def test_the_pick_is_from_all_that_was_scored() -> None:
    search = {"front": _front((90.0, 100), (80.0, 10)), "random": {"front": _front((91.0, 90), (70.0, 5))}}
    search["random"]["front"][0]["genotype"] = "r"
    scored = scored_networks(search)
    assert [(record["genotype"], record["found_by"]) for record in scored] == [
        ("0", "the search"),
        ("1", "the search"),
        ("r", "random search"),
    ]
    assert pick(scored, "accuracy")["genotype"] == "r"
    assert [record["genotype"] for record in scored_networks({**search, "random": None})] == ["0", "1"]


def _front(*figures: tuple[float, int]) -> list[dict[str, Any]]:
    return [{"genotype": str(i), "accuracy": accuracy, "macs": macs} for i, (accuracy, macs) in enumerate(figures)]


@pytest.mark.parametrize(
    ("front", "accuracy", "knee"),
    [
        (_front((90.0, 100)), 0, 0),
        (_front((90.0, 100), (89.0, 50), (80.0, 10)), 0, 1),
        (_front((90.0, 100), (90.0, 90), (84.0, 50), (80.0, 10)), 1, 1),  # all below the line but its ends
        (_front((90.0, 100), (89.9, 99), (86.0, 20), (80.0, 10)), 0, 2),
        (_front((90.0, 100), (90.0, 100)), 0, 0),
        (_front((80.0, 10), (89.0, 300), (88.0, 100), (90.0, 1000)), 3, 2),  # in any order
    ],
)
def test_the_rule_picks(front: list[dict[str, Any]], accuracy: int, knee: int) -> None:
    assert pick(front, "accuracy") is front[accuracy]
    assert pick(front, "knee") is front[knee]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--data-dir", "nowhere"], "--data-dir nowhere does not exist"),
        (["--space", "nosuch"], "nosuch"),
        (["--max-macs", "1K"], "no network of space 'mini' has"),
        (["--max-macs", "some"], "--max-macs: "),
        (["--min-params", "1G"], "no network of space 'mini' has"),
        (["--max-latency", "soon"], "--max-latency: 'soon' is not a time"),
        (["--min-latency", "soon"], "--min-latency: 'soon' is not a time"),
        (["--min-latency", "3ms", "--max-latency", "2ms"], "min latency 3 ms is above max latency 2 ms"),
        (["--min-accuracy", "101"], "--min-accuracy: 101.0 is "),
        (["--pick", "best"], "--pick: 'best' is not one of accuracy, knee"),
        (["--genotype", "9,9"], "genotype"),
        (["--genotype", "0,0,0,0,0", "--compare"], "--compare is for networks within the limits of a search"),
        (
            ["--anchors", "5", "--max-macs", "415232"],
            "--anchors 5: the limits leave 1, too few for a regression: widen them",
        ),
        (["--anchors", "4"], "--anchors 4: a regression takes at least 5"),
        (["--genotype", "0,0,0,0,0", "--anchors", "5"], "--anchors is for networks within the limits of a search"),
        (["--name", ".."], "--name ..: give a name without folders"),
        (["--processes", "0"], "--processes: 0 is below 1"),
        (["--processes", "5"], "does not divide into 5 process(es)"),
        (["--holdout", "0"], "--holdout 0 leaves no images"),
        (
            ["--final", "--test-split", "none"],
            "data has no folder none, but class folders in test, train: name the split by --test-split",
        ),
        (["--train", "5"], "--train: "),
        (["--train.config", "cifar10_cpu"], "cifar10_cpu is a recipe of retrain, not of train; recipes of train: "),
        (["--train.no_such", "1"], "train has no option no_such"),
        (["--train.config", "no_such"], "train: there is no recipe no_such"),
        (["--evolve.objectives", "[macs]"], "--objectives: macs: name accuracy"),
        (["--retrain.epochs", "many"], "retrain: --epochs: 'many' is not a whole number"),
        (["--retrain.batch-size", "50"], "36 images to learn from are fewer than a batch of 50"),
    ],
)
def test_a_mistake_costs_one_line_and_no_training(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments(root, tmp_path / "none", *changes)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = (line for line in captured.err.splitlines() if " images, " not in line)  # but what the data hold
    assert message in line
    assert not any(tmp_path.iterdir())


def _reproduce(root: Path, out: Path, *more: str) -> list[str]:
    scarlet = {**RECIPE, "space": "scarlet", "evolve": {**RECIPE["evolve"], "batch_size": 2}}
    (root / "scarlet.yaml").write_text(yaml.safe_dump(scarlet))
    places = ["--recipe", str(root / "scarlet.yaml"), "--data-dir", str(root / "data"), "--out", str(out)]
    return ["reproduce", "scarlet_a", *places, *more]


def test_reproduce_plans_within_the_released_cost(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(_reproduce(root, tmp_path / "none", "--skip-search", "--plan", "--json")) == 0
    stages = [stage["stage"] for stage in json.loads(capsys.readouterr().out)["stages"]]
    assert stages == ["retrain", "exported/scarlet_a", "report"]

    for recipe in ("scarlet.yaml", "tiny.yaml"):
        replaced = ["--recipe", str(root / recipe), "--skip-search", "--plan"]
        assert cli.main(_reproduce(root, tmp_path / "none", *replaced)) == 0, "the space of a search that is skipped"
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        ([], {}),
        (["--seed", "0", "--dataset=", "--threads", "0"], {"seed": 0, "dataset": "", "threads": 0}),
        (
            ["--device", "cpu", "--processes", "1", "--data-dir", "x"],
            {"device": "cpu", "processes": 1, "data_dir": "x"},
        ),
        (["--out", "mine", "--plan"], {"out": "mine", "plan": True}),
    ],
)
def test_reproduce_keeps_what_its_recipe_says_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], changed: dict[str, Any]
) -> None:
    said = {"seed": 3, "device": "cuda:1", "processes": 8, "threads": 2, "dataset": "hfds/a/b", "data_dir": "there"}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"space": "scarlet", "out": "elsewhere", **said}))
    started: list[run.Options] = []
    monkeypatch.setattr(run, "carry_out", lambda options, _: started.append(options))
    assert cli.main(["reproduce", "scarlet_b", "--recipe", str(tmp_path / "recipe.yaml"), *given]) == 0
    expected = {**said, "out": "runs/scarlet_b", "name": "scarlet_b", "plan": False, "json": False, **changed}
    assert {name: getattr(started[0], name) for name in expected} == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scarlet_x"], "there are scarlet_a, scarlet_b, scarlet_c"),
        (["scarlet_a", "--recipe", "cifar10_cpu"], "cifar10_cpu is a recipe of retrain, not of run; recipes of run: "),
        (
            ["scarlet_a", "--recipe", "search_cifar10_cpu"],
            "searches the space nas_bench_macro, and scarlet_a is of scarlet: give a recipe of that space",
        ),
    ],
)
def test_reproduce_refuses_what_it_cannot_find_anew(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["reproduce", *arguments, "--data-dir", str(root / "data")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = (line for line in captured.err.splitlines() if " images, " not in line)  # but what the data hold
    assert message in line
    assert not any(tmp_path.iterdir())


def test_the_recipe_of_digits_needs_test_images_unless_told_otherwise(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["--train.batch_size", "8", "--retrain.batch_size", "8", "--threads", "1"]
    line = ["run", "--config", "digits", *small, "--plan"]
    classes = ["--data-dir", str(root / "data/train")]
    assert cli.main([*line, *classes]) == 2
    error = capsys.readouterr().err
    assert "--test-split test holds 60 images of the training split train" in error
    assert "do without (--no-final)" in error and "Traceback" not in error
    for given in (["--data-dir", str(root / "data")], [*classes, "--no-final"]):
        assert cli.main([*line, *given]) == 0


@pytest.mark.slow
def test_reproduce_plans_the_search_of_the_whole_space(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(_reproduce(root, tmp_path / "none", "--plan")) == 0
    text = capsys.readouterr().out
    assert "space scarlet" in text and "exported/scarlet_a" in text
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_reproduce_trains_the_released_network_itself(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(_reproduce(root, tmp_path / "a", "--skip-search", "--json")) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["genotype"] == result["released"]["genotype"] == GENOTYPES["scarlet_a"]
    assert result["macs"] == result["released"]["macs"] == 365_307_392
    assert result["released"]["paper_top1"] == 76.9
    model = timm.create_model(f"local-dir:{result['exported']}", pretrained=True)
    assert model.num_classes == 3
    assert not (tmp_path / "a/train").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "sign"), [("train", "metrics.csv"), ("evolve", "evaluations.jsonl"), ("retrain", "metrics.csv")]
)
def test_killed_in_a_stage_and_started_again(
    root: Path, done: tuple[Path, dict[str, Any]], tmp_path: Path, stage: str, sign: str
) -> None:
    out = tmp_path / "killed"
    process = subprocess.Popen(command(root, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    file, deadline = out / stage / sign, time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if file.exists() and len(file.read_bytes().splitlines()) >= 2:
            break
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = json.loads((out / JOURNAL).read_text()) if (out / JOURNAL).exists() else {}
    assert list(finished) == STAGES[: STAGES.index(stage)], "killed too late to show anything"

    run = subprocess.run(command(root, out, "--json"), capture_output=True, text=True, check=True)
    same = ("genotype", "accuracy", "macs", "holdout_top1")
    assert [json.loads(run.stdout)[key] for key in same] == [done[1][key] for key in same]
    assert weights(out) == weights(done[0])
    assert len(set(measured(out))) == len(measured(out))


@pytest.mark.slow
def test_latency_is_a_limit_and_the_test_split_is_scored_on_request(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    line = arguments(root, out, "--min-latency", "1us", "--max-latency", "200ms", "--pick", "knee", "--final")
    assert cli.main(line) == 0
    text = capsys.readouterr().out
    assert " ms\n" in text and "\ntest " in text
    search = json.loads((out / "evolve/search.json").read_text())
    assert search["limits"] == {"latency": [0.001, 200]}
    assert all(0 < record["latency"] <= 200 for record in search["front"])
    picked = pick(scored_networks(search), "knee")
    assert f"network    {picked['genotype']}\n" in text
    before, made = measured(out), (out / "train/supernet.safetensors").stat().st_mtime_ns

    assert cli.main([*line, "--latency.rounds", "3"]) == 0
    said = capsys.readouterr().err
    assert all(
        text in said for text in ("latency: done in", "train: done before", "evolve: done in", "report: done in")
    )
    assert (out / "train/supernet.safetensors").stat().st_mtime_ns == made
    assert measured(out)[: len(before)] == before and len(set(measured(out))) == len(measured(out))


@pytest.mark.slow
def test_two_processes_train_and_search(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run = subprocess.run(command(root, out, "--processes", "2", "--json"), capture_output=True, text=True, check=True)
    assert list(json.loads((out / JOURNAL).read_text())) == STAGES
    assert json.loads(run.stdout)["holdout_top1"] > 0
    for stage in ("train", "evolve", "retrain"):
        assert json.loads((out / stage / "env.json").read_text())["world_size"] == 2


@pytest.mark.slow
def test_quickstart_reads_digits_that_it_has_not_seen(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "scarlet_models.search", "quickstart", "--threads", "1"]
    text = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert "report     runs/quickstart/report/index.html" in text
    assert (tmp_path / "runs/quickstart/report/index.html").exists()
    result = json.loads(subprocess.run([*line, "--json"], cwd=tmp_path, capture_output=True, check=True).stdout)
    right = sum(one["digit"] == one["said"] for one in result["read"])
    assert len(result["read"]) == 360
    assert 100 * right / 360 == pytest.approx(result["test_top1"]) and result["test_top1"] >= 95
    assert f"it reads {right} of 360 new digits right" in text
