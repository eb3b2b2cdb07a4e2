"""scarlet-models export: what each runtime loads gives the network's logits, or is refused."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from helpers.commands import fails, run
from helpers.images import COLOURS, random_image
from torch import Tensor

from scarlet_models.errors import UserError
from scarlet_models.export.formats import Exported, is_kept
from scarlet_models.export.network import Check, check_files, largest_difference, ordinary
from scarlet_models.weights import save as saving

CLASSIFY = Path(__file__).parents[2] / "examples" / "deploy" / "classify.py"


@pytest.fixture(scope="module")
def files(network: Path, colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the network's ONNX and torch.export files, and what the command printed as checks.json."""
    pytest.importorskip("onnxscript")  # of the extra export
    out = tmp_path_factory.mktemp("files")
    arguments = [str(network), "--format", "onnx,onnx-int8,pt2", "--out", str(out), "--json"]
    images = ["--data-dir", str(colours), "--split", "test", "--keep", "[blocks.1]", "--sensitivity"]
    calibration = ["--calibration", str(colours / "train"), "--calibration-images", "16"]
    command = [sys.executable, "-c", "import sys; from scarlet_models.cli import main; sys.exit(main())", "export"]
    done = subprocess.run([*command, *arguments, *images, *calibration], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (out / "checks.json").write_text(done.stdout)
    return out


def load(network: Path) -> Any:
    return timm.create_model(f"local-dir:{network}", pretrained=True).eval()


def test_files_take_any_batch_and_give_the_networks_logits(network: Path, files: Path) -> None:
    import onnxruntime

    assert sorted(path.name for path in files.iterdir()) == ["checks.json", "net-int8.onnx", "net.onnx", "net.pt2"]
    images = torch.randn(5, 3, 32, 32)
    session = onnxruntime.InferenceSession(str(files / "net.onnx"), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = load(network)(images)
        torch.testing.assert_close(torch.export.load(str(files / "net.pt2")).module()(images), expected)
    found = torch.from_numpy(session.run(["logits"], {"pixels": images.numpy()})[0])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_each_file_knows_labels_normalisation_and_genotype(files: Path) -> None:
    import onnx

    extra = {"about": ""}
    torch.export.load(str(files / "net.pt2"), extra_files=extra)
    found = [json.loads(extra["about"])]
    for name in ("net.onnx", "net-int8.onnx"):
        model = onnx.load(files / name)
        found.append(json.loads({entry.key: entry.value for entry in model.metadata_props}["about"]))
        assert str(Path.home()) not in str(model.graph.node) and "site-packages" not in str(model.graph.node)
    for about in found:
        assert about["labels"] == sorted(COLOURS)
        assert (about["genotype"], about["space"], about["input_size"]) == ("0,1,2,3,0", "mini", [3, 32, 32])
        assert len(about["mean"]) == len(about["std"]) == 3


def test_int8_is_per_channel_but_for_what_is_kept(files: Path) -> None:
    import onnx

    model = onnx.load(files / "net-int8.onnx")
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    scales = [tensor for name, tensor in weights.items() if name.endswith("conv_pw.weight_scale")]
    assert scales and all(len(tensor.dims) == 1 and tensor.dims[0] > 1 for tensor in scales)
    floats = [name for name, tensor in weights.items() if name.endswith("weight") and len(tensor.dims) == 4]
    assert floats and all(name.startswith("blocks.1.") for name in floats)
    assert (files / "net-int8.onnx").stat().st_size < 0.8 * (files / "net.onnx").stat().st_size


def test_files_are_measured(files: Path) -> None:
    said = json.loads((files / "checks.json").read_text())
    checks = {Path(path).name: check for path, check in said["files"].items()}
    for name, check in checks.items():
        assert check["images"] == 30 and check["size"] == (files / name).stat().st_size
        assert check["ms"] > 0 and check["ms_ratio"] > 0 and check["drop_ci"] >= 0
    assert checks["net.onnx"]["top1"] == checks["net.onnx"]["top1_fp32"] == checks["net-int8.onnx"]["top1_fp32"]
    assert checks["net.onnx"]["difference"] < 1e-4 < checks["net-int8.onnx"]["difference"] < 0.5
    assert {"conv_stem", "blocks.1.0", "classifier"} <= set(said["sensitivity"])
    assert said["sensitivity"]["blocks.1.0"] > 0
    assert all(0 <= error < 1 for error in said["sensitivity"].values())


def test_the_example_classifies_without_torch(files: Path, tmp_path: Path) -> None:
    random_image(0, 50).save(tmp_path / "image.png")
    line = classify(files / "net.onnx", tmp_path / "image.png")
    assert line.startswith(str(tmp_path / "image.png")) and any(colour in line for colour in COLOURS)
    assert len(CLASSIFY.read_text().splitlines()) < 70


def classify(program: Path, image: Path) -> str:
    """What the example prints, run in a process that must not import torch."""
    code = (
        f"import runpy, sys; runpy.run_path({str(CLASSIFY)!r}, run_name='__main__'); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, program, image], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Fixed(torch.nn.Module):
    """Gives the same logits for every image."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.tensor([[1.0, 0.0]]).expand(len(images), 2)


def test_top1_of_a_file_and_its_interval_are_those_of_paired_images() -> None:
    def other(images: Tensor) -> Tensor:  # wrong where the first pixel is positive
        return torch.where(images[:, 0, 0] > 0, torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]]))

    images = torch.linspace(-1, 3, 100).reshape(100, 1, 1, 1)
    labels = torch.zeros(100, dtype=torch.int64)
    files = {"onnx-int8": Exported(b"12345", other)}
    (check,) = check_files(Fixed(), files, images[:1], [(images, labels)], 1).values()
    lost = float((images > 0).float().mean())
    assert (check.top1_fp32, check.size, check.images) == (100, 5, 100)
    assert check.drop == pytest.approx(100 * lost)
    assert check.drop_ci == pytest.approx(196 * (lost * (1 - lost) / 99) ** 0.5)
    assert check.difference == 1


def test_a_file_that_loses_too_much_is_not_written(
    network: Path, colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    check = Check(0.1, 5, 1.0, 1.0, top1=80.0, top1_fp32=81.5, drop_ci=0.5, images=30)
    monkeypatch.setattr("scarlet_models.export.network.check_files", lambda *_: {"pt2": check})
    arguments = ["export", str(network), "--format", "pt2", "--data-dir", str(colours), "--split", "test"]
    assert "pt2 loses 1.50 points of top-1, more than --max-drop 1: no file is written" in fails(
        capsys, *arguments, "--out", str(tmp_path), "--max-drop", "1.0"
    )
    assert not list(tmp_path.iterdir())
    assert run(capsys, *arguments, "--out", str(tmp_path), "--max-drop", "2")[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["net.pt2"]


def test_a_split_that_is_not_there_is_asked_for(
    network: Path, colours: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["export", str(network), "--format", "pt2", "--data-dir", str(colours), "--split", "nosuch"]
    assert fails(capsys, *arguments).endswith("name the split by --split")


def test_what_differs_is_refused(network: Path) -> None:
    model, images = load(network), torch.randn(3, 3, 32, 32)
    assert largest_difference(model, model, images) == 0
    for other in (lambda x: model(x) + 1, lambda x: model(x) * float("nan")):
        with pytest.raises(UserError, match="differs from the network"):
            largest_difference(model, other, images)
    with pytest.raises(UserError, match="differs from the network by nan"):
        largest_difference(model, lambda x: model(x) * float("nan"), images, exact=False)
    assert largest_difference(model, lambda x: model(x) * 1.5, images, exact=False) == pytest.approx(0.5)


def test_kept_modules_are_whole_names() -> None:
    assert is_kept("blocks.1.0.conv_pw", ["blocks.1"]) and is_kept("blocks.1", ["blocks.1"])
    assert not is_kept("blocks.10.conv_pw", ["blocks.1"]) and not is_kept("blocks", ["blocks.1"])


@pytest.mark.parametrize(
    ("kind", "package", "extra"), [("onnx", "onnxscript", "export"), ("executorch", "executorch", "executorch")]
)
def test_without_its_extra_a_format_says_what_to_install(
    kind: str,
    package: str,
    extra: str,
    network: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    absent = {package}

    def found(name: str, *_: Any) -> object:
        return None if name in absent else object()

    monkeypatch.setattr(importlib.util, "find_spec", found)
    message = fails(capsys, "export", str(network), "--format", kind, "--out", str(tmp_path))
    assert f"{kind} needs {package}: pip install " in message and f"[{extra}]" in message
    assert not list(tmp_path.iterdir())


def test_only_modules_that_there_are_can_be_kept(network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["export", str(network), "--format", "pt2", "--keep", "[blocks.9]"]
    assert "--keep blocks.9: local-dir:" in fails(capsys, *arguments)


def test_calibration_wants_images(network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxscript")  # of the extra export
    arguments = ["--format", "onnx-int8", "--calibration", str(tmp_path), "--out", str(tmp_path / "out")]
    assert f"--calibration {tmp_path}: no images in this folder" in fails(capsys, "export", str(network), *arguments)


def test_images_that_make_an_activation_explode_are_not_calibrated_on() -> None:
    """One of 70, more than a batch: an int8 range that holds it has no precision left for the others."""
    images = torch.rand(70, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images[60] *= 100
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 2))
    assert torch.equal(ordinary(model, images), torch.cat([images[:60], images[61:]]))
    assert len(model(images)) == 70 and not model[0]._forward_hooks
    assert torch.equal(ordinary(model[1:2], images), images)


def test_a_folder_without_a_network_hides_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that a command whose files go into a folder of the network's name can be run again."""
    monkeypatch.chdir(tmp_path)
    arguments = ["test_efficientnet", "--no-pretrained", "--format", "pt2", "--out", "test_efficientnet"]
    for _ in range(2):
        assert run(capsys, "export", *arguments)[0] == 0
    assert [path.name for path in tmp_path.rglob("*.pt2")] == ["test_efficientnet.pt2"]


def test_networks_of_grey_images_cannot_be_shown_any(
    colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grey = timm.create_model("test_efficientnet", in_chans=1, num_classes=3)
    seen = {"input_size": (1, 32, 32), "mean": (0.5,), "std": (0.5,)}
    saving.save(grey, tmp_path / "grey", {"in_chans": 1}, seen, COLOURS)
    for images in (["--calibration", str(colours / "train")], ["--data-dir", str(colours)]):
        arguments = ["export", str(tmp_path / "grey"), "--format", "pt2", *images]
        assert "takes images of 1 channels: leave out --calibration and --data-dir" in fails(capsys, *arguments)


def test_a_size_that_the_network_cannot_see_is_one_line(colours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["export", "test_vit", "--no-pretrained", "--input-size", "24", "--format", "pt2"]
    message = fails(capsys, *arguments, "--calibration", str(colours / "train"), "--calibration-images", "2")
    assert "test_vit cannot see images of 24 px: " in message


def test_images_that_cannot_be_read_are_left_out_if_asked(
    network: Path, colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(colours / "test", tmp_path / "test")
    (tmp_path / "test/red/0.png").write_text("no image")
    arguments = ["export", str(network), "--format", "pt2", "--data-dir", str(tmp_path), "--split", "test"]
    arguments += ["--out", str(tmp_path / "out"), "--json"]
    assert fails(capsys, *arguments).endswith("or leave them out with --skip-broken")
    status, out, _ = run(capsys, *arguments, "--skip-broken")
    assert status == 0 and [check["images"] for check in json.loads(out)["files"].values()] == [29]
