"""Latency of another device: programs go there with a script, and times come back as a CSV."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tables import invented_table

from scarlet_models.errors import UserError
from scarlet_models.export.formats import Exported
from scarlet_models.search import cli
from scarlet_models.search.latency import bench, block_times
from scarlet_models.search.latency.block_times import block_name
from scarlet_models.search.latency.elsewhere import read_table
from scarlet_models.search.latency.table import LatencyTable, distinct_units
from scarlet_models.space.space import Genotype, SearchSpace

MINI = SearchSpace.load("mini")
CALL = 0.25  # milliseconds of a program that does next to nothing


@pytest.fixture
def emitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What --emit writes, with empty programs."""
    monkeypatch.setattr(block_times, "export", lambda *_, **__: Exported(b"program", lambda images: images))
    arguments = ["--runtime", "onnxruntime", "--dtype", "int8", "--validate", "5", "--emit", str(tmp_path / "phone")]
    assert cli.main(["latency", "mini", *arguments]) == 0
    return tmp_path / "phone"


def times_of(table: LatencyTable, names: list[str]) -> dict[str, float]:
    """What a device takes for each program, where each call costs CALL and blocks as much more as the table says."""
    units = {block_name(unit): unit for unit in distinct_units(MINI, 32)}
    blocks = {unit: table.blocks[layer, unit.choice] for unit, layer in distinct_units(MINI, 32).items()}
    times = {}
    for name in names:
        kind, _, rest = name.partition("-")
        if kind == "block":
            times[name] = CALL + blocks[units[name]]
        elif kind == "network":
            genotype = Genotype.parse(rest.replace("-", ","), MINI)
            times[name] = CALL + float(table.sum(np.array([genotype.choices]))[0])
        else:
            times[name] = CALL + {"map": 0.0, "stem": 0.2, "head": 0.3}[kind]
    return times


def write(path: Path, rows: list[tuple[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("program", "milliseconds"), *rows])
    return path


def test_times_that_come_back_are_a_table(emitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest, table = json.loads((emitted / "manifest.json").read_text()), invented_table()  # its base is 0.5
    assert {path.name for path in emitted.iterdir()} == {
        "README.md", "measure.sh", "manifest.json", *(f"{name}-int8.onnx" for name in manifest["programs"])
    }  # fmt: skip
    times = times_of(table, manifest["programs"])
    rows = [(name, factor * time) for name, time in times.items() for factor in (1, 0.5, 3)]  # the median counts
    capsys.readouterr()
    path = write(emitted / "times.csv", rows)
    assert cli.main(["latency", "--from", str(path), "--out", str(tmp_path / "out"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    back = LatencyTable.load(tmp_path / "out", MINI)
    assert back.blocks == pytest.approx(table.blocks, abs=1e-6, nan_ok=True)
    assert back.base == pytest.approx(0.5 + CALL)
    assert said["validation"]["spearman"]["value"] == pytest.approx(1)
    assert said["validation"]["mape"] == pytest.approx(0, abs=1e-6)
    assert (said["facts"]["runtime"], said["facts"]["dtype"]) == ("onnxruntime", "int8")
    assert said["facts"]["device"] == "elsewhere"


def test_the_script_times_every_program(emitted: Path) -> None:
    output = "echo Average inference time cost: 1.25 ms"  # as onnxruntime_perf_test prints it
    done = subprocess.run(
        ["sh", str(emitted / "measure.sh")], env={"PATH": "/usr/bin:/bin", "TOOL": output, "ROUNDS": "1"}
    )
    assert done.returncode == 0
    rows = list(csv.DictReader((emitted / "times.csv").open(newline="")))
    assert {row["program"] for row in rows} == set(json.loads((emitted / "manifest.json").read_text())["programs"])
    assert {row["milliseconds"] for row in rows} == {"1.25"}
    silent = {"PATH": "/usr/bin:/bin", "TOOL": "echo FILE"}
    failed = subprocess.run(["sh", str(emitted / "measure.sh")], env=silent, capture_output=True, text=True)
    assert failed.returncode == 1 and "no time of block-" in failed.stderr


def test_the_script_reads_executor_runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_times, "export", lambda *_, **__: Exported(b"", lambda images: images))
    monkeypatch.setitem(bench._VERSIONS, "executorch", ())  # the package need not be here
    folder = tmp_path / "phone"
    assert cli.main(["latency", "mini", "--runtime", "executorch", "--validate", "0", "--emit", str(folder)]) == 0
    assert (
        "executor_runner --model_path=FILE --num_executions=100 --cpu_threads=1" in (folder / "README.md").read_text()
    )
    said = "echo I 00:00 executorch:executor_runner.cpp:1] Model executed successfully 100 time(s) in 350.5 ms."
    environment = {"PATH": "/usr/bin:/bin", "TOOL": said, "ROUNDS": "1"}
    assert subprocess.run(["sh", str(folder / "measure.sh")], env=environment).returncode == 0
    assert {row["milliseconds"] for row in csv.DictReader((folder / "times.csv").open(newline=""))} == {"3.505"}


def test_times_that_are_missing_or_none_are_refused(emitted: Path, tmp_path: Path) -> None:
    names = json.loads((emitted / "manifest.json").read_text())["programs"]
    rows: list[tuple[str, Any]] = list(times_of(invented_table(), names).items())
    with pytest.raises(UserError, match=r"lacks the times of 1 programs, such as stem"):
        read_table(write(emitted / "times.csv", [row for row in rows if row[0] != "stem"]))
    for time in ("-1", "nan", "fast"):
        with pytest.raises(UserError, match=r"times.csv: .*give the CSV in the folder that latency --emit wrote"):
            read_table(write(emitted / "times.csv", [*rows, ("stem", time)]))
    with pytest.raises(UserError, match="No such file or directory; give the CSV"):
        read_table(write(tmp_path / "times.csv", rows))
    (emitted / "times.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="its columns are not program, milliseconds"):
        read_table(emitted / "times.csv")


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnxruntime", "executorch"])
def test_programs_run_in_a_process_without_this_package(runtime: str, tmp_path: Path) -> None:
    """A stand-in for the device's tool times each file in its runtime, and the table predicts whole networks."""
    pytest.importorskip(runtime)  # of the extras export and executorch
    folder = tmp_path / "phone"
    assert cli.main(["latency", "mini", "--runtime", runtime, "--validate", "6", "--emit", str(folder)]) == 0
    tool = tmp_path / "tool.py"
    tool.write_text(ONNX_TOOL if runtime == "onnxruntime" else EXECUTORCH_TOOL)
    environment = {"PATH": "/usr/bin:/bin", "TOOL": f"{sys.executable} {tool} FILE", "ROUNDS": "2"}
    assert subprocess.run(["sh", str(folder / "measure.sh")], env=environment).returncode == 0
    table = read_table(folder / "times.csv")
    assert table.validation is not None and table.validation["spearman"]["value"] > 0.5
    assert torch.isfinite(torch.tensor(table.base))


ONNX_TOOL = """
import sys, time, numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
shape = [1 if isinstance(size, str) else size for size in session.get_inputs()[0].shape]
pixels = {"pixels": numpy.zeros(shape, numpy.float32)}
times = []
for _ in range(50):
    start = time.perf_counter()
    session.run(None, pixels)
    times.append(time.perf_counter() - start)
print("Average inference time cost:", 1e3 * sorted(times)[25], "ms")
"""
EXECUTORCH_TOOL = """
import sys, time, torch
from executorch.runtime import Runtime
method = Runtime.get().load_program(sys.argv[1]).load_method("forward")
images = torch.zeros(*method.metadata.input_tensor_meta(0).sizes())
times = []
for _ in range(50):
    start = time.perf_counter()
    method.execute((images,))
    times.append(time.perf_counter() - start)
print("Model executed successfully 100 time(s) in", 1e5 * sorted(times)[25], "ms.")
"""
