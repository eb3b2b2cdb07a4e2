"""ExecuTorch files; slow, as the package is large and follows torch's releases."""

from __future__ import annotations

import gc
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from helpers.images import COLOURS, random_image
from timm.data import create_transform

pytestmark = pytest.mark.slow
EXAMPLE = Path(__file__).parents[2] / "examples" / "deploy"


@pytest.fixture(scope="module")
def files(network: Path, colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("executorch")  # of the extra executorch
    out = tmp_path_factory.mktemp("pte")
    command = [sys.executable, "-c", "import sys; from scarlet_models.cli import main; sys.exit(main())", "export"]
    calibration = ["--calibration", str(colours / "train"), "--calibration-images", "16"]
    kinds = ["--format", "executorch,executorch-int8", "--out", str(out)]
    done = subprocess.run([*command, str(network), *kinds, *calibration], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "net-int8.pte" in done.stdout
    return out


def test_both_files_give_the_networks_logits_and_know_what_they_are(network: Path, files: Path) -> None:
    from executorch.runtime import Runtime

    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        expected = timm.create_model(f"local-dir:{network}", pretrained=True).eval()(image)
    for name, tolerance in (("net.pte", 1e-4), ("net-int8.pte", 0.3)):
        program = Runtime.get().load_program((files / name).read_bytes())
        found = program.load_method("forward").execute((image,))[0]
        assert float((found - expected).abs().max()) <= tolerance * float(expected.abs().max())
        about = json.loads(program.load_method("about").execute(())[0])
        assert about["labels"] == sorted(COLOURS) and about["genotype"] == "0,1,2,3,0"
    assert (files / "net-int8.pte").stat().st_size < (files / "net.pte").stat().st_size


def test_kept_modules_stay_in_fp32(network: Path, colours: Path, tmp_path: Path) -> None:
    pytest.importorskip("executorch")  # of the extra executorch
    command = [sys.executable, "-c", "import sys; from scarlet_models.cli import main; sys.exit(main())", "export"]
    calibration = ["--calibration", str(colours / "train"), "--calibration-images", "16"]
    sizes = []
    for keep in ("[blocks.1]", "[blocks, conv_stem, bn1, conv_head, bn2, global_pool, classifier]"):
        arguments = [*calibration, "--format", "executorch-int8", "--keep", keep, "--out", str(tmp_path), "--json"]
        done = subprocess.run([*command, str(network), *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        (check,) = json.loads(done.stdout)["files"].values()
        sizes.append((check["size"], check["difference"]))
    (some, _), (whole, difference) = sizes
    assert some < whole and difference < 1e-3, "nothing is int8 where all is kept"


def test_the_example_classifies_without_torch(network: Path, files: Path, tmp_path: Path) -> None:
    if not shutil.which("g++"):
        pytest.skip("needs a C++ compiler")
    shutil.copytree(EXAMPLE, tmp_path / "deploy")
    built = subprocess.run(
        ["sh", "build_runner.sh"], cwd=tmp_path / "deploy", env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    )
    assert built.returncode == 0
    image = random_image(0, 32)
    image.save(tmp_path / "image.png")
    script = str(tmp_path / "deploy" / "classify.py")
    code = f"import runpy, sys; runpy.run_path({script!r}, run_name='__main__'); assert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code, files / "net.pte", tmp_path / "image.png"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    model = timm.create_model(f"local-dir:{network}", pretrained=True).eval()
    transform = create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    with torch.no_grad():
        best = int(model(transform(image)[None]).argmax())
    assert done.stdout.split()[1] == sorted(COLOURS)[best]


def test_programs_run_on_when_only_their_call_is_kept() -> None:
    pytest.importorskip("executorch")  # of the extra executorch
    from scarlet_models.export.formats import export

    made = []
    for channels in (8, 16, 24):
        model, image = torch.nn.Conv2d(3, channels, 3).eval(), torch.randn(1, 3, 16, 16)
        made.append((model, export("executorch", model, image).run, image))
        gc.collect()
    for _ in range(20):
        for model, run, image in made:
            with torch.no_grad():
                torch.testing.assert_close(run(image), model(image), atol=1e-4, rtol=1e-4)


def test_latency_of_executorch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("executorch")  # of the extra executorch
    from scarlet_models.search import cli

    few = ["--rounds", "5", "--validate", "4", "--validation-rounds", "5", "--out", str(tmp_path), "--json"]
    assert cli.main(["latency", "mini", "--runtime", "executorch", "--dtype", "int8", *few]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["facts"]["runtime"], said["facts"]["dtype"]) == ("executorch", "int8")
    assert said["validation"]["spearman"]["value"] > 0.5
