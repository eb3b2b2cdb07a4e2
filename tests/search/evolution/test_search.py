"""evolve: the command on a tiny random supernet and on a table, killed, resumed, reused, and under torchrun."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers.runs import free_port
from helpers.supernets import write_images, write_supernet
from PIL import Image

import scarlet_models.search
from scarlet_models import UserError
from scarlet_models.models import GENOTYPES
from scarlet_models.search import cli
from scarlet_models.search.commands import evolve
from scarlet_models.search.latency.table import LatencyTable
from scarlet_models.search.scoring.score_cache import Score, ScoreCache
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.space import Genotype, SearchSpace

SPACE = SearchSpace.load("mini")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, the run of a supernet, and the accuracies of all networks, made up."""
    root = tmp_path_factory.mktemp("evolve")
    write_images(root / "data")
    write_supernet(root / "data", root / "run")
    worth = np.random.default_rng(0).uniform(0, 5, (5, 4))
    known = {str(g): 60 + worth[range(5), g.choices].sum() for g in {g.canonical() for g in SPACE}}
    (root / "known.csv").write_text("genotype,accuracy\n" + "".join(f'"{g}",{a}\n' for g, a in sorted(known.items())))
    return root


def options(run: Path, out: Path, **changes: Any) -> evolve.Options:
    chosen = {
        "supernet": str(run / "run"),
        "data_dir": str(run / "data"),
        "out": str(out),
        "workers": 0,
        "batch_size": 10,
        "calibration_images": 20,
        "population": 8,
        "generations": 3,
    }
    return evolve.Options(**{**chosen, **changes})


def from_table(run: Path, out: Path, **changes: Any) -> evolve.Options:
    return options(run, out, **{"supernet": "", "known": str(run / "known.csv"), "space": "mini", **changes})


def result(out: Path) -> dict[str, Any]:
    return json.loads((out / "search.json").read_text())


def measured(out: Path) -> list[str]:
    return [json.loads(line)["genotype"] for line in (out / "evaluations.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def done(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished search."""
    out = tmp_path_factory.mktemp("done") / "evolve"
    evolve.main(options(run, out))
    return out


def test_the_folder_holds_what_the_report_and_the_pipeline_read(done: Path) -> None:
    found = result(done)
    assert {path.name for path in (done / "generations").iterdir()} == {f"{n:04d}.json" for n in range(3)}
    assert found["evaluations"] == found["random"]["evaluations"] == found["stratified"]["evaluations"] == 24
    assert 5 < found["training_free"]["evaluations"] <= 20
    assert found["space"] == "mini"
    assert [o["name"] for o in found["objectives"]] == ["accuracy", "macs", "params"]
    known = dict.fromkeys(measured(done))
    assert len(known) == len(measured(done))
    rivals = [record for name in ("random", "stratified", "training_free") for record in found[name]["front"]]
    for record in found["front"] + rivals:
        assert set(record) == {"genotype", "accuracy", "macs", "params"}
        genotype = Genotype.parse(record["genotype"], SPACE)
        assert genotype.canonical() == genotype
        assert (record["macs"], record["params"]) == (genotype.cost().macs, genotype.cost().params)
        assert record["genotype"] in known
    last = json.loads((done / "generations/0002.json").read_text())
    assert last["front"] == found["front"]
    assert len(last["population"]) == 8
    assert len(last["asked"]) == 8 and {record["genotype"] for record in last["asked"]} <= set(known)
    assert last["evaluations"] == 24
    with (done / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    volumes_of_rivals = "random_hypervolume,stratified_hypervolume,training_free_hypervolume"
    columns = f"generation,evaluations,hypervolume,{volumes_of_rivals},front,best_accuracy,surrogate_kendall"
    assert list(rows[0]) == columns.split(",")
    assert all(float(row[name]) >= 0 for row in rows for name in volumes_of_rivals.split(","))
    assert [row["evaluations"] for row in rows] == ["8", "16", "24"]
    volumes = [float(row["hypervolume"]) for row in rows]
    assert 0 < volumes[0] <= volumes[1] <= volumes[2] < 1
    assert rows[0]["surrogate_kendall"] == ""
    for name in ("front.png", "hypervolume.png"):
        with Image.open(done / name) as image:
            assert image.width > 500


def test_new_limits_measure_nothing_twice(run: Path, done: Path, tmp_path: Path) -> None:
    (tmp_path / "evaluations.jsonl").write_bytes((done / "evaluations.jsonl").read_bytes())
    (tmp_path / "generations").mkdir()
    (tmp_path / "generations/0007.json").write_text("{}")
    before = set(measured(tmp_path))
    limit = int(np.median([record["macs"] for record in result(done)["front"]]))
    evolve.main(options(run, tmp_path, max_macs=limit, objectives=["accuracy", "macs"], generations=2))
    after = measured(tmp_path)
    assert len(set(after)) == len(after)
    assert set(after) > before
    assert all(Genotype.parse(text, SPACE).cost().macs <= limit for text in set(after) - before)
    assert all(record["macs"] <= limit for record in result(tmp_path)["front"])
    assert len(list((tmp_path / "generations").iterdir())) == 2  # none of the former search's
    lines = len(after)
    evolve.main(options(run, tmp_path))  # the first search again: all of it is on file
    assert len(measured(tmp_path)) == lines
    assert result(tmp_path) == result(done)


def test_a_resumed_search_refuses_other_options_but_more_generations(run: Path, tmp_path: Path) -> None:
    evolve.main(from_table(run, tmp_path, generations=2))
    with pytest.raises(UserError, match="seed was 0, is 1; mend that, or resume with --allow-drift"):
        evolve.main(from_table(run, tmp_path, seed=1, resume=True))
    evolve.main(from_table(run, tmp_path, generations=4, resume=True))
    evolve.main(from_table(run, tmp_path / "whole", generations=4))
    assert result(tmp_path) == result(tmp_path / "whole")
    evolve.main(from_table(run, tmp_path, seed=1, resume=True, allow_drift=True))
    assert result(tmp_path) != result(tmp_path / "whole")
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())  # which another search may start from
    assert config["seed"] == 1 and not config["resume"] and not config["allow_drift"]


@pytest.mark.parametrize("surrogate", [0, 40])
def test_a_table_is_used_up_and_the_search_ends(
    run: Path, tmp_path: Path, surrogate: int, caplog: pytest.LogCaptureFixture
) -> None:
    limit = int(np.quantile([g.cost().macs for g in SPACE], 0.1))
    inside = {g.canonical() for g in SPACE if g.cost().macs <= limit}
    caplog.set_level("INFO")
    changes = {"population": 20, "generations": 50, "max_macs": limit, "surrogate": surrogate, "random": False}
    evolve.main(from_table(run, tmp_path, **changes))
    found = result(tmp_path)
    assert found["evaluations"] == len(inside)
    assert "the search ends" in caplog.text
    assert found["random"] is found["stratified"] is None
    regret = found["regret"]["evolution"]
    assert regret["best"] == regret["front"] == 0
    assert regret["hypervolume"] == pytest.approx(1)


def test_the_surrogate_says_how_well_it_orders(run: Path, tmp_path: Path) -> None:
    evolve.main(from_table(run, tmp_path, population=15, generations=4, surrogate=100))
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["surrogate_kendall"] == ""
    assert float(rows[-1]["surrogate_kendall"]) > 0.6  # the made-up accuracies are sums over layers
    again = tmp_path / "again"
    evolve.main(from_table(run, again, population=15, generations=4, surrogate=100))
    assert result(again) == result(tmp_path)


def test_latency_is_an_objective_and_a_limit(run: Path, tmp_path: Path) -> None:
    blocks = np.full((5, 4), np.nan)
    for layer in SPACE.layers:
        blocks[layer.index, list(layer.choices)] = np.random.default_rng(layer.index).uniform(1, 3, len(layer.choices))
    LatencyTable(SPACE, 2.0, blocks).save(tmp_path / "table.json")
    changes = {"latency_table": str(tmp_path), "objectives": ["accuracy max 0.5", "latency min 0.5"]}
    evolve.main(from_table(run, tmp_path / "out", max_latency="11ms", min_accuracy=65, **changes))
    front = result(tmp_path / "out")["front"]
    assert front
    for record in front:
        choices = Genotype.parse(record["genotype"], SPACE).choices
        assert record["latency"] == pytest.approx(2 + blocks[range(5), choices].sum())
        assert record["latency"] <= 11
        assert record["accuracy"] == record["true_accuracy"] >= 65
    evolve.main(from_table(run, tmp_path / "slow", min_latency="12ms", **changes))
    found = result(tmp_path / "slow")
    assert found["front"] and all(record["latency"] >= 12 for record in found["front"])
    assert found["limits"] == {"latency": [12, None]}
    for limit, said in (({"max_latency": 2.5}, r"at most 2\.5"), ({"min_latency": "18ms"}, "at least 18")):
        with pytest.raises(UserError, match=f"no network of space 'mini' takes {said} ms: by the table they take from"):
            evolve.main(from_table(run, tmp_path / "out", **limit, **changes))


def test_a_search_starts_from_given_networks(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evolve.main(from_table(run, tmp_path, seeds=["0,3,1,3,2", "0,0,0,0,0"], generations=1))
    first = json.loads((tmp_path / "generations/0000.json").read_text())
    assert [record["genotype"] for record in first["population"]][:2] == ["0,3,1,2,3", "0,0,0,0,0"]
    with pytest.raises(UserError, match="--seeds: 0,0,0,0,0 does not meet the limits"):
        evolve.main(from_table(run, tmp_path, seeds=["0,0,0,0,0"], max_params=SPACE.cost([0] * 5).params - 1))


def test_released_networks_are_seeds_and_are_marked(tmp_path: Path) -> None:
    """In a table of the scarlet space: B as its canonical form, beside random ones."""
    space, rng = SearchSpace.load("scarlet"), np.random.default_rng(0)
    networks = [Genotype.parse(GENOTYPES["scarlet_b"]), *(space.sample(rng) for _ in range(20))]
    rows = "".join(f'"{g}",{70 + i / 10}\n' for i, g in enumerate(networks))
    (tmp_path / "known.csv").write_text("genotype,accuracy\n" + rows)
    table = {"known": str(tmp_path / "known.csv"), "space": "scarlet", "out": str(tmp_path / "out")}
    chosen = evolve.Options(**table, seeds=["B"], population=6, generations=2)
    evolve.main(chosen)
    first = json.loads((tmp_path / "out/generations/0000.json").read_text())
    assert first["population"][0]["genotype"] == str(networks[0].canonical())
    assert first["population"][0]["accuracy"] == 70


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--max-macs", "10"], "no network of space 'mini' has max macs 10: its macs go from"),
        (["--max-macs", "2M", "--min-macs", "3M"], "min macs 3,000,000 is above max macs 2,000,000"),
        (["--objectives", "[macs]"], "--objectives: macs: name accuracy"),
        (["--objectives", "[accuracy, size]"], "'size' is not one of accuracy, macs, params, latency"),
        (["--objectives", "[accuracy, macs min -1]"], "'macs min -1' is not a name, min or max, and a positive weight"),
        (["--objectives", "[accuracy, latency]"], "latency needs --latency-table"),
        (["--max-latency", "15ms"], "latency needs --latency-table"),
        (["--min-latency", "15ms"], "latency needs --latency-table"),
        (["--min-latency", "3", "--max-latency", "2", "--latency-table", "x"], "min latency 3 ms is above max"),
        (["--population", "1"], "--population: 1 is below 2"),
        (["--min-accuracy", "101"], "--min-accuracy: 101.0 is above 100"),
        (["--seeds", "[D]"], "--seeds: D: genotype 'D' is not"),
        (["--space", "mini"], "--space: the supernet has its own"),
        (["--data-dir", "none"], "none does not exist"),
    ],
)
def test_mistakes_get_one_line_before_anything_is_measured(
    run: Path, tmp_path: Path, changes: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data-dir", str(run / "data"), "--out", str(tmp_path / "out"), "--workers", "0", *changes]
    assert cli.main(["evolve", str(run / "run"), *arguments]) == 2
    printed = capsys.readouterr().err.splitlines()
    (line,) = (line for line in printed if " images, " not in line)  # which says what the data hold
    assert message in line
    assert not (tmp_path / "out/evaluations.jsonl").exists()


def test_no_supernet_and_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evolve"]) == 2
    assert "SUPERNET is missing" in capsys.readouterr().err


def test_the_front_is_printed_for_people_and_programs(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evolve", "--known", str(run / "known.csv"), "--space", "mini", "--out", str(tmp_path)]
    few = ["--population", "6", "--generations", "2"]
    assert cli.main([*arguments, *few, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == result(tmp_path)
    assert cli.main([*arguments, *few, "--no-random"]) == 0
    printed = capsys.readouterr().out
    assert "true accuracy" in printed
    assert report["front"][0]["genotype"] in printed


def test_a_score_on_file_is_believed(run: Path, done: Path, tmp_path: Path) -> None:
    """Random and evolved networks come from the file alone: with other scores in it the front is another."""
    lines = [json.loads(line) for line in (done / "evaluations.jsonl").read_text().splitlines()]
    conditions = {k: v for k, v in lines[0].items() if k not in ("genotype", "top1", "loss", "images", "check")}
    score_cache = ScoreCache(tmp_path / "evaluations.jsonl", conditions)
    for genotype in {g.canonical() for g in SPACE}:
        score_cache.add(genotype, Score(50 + genotype.choices[0], 1.0, 24))
    size = (tmp_path / "evaluations.jsonl").stat().st_size
    evolve.main(options(run, tmp_path))
    assert (tmp_path / "evaluations.jsonl").stat().st_size == size
    assert {record["accuracy"] for record in result(tmp_path)["front"]} <= {50, 51, 52}


def test_evolve_in_python(run: Path, done: Path, tmp_path: Path) -> None:
    few = {"population": 8, "generations": 3, "workers": 0, "batch_size": 10, "calibration_images": 20}
    front = scarlet_models.search.evolve(run / "run", run / "data", out=str(tmp_path), **few)
    assert json.loads(json.dumps(front.report)) == result(tmp_path) == result(done)
    assert [network.record() for network in front] == front.report["front"]
    assert front[0].accuracy == max(network.accuracy for network in front)
    assert repr(front).startswith(f"Front({len(front)} of 24 scored networks)\n  ScoredNetwork({front[0].genotype}: ")
    front.plot(tmp_path / "own.png")
    with Image.open(tmp_path / "own.png") as image:
        assert image.width > 500
    few |= {"objectives": ["accuracy", "macs"], "max_macs": "2M", "out": str(tmp_path)}
    cheap = scarlet_models.search.evolve(Supernet.from_pretrained(run / "run"), run / "data", **few)
    assert cheap and all(network.macs <= 2e6 for network in cheap)


def command(run: Path, out: Path) -> list[str]:
    arguments = ["evolve", str(run / "run"), "--data-dir", str(run / "data"), "--out", str(out), "--workers", "0"]
    numbers = ["--batch-size", "10", "--calibration-images", "20", "--population", "8", "--generations", "3"]
    return ["-m", "scarlet_models.search", *arguments, *numbers]


@pytest.mark.slow
def test_killed_amid_a_generation_and_resumed(run: Path, done: Path, tmp_path: Path) -> None:
    lines = (done / "evaluations.jsonl").read_text().splitlines(keepends=True)
    some = 2 * len(lines) // 3  # amid a generation
    process = subprocess.Popen([sys.executable, *command(run, tmp_path)])
    file, deadline = tmp_path / "evaluations.jsonl", time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if file.exists() and len(file.read_bytes().splitlines()) >= some:
            break
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    file.write_text("".join(lines[:some]) + lines[some][:40])  # as if it had come in time, whatever the machine's speed
    assert not (tmp_path / "search.json").exists()
    subprocess.run([sys.executable, *command(run, tmp_path), "--resume"], check=True)
    assert result(tmp_path) == result(done)
    assert file.read_text().splitlines() == [line.rstrip("\n") for line in lines]


@pytest.mark.slow
def test_two_processes_find_the_same_front(run: Path, done: Path, tmp_path: Path) -> None:
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", free_port()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *launch, *command(run, tmp_path)], check=True, env=environment)
    assert result(tmp_path) == result(done)
    assert sorted(measured(tmp_path)) == sorted(measured(done))
