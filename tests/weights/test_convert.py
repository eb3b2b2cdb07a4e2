"""Published checkpoints: converted to the digit, and refused in one line where they are not what they should be.

The layout is written here a second time, as the networks' own modules, so that both mappings would have to err alike.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from scarlet_models import UserError, models
from scarlet_models.cli import main
from scarlet_models.models import GENOTYPES
from scarlet_models.weights import store
from scarlet_models.weights.convert import convert

# (channels, depth, stride) of each stage, and (expansion, kernel, SE) of each choice, from the paper.
STAGES = ((32, 2, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1))
CHOICES = [(expand, kernel, se) for se in (False, True) for expand in (3, 6) for kernel in (3, 5, 7)]
IDENTITIES = {"scarlet_a": [], "scarlet_b": [8, 16], "scarlet_c": [3, 4, 15]}


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze_conv = nn.Conv2d(channels, channels // 4, 1)
        self.excite_conv = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * functional.hardsigmoid(self.excite_conv(self.squeeze_conv(x.mean((2, 3), keepdim=True)).relu()))


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, expand: int, kernel: int, se: bool) -> None:
        super().__init__()
        middle = inputs * expand
        self.residual = stride == 1 and inputs == outputs
        self.conv1 = nn.Conv2d(inputs, middle, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, kernel, stride, kernel // 2, groups=middle, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        if se:
            self.mid_se = SqueezeExcite(middle)
        self.conv3 = nn.Conv2d(middle, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.se = se

    def forward(self, x: Tensor) -> Tensor:
        y = functional.hardswish(self.bn1(self.conv1(x)))
        y = functional.hardswish(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(self.mid_se(y) if self.se else y))
        return x + y if self.residual else y


class Published(nn.Module):
    """A network with the modules and names of the published ones. Identities keep their number and have no tensors."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU6())
        self.separable_conv = nn.Sequential(
            nn.Conv2d(32, 32, 3, 1, 1, groups=32, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU6(),
            nn.Conv2d(32, 16, 1, bias=False),
            nn.BatchNorm2d(16),
        )
        genotype, layers, inputs = iter(map(int, GENOTYPES[name].split(","))), [], 16
        for channels, depth, stride in STAGES:
            for position in range(depth):
                choice = next(genotype)
                first = stride if position == 0 else 1
                block = nn.Identity() if choice == 12 else InvertedResidual(inputs, channels, first, *CHOICES[choice])
                layers.append(block)
                inputs = channels
        self.mb_module = nn.Sequential(*layers)
        self.conv_before_pooling = nn.Sequential(nn.Conv2d(320, 1280, 1, bias=False), nn.BatchNorm2d(1280), nn.ReLU6())
        self.classifier = nn.Linear(1280, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_before_pooling(self.mb_module(self.separable_conv(self.stem(x))))
        return self.classifier(x.mean((2, 3)))


def filler(key: str, shape: torch.Size) -> Tensor:
    """A tensor that depends on its key alone, of a size that keeps activations near 1."""
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    if key.endswith("num_batches_tracked"):
        return torch.tensor(100)
    if key.endswith("running_var") or (len(shape) == 1 and key.endswith("weight")):
        values = rng.uniform(0.5, 1.5, shape)
    elif len(shape) > 1:
        values = rng.normal(0, 1, shape) * np.sqrt(2 / np.prod(shape[1:]))
    else:
        values = rng.normal(0, 0.1, shape)
    return torch.from_numpy(np.asarray(values, "f4"))


@pytest.fixture(scope="module")
def published() -> dict[str, Published]:
    networks = {}
    for name in GENOTYPES:
        network = Published(name).eval()
        network.load_state_dict({key: filler(key, tensor.shape) for key, tensor in network.state_dict().items()})
        networks[name] = network
    return networks


@pytest.fixture
def state_a(published: dict[str, Published]) -> dict[str, Tensor]:
    return dict(published["scarlet_a"].state_dict())


def save(path: Path, state: dict[str, Any], **kwargs: Any) -> Path:
    torch.save({"epoch": 120, "model_state": state}, path, **kwargs)
    return path


def loaded(name: str, tensors: dict[str, Tensor]) -> nn.Module:
    model = timm.create_model(name).eval()
    model.load_state_dict(tensors)
    return model


# What comes out


@pytest.mark.parametrize("name", GENOTYPES)
def test_the_converted_network_computes_what_the_published_one_does(
    published: dict[str, Published], name: str, tmp_path: Path
) -> None:
    network = published[name]
    numbers = {int(key.split(".")[1]) for key in network.state_dict() if key.startswith("mb_module")}
    assert [layer for layer in range(19) if layer not in numbers] == IDENTITIES[name]
    found, tensors = convert(save(tmp_path / "x.pth.tar", network.state_dict()))
    assert found == name
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        ours, theirs = loaded(name, tensors)(images), network(images)
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_fixture_gives_the_published_logits(shared: Path, tmp_path: Path) -> None:
    fixture = shared / "fixtures" / "official_layout_A.json"
    spec = importlib.util.spec_from_file_location("make", shared / "fixtures" / "make_official_checkpoint.py")
    assert spec
    assert spec.loader
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    content = json.loads(fixture.read_text())
    state = {key: make.tensor(key, shape) for key, shape in content["state_dict"].items()}
    name, tensors = convert(save(tmp_path / "ScarletA.pth.tar", state))
    images = torch.from_numpy(np.random.default_rng(7).normal(0, 1, (2, 3, 224, 224)).astype("f4"))
    with torch.no_grad():
        logits = loaded(name, tensors).double()(images.double())[:, :16]
    expected = torch.tensor(content["logits_first_16"], dtype=torch.float64)
    # In float64, of which the JSON's float32 logits are 2.4e-4 off: float32's own error is 1e-3 on some processors.
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4 * expected.abs().max().item())


@pytest.mark.parametrize(
    "change",
    [
        lambda state: {f"module.{key}": tensor for key, tensor in state.items()},
        lambda state: OrderedDict(sorted(state.items(), reverse=True)),
        lambda state: {key: tensor.double() if tensor.is_floating_point() else tensor for key, tensor in state.items()},
    ],
    ids=["module. prefixes", "another order", "double precision"],
)
def test_the_same_tensors_whatever_their_prefix_order_and_precision(
    state_a: dict[str, Tensor], tmp_path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]
) -> None:
    expected = convert(save(tmp_path / "x.pth.tar", state_a))
    name, tensors = convert(save(tmp_path / "y.pth.tar", change(state_a)))
    assert name == expected[0]
    assert {key: tensor.dtype for key, tensor in tensors.items()} == {k: t.dtype for k, t in expected[1].items()}
    assert all(torch.equal(tensors[key], tensor) for key, tensor in expected[1].items())


def test_tensors_that_share_memory_can_be_written(state_a: dict[str, Tensor], tmp_path: Path) -> None:
    state_a["stem.1.bias"] = state_a["stem.1.running_mean"]
    assert safetensors.torch.save(convert(save(tmp_path / "x.pth.tar", state_a))[1])


def test_the_file_format_of_old_torch_is_read(state_a: dict[str, Tensor], tmp_path: Path) -> None:
    assert convert(save(tmp_path / "x.pth.tar", state_a, _use_new_zipfile_serialization=False))[0] == "scarlet_a"


# What is refused


class Code:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("unpickled",)


def cut(path: Path, keep: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda path, state: cut(save(path, state), 0.7), "damaged or cut short"),
        (lambda path, state: cut(save(path, state, _use_new_zipfile_serialization=False), 0.7), "cut short"),
        (lambda path, state: cut(save(path, state), 0.0), "damaged or cut short"),
        (lambda path, state: path.write_bytes(b"\x80\x02nonsense"), "cannot read"),
        (lambda path, state: path.write_text("<html>404</html>"), "cannot read"),
        (lambda path, state: path.write_bytes(pickle.dumps(Code())), "holds code, which is not run"),
        (lambda path, state: save(path, {**state, "x": Code()}), "holds code, which is not run"),
        (lambda path, state: torch.save(state, path), "has no 'model_state' of tensors"),
        (lambda path, state: torch.save([1], path), "has no 'model_state' of tensors"),
        (lambda path, state: save(path, {}), "has no 'model_state' of tensors"),
        (lambda path, state: save(path, {**state, "epoch": 3}), "has no 'model_state' of tensors"),
        (lambda path, state: save(path, timm.create_model("mobilenetv2_035").state_dict()), "nearest is"),
        (
            lambda path, state: save(path, {**state, "classifier.bias": torch.ones(10)}),
            r"nearest is scarlet_a: classifier",
        ),
        (lambda path, state: save(path, {**state, "extra": torch.ones(1)}), "scarlet_a: extra is too much"),
        (
            lambda path, state: save(path, {k: v for k, v in state.items() if k != "mb_module.7.bn2.bias"}),
            "nearest is scarlet_a: mb_module.7.bn2.bias is missing",
        ),
        (lambda path, state: save(path, {**state, "stem.1.bias": torch.full((32,), torch.nan)}), "not finite"),
        (lambda path, state: None, "no checkpoint at"),
        (lambda path, state: path.mkdir(), "no checkpoint at"),
    ],
)
def test_a_bad_file_is_one_line_and_leaves_nothing(
    state_a: dict[str, Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path, dict[str, Tensor]], object],
    message: str,
) -> None:
    monkeypatch.setenv("SCARLET_HOME", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.pth.tar"
    spoil(path, state_a)
    before = set(tmp_path.rglob("*"))
    assert main(["convert", "bad.pth.tar", "--install", "--output", "out.safetensors"]) == 2
    output, error = capsys.readouterr()
    assert (output, len(error.splitlines())) == ("", 1)
    assert message in error
    assert "bad.pth.tar" in error
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "odd",
    [
        torch.ones(32).to_sparse(),
        torch.ones(32, device="meta"),
        *(torch.ones(32).to(dtype) for dtype in (torch.float8_e4m3fn, torch.complex64, torch.bool)),
        torch.full((32,), 1e300, dtype=torch.float64),
    ],
    ids=lambda tensor: f"{tensor.device} {tensor.layout} {tensor.dtype}",
)
def test_only_plain_numbers_that_float32_holds_are_taken(
    state_a: dict[str, Tensor], tmp_path: Path, odd: Tensor
) -> None:
    with pytest.raises(UserError, match=r"stem\.1\.bias is (no plain tensor|not finite in float32)"):
        convert(save(tmp_path / "x.pth.tar", {**state_a, "stem.1.bias": odd}))


def test_the_nearest_network_is_named(state_a: dict[str, Tensor], tmp_path: Path) -> None:
    path = save(tmp_path / "x.pth.tar", state_a)
    assert convert(path)[0] == "scarlet_a"
    del state_a["classifier.bias"]
    with pytest.raises(UserError, match=r"nearest is scarlet_a: classifier\.bias is missing"):
        convert(save(path, state_a))


# The command


def test_the_command_installs_what_pretrained_then_loads(
    published: dict[str, Published], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SCARLET_HOME", str(tmp_path / "store"))
    path = save(tmp_path / "ScarletC.pth.tar", published["scarlet_c"].state_dict())
    try:
        assert main(["convert", str(path), "--install"]) == 0
        out = capsys.readouterr().out
        assert out.endswith("next: scarlet-models classify IMAGES --model scarlet_c.xiaomi_in1k\n")
        assert "scarlet_c.xiaomi_in1k" in timm.list_models("scarlet_c", pretrained=True)
        model = timm.create_model("scarlet_c", pretrained=True)
        assert torch.equal(model.conv_stem.weight, published["scarlet_c"].stem[0].weight)
    finally:
        monkeypatch.setenv("SCARLET_HOME", str(tmp_path / "empty"))
        models.refresh("scarlet_c")


@pytest.mark.parametrize("output", [None, "out/mine.safetensors"])
def test_the_command_writes_a_file(
    state_a: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "x.pth.tar", state_a)
    assert main(["convert", "x.pth.tar", *(["--output", output] if output else [])]) == 0
    written = tmp_path / (output or "scarlet_a.xiaomi_in1k.safetensors")
    assert safetensors.torch.load_file(written).keys() == timm.create_model("scarlet_a").state_dict().keys()
    assert not store.store_dir().exists() or not list(store.store_dir().iterdir())
