"""The command line: its engine, and the commands on real networks and real images."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.models import save_for_hf

from scarlet_models.cli import PROGRAM, Program, main
from scarlet_models.commands import benchmark
from scarlet_models.inspection.counting import count
from scarlet_models.weights import save as saving

MINI = ["0,1,2,3,0", "--space", "mini"]
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a command, run in this process."""
    status = main(arguments)
    return status, *capsys.readouterr()


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line on stderr of a command that must exit with 2 and print nothing else."""
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1 and "Traceback" not in err
    return err.strip()


# The engine


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Program]:
    """A program with one real subcommand and some that end badly."""
    folder = tmp_path / "made_commands"
    (folder / "recipes").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "add.py").write_text('''\
"""Adds numbers."""

from dataclasses import dataclass, field
from typing import Literal

EXAMPLE = "  calc add 1 2"


@dataclass
class Options:
    """Options.

    Args:
        numbers: What to add.
        times: How often.
        how: In which style.
        loud: Shout.
    """

    numbers: list[int] = field(metadata={"positional": True})
    times: int = 1
    how: Literal["plain", "fancy"] = "plain"
    loud: bool = False


def main(options):
    print(sum(options.numbers) * options.times, options.how, options.loud)
''')
    for name, statement in {
        "stop": "raise KeyboardInterrupt",
        "refuse": "raise UserError('line one\\nline two')",
        "warn": "warnings.warn('careful')",
        "crash": "raise ZeroDivisionError",
    }.items():
        (folder / f"{name}.py").write_text(f'''\
"""Ends badly."""

import warnings
from dataclasses import dataclass

from scarlet_models.errors import UserError

EXAMPLE = ""


@dataclass
class Options:
    """None."""


def main(options):
    {statement}
''')
    (folder / "need.py").write_text("import a_package_that_is_not_there\n")
    (folder / "recipes" / "twice.yaml").write_text("times: 2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    names = ("add", "stop", "refuse", "warn", "crash", "need")
    yield Program(
        "calc", "made_commands", dict.fromkeys(names, "text"), {}, folder / "recipes", {"add": ["twice"]}, "search"
    )
    for name in [name for name in sys.modules if name.startswith("made_commands")]:
        del sys.modules[name]


def test_options_come_from_defaults_then_yaml_then_the_command_line(
    program: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "own.yaml"
    config.write_text("numbers: [5, 6]\ntimes: 3\nloud: true\n")
    cases = {
        ("1", "2"): "3 plain False",
        ("--config", str(config)): "33 plain True",
        ("--config", str(config), "--times", "1", "--no-loud"): "11 plain False",
        ("1", "--config", str(config)): "3 plain True",
        ("1", "--config", "twice"): "2 plain False",
        ("1", "--config=twice.yaml", "--how", "fancy"): "2 fancy False",
        ("1", "--times", "2", "3", "--loud", "4", "--how=fancy", "--", "-1"): "14 fancy True",
    }
    for arguments, printed in cases.items():
        assert program.run(["add", *arguments]) == 0
        assert capsys.readouterr().out.strip() == printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ad"], "calc: no command 'ad'; did you mean add?"),
        (["add"], "calc add: NUMBERS is missing; see calc add --help"),
        (["add", "1", "--tmes", "2"], "calc add: there is no option --tmes; did you mean --times?"),
        (["add", "1", "--times", "x"], "calc add: --times: 'x' is not a whole number"),
        (["add", "1", "--how", "ugly"], "calc add: --how: 'ugly' is not one of plain, fancy"),
        (["add", "1", "--times"], "calc add: --times: expected one argument"),
        (["refuse"], "calc refuse: line one line two"),
        (["need"], "calc need: needs a_package_that_is_not_there: pip install 'scarlet-models[search]'"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(
    program: Program, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == message + "\n"


def test_mistakes_in_yaml_name_the_option(program: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text, message in {
        "tims: 2\n": "no option tims; did you mean --times?",
        "times: [\n": "in the --config file, line 2",
    }.items():
        (tmp_path / "bad.yaml").write_text(text)
        assert program.run(["add", "1", "--config", str(tmp_path / "bad.yaml")]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert program.run(["add", "1", "--config", "nowhere.yaml"]) == 2
    assert "nowhere.yaml" in capsys.readouterr().err


def test_other_endings(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.run(["stop"]) == 130
    assert capsys.readouterr().err == "calc stop: interrupted\n"
    assert program.run(["warn"]) == 0
    assert capsys.readouterr().err == "calc: warning: careful\n"
    with pytest.raises(ZeroDivisionError):  # a bug of ours keeps its traceback
        program.run(["crash"])


def test_help_shows_defaults_and_the_example(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        program.run(["add", "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert "usage: calc add NUMBERS [options]" in text and "(default: plain)" in text and "calc add 1 2" in text
    assert program.run([]) == 0
    assert "twice" in capsys.readouterr().out


def test_help_of_every_command_is_quick_and_has_an_example() -> None:
    """In a fresh process that was started as the command is: nothing may import torch, not even the package."""
    code = """
import sys
sys.argv = ["scarlet-models"]
from scarlet_models.cli import PROGRAM
for command in PROGRAM.commands:
    try:
        PROGRAM.run([command, "--help"])
    except SystemExit as stop:
        assert stop.code == 0
assert "torch" not in sys.modules
"""
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    for command in PROGRAM.commands:
        assert f"example:\n  scarlet-models {command}" in shown


# The commands


def test_list_names_every_model_with_its_cost(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "list", "--json")
    rows = {row["model"]: row for row in json.loads(out)}
    assert status == 0
    assert set(rows) == {"scarlet_a2", "scarlet_a4"} | {
        f"scarlet_{v}.{t}" for v in "abc" for t in ("xiaomi_in1k", "c10")
    }
    assert (rows["scarlet_a.xiaomi_in1k"]["macs"], rows["scarlet_a.xiaomi_in1k"]["params"]) == (365_307_392, 6_707_720)
    assert rows["scarlet_b.c10"]["num_classes"] == 10 and rows["scarlet_b.c10"]["input_size"] == 64
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
        (["info", "scarlet_net"], "give the genotype itself"),
        (["info", "1,2,3"], "3 entries, space 'scarlet' has 19 layers"),
        (["info", "0,1,2,9,0", "--space", "mini"], "layer 3: choice 9 is not an index in 0..3"),
        (["info", "0,1,2", "--space", "nowhere"], "no search space 'nowhere'"),
        (["info", "scarlet_a.nothing"], "Invalid pretrained tag"),
        (["info", "mobilenetv3_large_100"], "not MobileNetV3"),
        (["info", "local-dir:/nowhere"], "/nowhere/config.json"),
        (["info", "scarlet_a", "--input-size", "-1"], "--input-size"),
        (["plot", *MINI, "--out", "drawing.docx"], "must end in .png, .svg, .pdf"),
        (["export", *MINI], "a genotype has no weights"),
        (["export", *MINI, "--no-pretrained", "--formats", "[tf]"], "such as [onnx,program]"),
        (["benchmark", "--rounds", "0"], "must be 1 or more"),
        (["benchmark", "scarlet_a", "--device", "tpu"], "--device tpu cannot be used here"),
        (["classify", "x.jpg", "--device", "meta"], "--device meta cannot be used here"),
        (["classify", "x.jpg", "--top-k", "0"], "must be 1 or more"),
        (["weights", "install", "--name", "scarlet_a.c10", "none.safetensors"], "cannot read none.safetensors"),
        (["weights", "install", "none.safetensors", "--name", "scarlet_a.c10"], "cannot read none.safetensors"),
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


# Weights, as retrain exports them


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network of space mini, with random weights of a fixed seed, that classifies into CIFAR-10's classes."""
    folder = tmp_path_factory.mktemp("exported") / "net"
    torch.manual_seed(1)
    arguments = {"genotype": "0,1,2,3,0", "space": "mini"}
    model = timm.create_model("scarlet_net", **arguments)
    torch.nn.init.normal_(model.classifier.weight, std=0.5)  # probabilities that differ
    save_for_hf(model, folder, {"label_names": list(CLASSES)}, model_args=arguments, safe_serialization=True)
    return f"local-dir:{folder}"


def test_a_saved_network_is_known_by_its_folder(exported: str, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.loads(run(capsys, "info", exported, "--json")[1])
    assert facts["genotype"] == "0,1,2,3,0" and facts["space"] == "mini"


@pytest.mark.parametrize("command", [["info"], ["classify", "x.jpg", "--model"]])
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{}", "its config.json describes no network (KeyError: 'architecture')"),
        ("[]", "its config.json describes no network (TypeError"),
        ('{"architecture": 5}', "its config.json describes no network (AttributeError"),
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


def test_export_is_checked_and_takes_any_batch(
    exported: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")  # of the extra export
    pytest.importorskip("onnxscript")  # likewise
    status, out, _ = run(capsys, "export", exported, "--out", str(tmp_path))
    assert status == 0 and out.count("checked: differs by") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.onnx", "net.pt2"]
    model = timm.create_model(exported, pretrained=True).eval()
    images = torch.randn(5, 3, 32, 32)
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = model(images)
        torch.testing.assert_close(torch.export.load(str(tmp_path / "net.pt2")).module()(images), expected)
    found = torch.from_numpy(session.run(["logits"], {"pixels": images.numpy()})[0])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_export_refuses_what_differs(exported: str) -> None:
    from scarlet_models.errors import UserError
    from scarlet_models.export.programs import largest_difference

    model, batch = timm.create_model(exported, pretrained=True).eval(), torch.randn(2, 3, 32, 32)
    assert largest_difference(model, model, [batch]) == 0
    for other in (lambda x: model(x) + 1, lambda x: model(x) * float("nan")):
        with pytest.raises(UserError, match="differs from the network"):
            largest_difference(model, other, [batch])


def test_export_without_the_extra_says_what_to_install(
    exported: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "onnxscript" else found(name, *a))
    message = fails(capsys, "export", exported, "--formats", "[onnx]", "--out", str(tmp_path))
    assert message.endswith("ONNX needs onnxscript: pip install 'scarlet-models[export]'")
    assert not list(tmp_path.iterdir())


# Images


@pytest.fixture(scope="session")
def cifar(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One real image of each class of CIFAR-10's test split."""
    return _write_cifar(shared, tmp_path_factory.mktemp("cifar"), each=1)


def _write_cifar(shared: Path, folder: Path, each: int) -> list[Path]:
    """The first images of each class of CIFAR-10's test split, as the JPEGs that they are: CLASS_NUMBER.jpg."""
    data = dict(np.load(shared / "data" / "cifar10" / "cifar10_test.npz"))
    files = []
    for label, name in enumerate(CLASSES):
        for number in np.flatnonzero(data["labels"] == label)[:each]:
            start, end = data["offsets"][number : number + 2]
            files.append(folder / f"{name}_{number}.jpg")
            files[-1].write_bytes(data["jpeg"][start:end].tobytes())
    return files


def _classified(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    status, out, _ = run(capsys, "classify", "--json", *arguments)
    assert status == 0
    return [json.loads(line) for line in out.splitlines()]


def test_classify_gives_the_models_own_answers(
    exported: str, cifar: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    results = _classified(capsys, *map(str, cifar), "--model", exported, "--top-k", "10", "--batch-size", "4")
    assert [result["image"] for result in results] == list(map(str, cifar))
    model = timm.create_model(exported, pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    for path, result in zip(cifar, results, strict=True):
        with torch.no_grad():
            expected = model(transform(Image.open(path).convert("RGB"))[None]).softmax(1)[0]
        probabilities = [prediction["probability"] for prediction in result["predictions"]]
        assert probabilities == sorted(probabilities, reverse=True) and sum(probabilities) == pytest.approx(1, abs=1e-5)
        for prediction in result["predictions"]:
            assert prediction["label"] == CLASSES[prediction["index"]]
            assert prediction["probability"] == pytest.approx(float(expected[prediction["index"]]), abs=1e-5)


@pytest.mark.parametrize("name", ["scarlet_a.c10", "scarlet_b.c10", "scarlet_c.c10"])
def test_the_networks_that_ship_know_real_images(
    name: str, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _write_cifar(shared, tmp_path, each=20)
    results = _classified(capsys, str(tmp_path), "--model", name, "--top-k", "1")
    found = [(Path(result["image"]).name, result["predictions"][0]["label"]) for result in results]
    assert len(found) == 200 and sum(file.startswith(label) for file, label in found) >= 160


def test_classify_greyscale(cifar: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = timm.create_model("scarlet_net", genotype="0,1,2,3,0", space="mini", in_chans=1).eval()
    config: dict[str, Any] = {"input_size": (1, 32, 32), "mean": (0.5,), "std": (0.25,)}
    saving.save(model, tmp_path / "grey", {"in_chans": 1}, config, CLASSES)
    (result,) = _classified(capsys, str(cifar[3]), "--model", f"local-dir:{tmp_path / 'grey'}", "--top-k", "1")
    transform = timm.data.create_transform(**timm.data.resolve_data_config(config, pretrained_cfg=model.pretrained_cfg))
    with torch.no_grad():
        expected = model(transform(Image.open(cifar[3]).convert("L"))[None]).softmax(1).max()
    assert result["predictions"][0]["probability"] == pytest.approx(float(expected), abs=1e-5)


def test_classify_prints_bars_and_reads_folders_and_stdin(
    exported: str, cifar: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, out, _ = run(capsys, "classify", str(cifar[0].parent), "--model", exported, "--top-k", "2")
    lines = out.splitlines()
    assert status == 0 and len(lines) == 30
    assert lines[0].strip() == str(cifar[0]) and lines[1].strip().endswith("%") and "█" in lines[1]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(cifar[3].read_bytes())))
    (piped,) = _classified(capsys, "-", "--model", exported)
    (direct,) = _classified(capsys, str(cifar[3]), "--model", exported)
    assert piped["image"] == "stdin" and piped["predictions"] == direct["predictions"]


@pytest.fixture(scope="session")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images of unusual kinds, some of them broken."""
    folder = tmp_path_factory.mktemp("odd")
    values = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    grey = values[..., 0].astype(np.uint16) * 257
    image = Image.fromarray(values)
    image.save(folder / "whole.png")
    for name, mode in {
        "cmyk.jpg": "CMYK",
        "grey.png": "L",
        "alpha.png": "RGBA",
        "palette.gif": "P",
        "bit.png": "1",
    }.items():
        image.convert(mode).save(folder / name)
    Image.fromarray(grey).save(folder / "sixteen.png")
    Image.fromarray(grey.astype(np.float32)).save(folder / "float.tiff")
    Image.fromarray(grey.astype(np.int32) * 99).save(folder / "thirtytwo.tiff")
    Image.new("1", (20_000, 10_000)).save(folder / "huge.png")
    Image.new("1", (20_000, 5_001)).save(folder / "large.png")
    Image.new("L", (5_000, 2)).save(folder / "thin.png")
    Image.new("L", (1, 1)).save(folder / "dot.png")
    (folder / "truncated.png").write_bytes((folder / "whole.png").read_bytes()[:-2000])
    (folder / "text.jpg").write_text("not an image")
    (folder / "script.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (folder / "empty.png").write_bytes(b"")
    (folder / "notes.txt").write_text("no image by name: left alone")
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9\x1b[31m.png")).write_bytes((folder / "whole.png").read_bytes())
    return folder


BAD = {
    "float.tiff": "floating-point pixels",
    "thirtytwo.tiff": "32-bit pixels",
    "huge.png": "too large: more than 100 million pixels",
    "large.png": "too large: 20000 x 5001",
    "thin.png": "too narrow: 5000 x 2",
    "truncated.png": "damaged: ",
    "text.jpg": "not an image",
    "script.png": "not an image",  # Pillow would start Ghostscript
    "empty.png": "not an image",
}


def test_one_line_for_each_bad_image_and_the_rest_goes_on(
    exported: str, odd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(capsys, "classify", str(odd), str(odd / "nowhere.png"), "--model", exported, "--json")
    results = {Path(row["image"]).name: row for row in map(json.loads, out.splitlines())}
    assert status == 2
    assert {name for name, row in results.items() if "error" in row} == {*BAD, "nowhere.png"}
    for name, message in BAD.items():
        assert results[name]["error"].startswith(message)
        assert any(f"{name}: {message}" in line for line in err.splitlines())
    assert results["nowhere.png"]["error"] == "no such file or folder"
    assert err.count("\n") == len(BAD) + 2 and err.endswith(
        f"{len(BAD) + 1} of {len(results)} images could not be read\n"
    )
    assert "\x1b" not in out + err  # nor do names of files reach the terminal's controls
    for name in ("cmyk.jpg", "grey.png", "alpha.png", "palette.gif", "bit.png", "sixteen.png", "dot.png"):
        assert len(results[name]["predictions"]) == 5
    assert results["sixteen.png"]["predictions"] != results["dot.png"]["predictions"]


def test_sixteen_bits_are_scaled_not_clipped(odd: Path) -> None:
    from scarlet_models.images import read_image

    eight = np.asarray(Image.open(odd / "whole.png"))[..., 0]
    assert np.array_equal(np.asarray(read_image(odd / "sixteen.png"))[..., 1], eight)


def test_images_are_turned_as_their_camera_was(tmp_path: Path) -> None:
    from scarlet_models.images import read_image

    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side
    Image.new("RGB", (30, 20)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").size == (20, 30)


@pytest.mark.parametrize(("given", "message"), [(b"", "stdin: empty"), (b"text", "stdin: not an image")])
def test_bad_bytes_on_stdin(
    given: bytes, message: str, exported: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))
    assert message in fails(capsys, "classify", "-", "--model", exported)


def test_a_folder_without_images_and_a_device(
    exported: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "no images in this folder" in fails(capsys, "classify", str(tmp_path), "--model", exported)
    assert "not a regular file" in fails(capsys, "classify", "/dev/zero", "--model", exported)


# As processes


def test_the_command_as_a_process(exported: str, odd: Path) -> None:
    """As the entry point starts it: the models register, and stdin is bytes."""
    code = "import sys; sys.argv[0] = 'scarlet-models'; from scarlet_models.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "classify", "-", "--model", exported, "--top-k", "1"]
    done = subprocess.run(command, input=(odd / "whole.png").read_bytes(), capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().splitlines()[0].strip() == "stdin" and not done.stderr


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
