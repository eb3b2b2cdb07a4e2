"""classify, on real images and on broken ones."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from helpers.commands import fails, run
from PIL import Image

from scarlet_models.images import find_images
from scarlet_models.weights import save as saving

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
KINDS = {  # of CIFAR-10's things in Tiny-ImageNet
    "automobile": ("beach wagon", "convertible", "limousine", "sports car", "police van"),
    "cat": ("tabby", "Persian cat", "Egyptian cat"),
    "dog": ("Chihuahua", "Yorkshire terrier", "golden retriever", "Labrador retriever", "German shepherd"),
    "frog": ("bullfrog", "tailed frog"),
}


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


def test_hidden_files_are_no_images_and_linked_folders_are_searched(tmp_path: Path) -> None:
    """As in folders that are trained on. macOS writes `._cat.jpg` beside `cat.jpg` on drives of other systems."""
    for name in ("photos/._cat.jpg", "photos/cat.JPG", "photos/.cache/dog.jpg", "elsewhere/cow.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "photos/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos/linked/back").symlink_to(tmp_path / "photos")
    found = [path.relative_to(tmp_path).as_posix() for path in find_images(str(tmp_path / "photos"))]
    assert found == ["photos/cat.JPG", "photos/linked/cow.png"]


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


@pytest.mark.parametrize("name", ["scarlet_b.tiny_in", "scarlet_c.tiny_in"])
def test_the_networks_that_ship_know_real_images(
    name: str, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Images of CIFAR-10, which none of them was trained on: one of the five best guesses is such a thing."""
    _write_cifar(shared, tmp_path, each=20)
    results = _classified(capsys, str(tmp_path), "--model", name, "--top-k", "5")
    assert len(results) == 200
    right = [
        any(guess["label"] in kinds for guess in result["predictions"])
        for result in results
        for kinds in (KINDS.get(Path(result["image"]).name.split("_")[0]),)
        if kinds
    ]
    assert len(right) == 20 * len(KINDS) and sum(right) >= 0.4 * len(right)  # guessing is right in 10%


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


def test_the_command_as_a_process(exported: str, odd: Path) -> None:
    """As the entry point starts it: the models register, and stdin is bytes."""
    code = "import sys; sys.argv[0] = 'scarlet-models'; from scarlet_models.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "classify", "-", "--model", exported, "--top-k", "1"]
    done = subprocess.run(command, input=(odd / "whole.png").read_bytes(), capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().splitlines()[0].strip() == "stdin" and not done.stderr
