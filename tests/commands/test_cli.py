"""The commands of scarlet-models, on real networks and real images."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from helpers.commands import fails, run
from PIL import Image

from scarlet_models.commands import benchmark
from scarlet_models.inspection.counting import count
from scarlet_models.weights.shipped import ACCURACIES, TAG

MINI = ["0,1,2,3,0", "--space", "mini"]


def test_list_names_every_model_with_its_cost(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "list", "--json")
    rows = {row["model"]: row for row in json.loads(out)}
    assert status == 0
    assert set(rows) == {"scarlet_a2", "scarlet_a4"} | {
        f"{name}.{tag}" for name in ACCURACIES for tag in ("xiaomi_in1k", TAG)
    }
    assert (rows["scarlet_a.xiaomi_in1k"]["macs"], rows["scarlet_a.xiaomi_in1k"]["params"]) == (365_307_392, 6_707_720)
    assert rows["scarlet_b.tiny_in"]["num_classes"] == 200 and rows["scarlet_b.tiny_in"]["input_size"] == 64
    for row in rows.values():
        assert row["weights"] is None or Path(row["weights"]).is_file()


def test_info_counts_scarlet_a_three_times(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "info", "scarlet_a")
    assert status == 0
    for counter in ("from the genotype", "by torch", "by thop"):
        line = next(line for line in out.splitlines() if line.startswith(counter))
        assert line.split()[-2:] == ["365,307,392", "6,707,720"]
    assert "2,4,1,8,9,7,9,0,8,2,1,8,0,8,9,10,6,9,11" in out
    assert [line.split() for line in out.strip().splitlines()[-5:]] == [
        ["2", "16", "blocks.0"],
        ["4", "32", "blocks.1"],
        ["8", "40", "blocks.2"],
        ["16", "96", "blocks.4"],
        ["32", "320", "blocks.6"],
    ]


def test_info_of_genotypes_and_sizes_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "info", *MINI, "--input-size", "64", "--json")
    facts = json.loads(out)
    assert facts["input_size"] == 64 and facts["space"] == "mini"
    assert facts["cost"]["genotype"] == facts["cost"]["torch"] == facts["cost"]["thop"]
    assert [block["choice"] for block in facts["blocks"] if block["layer"] is not None] == [0, 1, 2, 3, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "foo:bar"], "foo:bar: "),
        (["classify", "x.jpg", "--model", "foo:bar"], "foo:bar: "),
        (["info", "scarlet_aa"], "no network 'scarlet_aa': did you mean scarlet_a?"),
        (["info", "1,2,3"], "3 entries, space 'scarlet' has 19 layers"),
        (["info", "0,1,2,9,0", "--space", "mini"], "layer 3: choice 9 is not an index in 0..3"),
        (["info", "0,1,2", "--space", "nowhere"], "no search space 'nowhere'"),
        (["info", "scarlet_a.nothing"], "Invalid pretrained tag"),
        (["info", "resnet18"], "ResNet"),
        (["info", "local-dir:/nowhere"], "/nowhere/config.json"),
        (["info", "scarlet_a", "--input-size", "-1"], "--input-size: -1 is below 0"),
        (["plot", *MINI, "--out", "drawing.docx"], "must end in .png, .svg, .pdf"),
        (["export", *MINI], "a genotype has no weights"),
        (
            ["export", *MINI, "--no-pretrained", "--format", "tf"],
            "--format: 'tf' is none of onnx, onnx-int8, pt2, exec",
        ),
        (["export", *MINI, "--format", "onnx-int8"], "--calibration is missing: onnx-int8 needs training images"),
        (["export", *MINI, "--sensitivity"], "--calibration is missing: --sensitivity needs training images"),
        (["export", *MINI, "--max-drop", "1"], "--max-drop needs labelled images to measure top-1 on"),
        (["benchmark", "--rounds", "0"], "--rounds: 0 is below 1"),
        (["benchmark", "scarlet_a", "--device", "tpu"], "--device tpu cannot be used here"),
        (["classify", "x.jpg", "--device", "meta"], "--device meta cannot be used here"),
        (["classify", "x.jpg", "--top-k", "0"], "--top-k: 0 is below 1"),
        (["weights", "install", "--name", "scarlet_a.tiny_in", "none.safetensors"], "cannot read none.safetensors"),
        (["weights", "install", "none.safetensors", "--name", "scarlet_a.tiny_in"], "cannot read none.safetensors"),
    ],
)
def test_users_mistakes(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in fails(capsys, *arguments)


def test_env_names_versions_and_store(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    facts = json.loads(run(capsys, "env", "--json")[1])
    assert facts["torch"] == torch.__version__.split("+")[0] or facts["torch"] == torch.__version__
    assert facts["store"] == os.environ["SCARLET_HOME"]
    assert set(facts) <= {line.split("  ")[0] for line in run(capsys, "env")[1].splitlines()}
    monkeypatch.setenv("SCARLET_HOME", "~nobody_of_this_name/store")
    assert "no home folder" in json.loads(run(capsys, "env", "--json")[1])["store"]


def test_plot_writes_where_it_says(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "plot", *MINI)[:2] == (0, "genotype_0-1-2-3-0.png\n")
    assert run(capsys, "plot", *MINI, "--out", "deep/er/net.svg")[0] == 0
    assert Image.open("genotype_0-1-2-3-0.png").format == "PNG"
    assert Path("deep/er/net.svg").read_text().count("<svg") == 1


@pytest.mark.parametrize("arguments", [["--help"], ["info", "--help"], ["info", *MINI]])
def test_a_reader_that_has_seen_enough_is_no_mistake(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    script = "import sys; from scarlet_models.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.stderr == "" and done.returncode in (0, 1)  # rich exits with 1


def test_benchmark_compares_with_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    common = ["--space", "mini", "--input-size", "32", "--batch-size", "4", "--rounds", "2", "--threads", "1"]
    status, out, _ = run(capsys, "benchmark", "0,1,2,3,0", "2,2,2,2,2", *common, "--json")
    measured = json.loads(out)
    assert status == 0 and measured["threads"] == 1 and torch.get_num_threads() == threads
    first, second = measured["results"]
    assert first["latency_ratio"] == first["throughput_ratio"] == 1
    assert second["latency_ratio"] == pytest.approx(second["latency"] / first["latency"])
    assert second["throughput_ratio"] == pytest.approx(second["throughput"] / first["throughput"])
    status, out, _ = run(capsys, "benchmark", "0,1,2,3,0", *common)
    assert status == 0 and out.splitlines()[-1].split()[0] == "0,1,2,3,0"


def test_benchmark_can_count_all_that_it_times_unasked() -> None:
    for name in benchmark.Options().models:
        with torch.device("meta"):
            assert count(timm.create_model(name), benchmark.Options().input_size).macs > 50e6


def test_benchmark_names_a_network_of_another_size(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, error = run(capsys, "benchmark", "vit_tiny_patch16_224", "--input-size", "64")
    assert (status, out) == (2, "") and error.count("\n") == 1
    assert "vit_tiny_patch16_224 cannot see images of 64 px: " in error


def test_a_saved_network_is_known_by_its_folder(exported: str, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.loads(run(capsys, "info", exported, "--json")[1])
    assert facts["genotype"] == "0,1,2,3,0" and facts["space"] == "mini"


@pytest.mark.parametrize("command", [["info"], ["classify", "x.jpg", "--model"]])
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{}", "its config.json describes no network: it names no architecture"),
        ("[]", "config.json: holds a list, not a mapping"),
        ('{"architecture": 5}', "its config.json describes no network: it names no architecture"),
        ('{"architecture": "scarlet_net"}', "genotype"),
    ],
)
def test_a_config_that_is_not_a_networks_is_one_line(
    command: list[str], config: str, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(config)
    assert message in fails(capsys, *command, f"local-dir:{tmp_path}")


def test_convert_leaves_no_file_where_it_cannot_install(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = timm.create_model("scarlet_c").state_dict()
    monkeypatch.setattr("scarlet_models.weights.convert.convert", lambda *_: ("scarlet_c", weights))
    (tmp_path / "store").write_text("a file")
    monkeypatch.setenv("SCARLET_HOME", str(tmp_path / "store"))
    output = tmp_path / "out.safetensors"
    assert "cannot write to" in fails(capsys, "convert", "x.pth", "--install", "--output", str(output))
    assert not output.exists()


def test_scripts_run_with_the_models_registered(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("GENOTYPE = '0,1,2,3,0'\n")
    (tmp_path / "script.py").write_text(
        "import sys, helper, timm\n"
        "assert __name__ == '__main__'\n"
        "model = timm.create_model('scarlet_net', genotype=helper.GENOTYPE, space='mini')\n"
        "print(sys.argv[1:], model.num_classes)\n"
        "sys.exit(7)\n"
    )
    command = [sys.executable, "-m", "scarlet_models", str(tmp_path / "script.py"), "--lr", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stdout) == (7, "['--lr', '1'] 10\n"), done.stderr


def test_scripts_that_are_not_there(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from scarlet_models.__main__ import main as run_script

    monkeypatch.setattr("sys.argv", ["scarlet_models", "nowhere.py"])
    assert run_script() == 2
    assert "no script nowhere.py" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["scarlet_models", "--help"])
    assert run_script() == 0
