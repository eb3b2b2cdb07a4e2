"""What a GPU must do as a CPU does: training, fair steps, scores, detection, resuming, precisions, exports.

On a machine with a GPU: pytest -m gpu -n 0 tests/gpu. Anywhere: SCARLET_TEST_DEVICE=cpu pytest -m gpu -n 0 tests/gpu.
"""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.distributed as dist
from helpers.population import CALIBRATION, PATHS, VAL, make_net
from helpers.runs import newest
from PIL import Image
from torch.nn import functional as F

from scarlet_models.detection.options import DetectOptions
from scarlet_models.search.retraining.options import RetrainOptions
from scarlet_models.search.scoring.population import PopulationEvaluator
from scarlet_models.search.supernet.fair_step import add_gradients
from scarlet_models.search.supernet.options import SupernetOptions
from scarlet_models.search.supernet.sampler import FairSampler
from scarlet_models.search.supernet.training import train as train_supernet
from scarlet_models.space.space import Genotype
from scarlet_models.training.classification import train
from scarlet_models.training.device import to_device
from scarlet_models.training.distributed import World, start_training

pytestmark = pytest.mark.gpu
AMPS = ["none", "bf16", "fp16"]


def _short(images: Path, out: Path, device: torch.device, **changes: Any) -> dict[str, Any]:
    short = {"image_size": 32, "batch_size": 32, "epochs": 2, "lr": 0.05, "workers": 0, "out": str(out)}
    return {"data_dir": str(images), "device": str(device), **short, **changes}


@pytest.mark.parametrize("amp", [*AMPS, "auto"])
def test_a_training_learns(images: Path, tmp_path: Path, device: torch.device, amp: str) -> None:
    options = _short(images, tmp_path / "run", device, amp=amp, epochs=4, warmup_epochs=0.0)
    result = train("test_efficientnet", **options)
    assert len(result.history) == 4 and all(math.isfinite(row["train_loss"]) for row in result.history)
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]


def test_a_training_resumes(images: Path, tmp_path: Path, device: torch.device) -> None:
    options = _short(images, tmp_path / "run", device)
    train("test_efficientnet", **options, amp="fp16")
    before = newest(tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / f"{before['step']:08d}.pt").unlink(missing_ok=True)
    result = train("test_efficientnet", **options, amp="fp16", resume=True)
    assert newest(tmp_path / "run")["step"] == before["step"] and len(result.history) == 2


@pytest.mark.parametrize("amp", AMPS)
def test_supernet_training(images: Path, tmp_path: Path, device: torch.device, amp: str) -> None:
    changes = {"space": "mini", "amp": amp, "lr": 0.02, "eval_images": 8}
    options = SupernetOptions(**_short(images, tmp_path / "net", device, **changes))
    with start_training(options.device, 0) as world:
        path, row = train_supernet(options, world, "scarlet-search train")
    assert path.is_file() and math.isfinite(row["loss"])


def test_a_fair_step_has_the_gradients_of_the_cpu(device: torch.device) -> None:
    net = make_net().train()
    twin = to_device(copy.deepcopy(net), device)
    paths, (pixels, labels) = FairSampler(net.space).fair_step(), VAL[0]
    losses, _ = add_gradients(net, paths, pixels, labels)
    others, _ = add_gradients(twin, paths, pixels.to(device), labels.to(device))
    torch.testing.assert_close(others.cpu(), losses, rtol=1e-3, atol=1e-4)
    for ours, theirs in zip(twin.parameters(), net.parameters(), strict=True):
        if theirs.grad is not None and ours.grad is not None:
            assert (ours.grad.cpu() - theirs.grad).norm() <= 0.02 * theirs.grad.norm() + 1e-4


@pytest.mark.parametrize("calibration", [None, CALIBRATION])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-3), (torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_a_population_has_the_scores_of_the_cpu(
    device: torch.device, dtype: torch.dtype, limit: float, calibration: Any
) -> None:
    net = make_net()
    wanted = PopulationEvaluator(net, VAL, calibration).evaluate(PATHS)
    got = PopulationEvaluator(to_device(net, device), VAL, calibration, dtype=dtype).evaluate(PATHS)
    np.testing.assert_allclose([score.loss for score in got], [score.loss for score in wanted], atol=limit)


def test_a_network_is_retrained(images: Path, tmp_path: Path, device: torch.device) -> None:
    from scarlet_models.search.commands.retrain import main

    changes = {"test_split": "test", "final": True, "amp": "auto"}
    main(RetrainOptions(genotype="2,3,1,3,0", space="mini", **_short(images, tmp_path / "run", device, **changes)))
    assert json.loads((tmp_path / "run" / "final.json").read_text())["images"] == 30


@pytest.mark.parametrize("amp", ["none", "bf16"])
def test_a_detector_trains(tmp_path: Path, device: torch.device, amp: str) -> None:
    pytest.importorskip("faster_coco_eval")  # of the extra detection
    from scarlet_models.detection.training import train_detector

    (tmp_path / "images").mkdir()
    for i in range(4):
        Image.new("RGB", (64, 64), (60 * i, 30, 30)).save(tmp_path / "images" / f"{i}.png")
    entries = [{"id": i, "file_name": f"{i}.png", "width": 64, "height": 64} for i in range(4)]
    boxes = [
        {"id": i + 1, "image_id": i, "category_id": 1, "bbox": [8, 8, 32, 32], "area": 1024, "iscrowd": 0}
        for i in range(4)
    ]
    content = {"images": entries, "annotations": boxes, "categories": [{"id": 1, "name": "disc"}]}
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    small = {"out_channels": 16, "extra_levels": 0, "anchor_scale": 2.0}
    options = DetectOptions(
        images=str(tmp_path / "images"),
        annotations=str(tmp_path / "boxes.json"),
        out=str(tmp_path / "run"),
        pretrained=False,
        detector_args=small,
        image_size=(64, 96),
        epochs=1,
        batch_size=2,
        workers=0,
        device=str(device),
        amp=amp,
    )
    with start_training(options.device, 0) as world:
        folder, figures = train_detector(options, world, "scarlet-models detect train")
    assert folder.is_dir() and figures["steps"] == 2


def test_an_exported_network_gives_the_logits_of_the_gpu(device: torch.device) -> None:
    from scarlet_models.export.formats import export

    onnxruntime = pytest.importorskip("onnxruntime")  # of the extra export
    model = timm.create_model("scarlet_a", num_classes=3).eval()
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    content = export("onnx", copy.deepcopy(model), pixels).data
    with torch.inference_mode():
        wanted = model.to(device)(pixels.to(device)).cpu().numpy()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {session.get_inputs()[0].name: pixels.numpy()})
    np.testing.assert_allclose(got, wanted, atol=1e-3 * max(1, np.abs(wanted).max()))


def test_ranks_exchange(tmp_path: Path, device: torch.device) -> None:
    """One process with NCCL on a GPU, gloo on a CPU, that believes it is one of two: a sum is its own value."""
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        world, values = World(0, 2, device), [torch.ones(3, device=device), torch.ones(2, 2, device=device).half()]
        world.mean_(values)
        assert all(bool((value == 0.5).all()) for value in values)
        assert world.sum([1.0, 2.5]) == [1.0, 2.5] and world.broadcast({"a": 1}) == {"a": 1}
        with world.main_first():
            pass
    finally:
        dist.destroy_process_group()


def test_compiled_training_equals_eager(device: torch.device) -> None:
    if device.type != "cuda":
        pytest.skip("compiling takes minutes on a CPU")
    model = to_device(timm.create_model("test_efficientnet", num_classes=3), device).eval()
    pixels, labels = torch.randn(8, 3, 64, 64, device=device), torch.arange(8, device=device) % 3
    F.cross_entropy(model(pixels), labels).backward()
    eager = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad()
    F.cross_entropy(torch.compile(model)(pixels), labels).backward()
    compiled = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    for ours, theirs in zip(compiled, eager, strict=True):
        assert (ours - theirs).norm() <= 0.01 * theirs.norm() + 1e-5


def test_a_released_network_runs_on_the_gpu(device: torch.device) -> None:
    net = make_net()
    genotype = Genotype.parse(PATHS[0], net.space)
    model = to_device(net.extract(genotype), device).eval()
    with torch.inference_mode():
        logits = model(VAL[0][0].to(device)).cpu()
        torch.testing.assert_close(logits, net.eval()(VAL[0][0], genotype), rtol=1e-3, atol=1e-3)
