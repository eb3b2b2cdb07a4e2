"""Extraction: a standalone timm model gives the logits and the feature taps of its path, stabilizers folded."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from helpers.folding import (
    CHAIN,
    compare,
    error,
    path_taps,
    random_images,
    randomise,
    supernet,
    without_stabilizers,
)
from safetensors.torch import load_file, save_file
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn

from scarlet_models.models import GENOTYPES
from scarlet_models.search.supernet.stabilizer import Stabilizer
from scarlet_models.search.supernet.supernet import Supernet
from scarlet_models.space.space import SearchSpace
from scarlet_models.training.depthwise import accelerate_depthwise


@pytest.fixture(scope="module")
def scarlet() -> Supernet:
    torch.manual_seed(0)
    return randomise(Supernet("scarlet", num_classes=10, init="torch"))


# Without a stabilizer


def test_scarlet_a_is_extracted_bit_for_bit(scarlet: Supernet) -> None:
    images = random_images(64, torch.float)
    model = scarlet.extract(GENOTYPES["scarlet_a"])
    assert type(model) is EfficientNet
    assert torch.equal(model(images), scarlet(images, GENOTYPES["scarlet_a"]))


@pytest.mark.parametrize("genotype", ["0,0,0,0,0,0,0,0", "1,2,0,2,1,0,1,2", "2,1,1,1,1,2,2,2"])
def test_projecting_identities_stay_in_the_network(genotype: str) -> None:
    net = randomise(Supernet("nas_bench_macro", init="torch"))
    images = random_images(16, torch.float)
    keeps_shape = [layer.keeps_shape for layer in net.space.layers]
    folds = any(keeps and index == "0" for keeps, index in zip(keeps_shape, genotype.split(","), strict=True))
    model = net.extract(genotype)
    logits = net(images, genotype)
    assert error(model(images), logits) < 1e-5
    assert torch.equal(model(images), logits) != folds


def test_plain_skips_are_extracted_bit_for_bit() -> None:
    net = supernet(CHAIN, stabilizer="skip")
    images = random_images(16)
    for fold in (True, False):
        assert torch.equal(net.extract("0,2,1,2,2,1,0,2", fold)(images), net(images, "0,2,1,2,2,1,0,2"))


def test_extraction_is_a_copy_that_draws_no_random_number() -> None:
    net = supernet(CHAIN)
    before = copy.deepcopy(net.state_dict())
    random_state = torch.get_rng_state()
    model = net.extract("0,2,1,2,2,1,0,2")
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not model.training
    assert model.classifier.weight.dtype == torch.double
    for parameter in model.parameters():
        parameter.data.zero_()
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())
    assert net.train().extract("0,2,1,2,2,1,0,2").training


def test_extracted_modules_are_timms_own_even_from_an_accelerated_supernet() -> None:
    net = accelerate_depthwise(Supernet("mini", init="torch")).eval()
    model = net.extract("0,3,1,3,0")
    assert {type(m) for m in model.modules() if isinstance(m, nn.Conv2d)} == {nn.Conv2d}
    images = random_images(32, torch.float)
    torch.testing.assert_close(torch.jit.script(model)(images), net(images, "0,3,1,3,0"))


# The claim of the paper


@pytest.mark.parametrize("name", ["scarlet_b", "scarlet_c"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float, 1e-5), (torch.double, 1e-10)])
def test_released_genotypes_with_identities(scarlet: Supernet, name: str, dtype: torch.dtype, tolerance: float) -> None:
    net = scarlet if dtype == torch.float else copy.deepcopy(scarlet).double()
    model = net.extract(GENOTYPES[name])
    assert not any(isinstance(module, Stabilizer) for module in model.modules())
    images = random_images(32, dtype)
    logits, taps = compare(net, GENOTYPES[name], model, images)
    assert len(taps) == 5
    assert max(logits, *taps) < tolerance
    assert error(without_stabilizers(net, GENOTYPES[name])(images), net(images, GENOTYPES[name])) > 0.03


# Any path of any space


def random_space(rng: np.random.Generator) -> dict[str, Any]:
    def channels() -> int:
        return int(rng.choice([8, 16, 24]))

    stem = {"channels": channels(), "stride": int(rng.integers(1, 3)), "act": "relu6"}
    if rng.random() < 0.7:
        stem["separable"] = channels()
    stages = [
        {"channels": channels(), "depth": int(rng.integers(1, 5)), "stride": int(rng.integers(1, 3))}
        for _ in range(rng.integers(1, 4))
    ]
    choices = ["identity", {"expand": 2, "kernel": 3}, {"expand": 3, "kernel": 5, "se": 0.25}]
    rng.shuffle(choices)
    return {
        "name": "random",
        "input_size": 16,
        "num_classes": 6,
        "stem": stem,
        "stages": [stages[0] | {"stride": 2}, *stages[1:]],
        "act": str(rng.choice(["relu", "hard_swish", "silu"])),
        "choices": choices,
        "identity_at": str(rng.choice(["same_shape", "everywhere"])),
        "head": {"channels": channels(), "act": "relu6"},
    }


@pytest.mark.parametrize("seed", range(12))
def test_random_paths_of_random_spaces(seed: int) -> None:
    """The first layer strides, so a block without a shortcut stands in front of every identity: none is refused."""
    rng = np.random.default_rng(seed)
    net = supernet(random_space(rng), init="orthogonal")
    images = random_images(16)
    for _ in range(4):
        genotype = str(net.space.sample(rng))
        logits, taps = compare(net, genotype, net.extract(genotype), images)
        assert max(logits, *taps) < 1e-10, (net.space, genotype)


@pytest.mark.parametrize("init", ["torch", "identity_noise"])
def test_random_paths_of_mini_in_single_precision(init: str) -> None:
    rng = np.random.default_rng(0)
    net = randomise(Supernet("mini", init=init))
    images = random_images(32, torch.float)
    for _ in range(12):
        genotype = str(net.space.sample(rng))
        logits, _ = compare(net, genotype, net.extract(genotype), images)
        assert logits < 1e-5, genotype


# The extracted model is a timm model like any other


def test_extracted_models_save_and_load_as_timm_models(tmp_path: Path) -> None:
    net = randomise(Supernet(CHAIN, init="torch"))
    genotype, images = "0,2,1,2,2,1,0,2", random_images(16, torch.float)
    model = net.extract(genotype)
    file = str(tmp_path / "model.safetensors")
    save_file(model.state_dict(), file)
    options = {"genotype": genotype, "space": CHAIN}
    loaded = timm.create_model("scarlet_net", checkpoint_path=file, num_classes=5, **options).eval()
    assert torch.equal(loaded(images), model(images))
    assert model.pretrained_cfg["architecture"] == "scarlet_net"
    assert model.pretrained_cfg["input_size"] == (3, 16, 16)

    extractor = timm.create_model("scarlet_net", features_only=True, **options).eval()
    missing, _ = extractor.load_state_dict(load_file(file), strict=False)
    assert not missing
    for features, expected in zip(extractor(images), path_taps(net, images, genotype), strict=True):
        assert error(features, expected) < 1e-5


def test_an_extracted_model_trains() -> None:
    model = supernet(CHAIN).extract("0,2,1,2,2,1,0,2").train()
    model(random_images(16)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


def test_folded_batch_norms_stay_near_the_statistics_they_see() -> None:
    """Mean exact, variance an estimate: a network trained on from there does not start from a jump."""
    net = supernet(CHAIN, init="orthogonal")
    genotype, images = "0,2,0,0,0,0,0,0", torch.randn(64, 3, 16, 16, dtype=torch.double)
    net.train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    net(images, genotype)
    net.eval()
    model = net.extract(genotype)
    seen: list[Tensor] = []
    model.blocks[1][0].conv_pwl.register_forward_hook(lambda module, args, output: seen.append(output))
    model(images)
    bn = model.blocks[1][0].bn3
    torch.testing.assert_close(bn.running_mean, seen[0].mean((0, 2, 3)), rtol=0.1, atol=0.1)
    ratio = bn.running_var / seen[0].var((0, 2, 3))
    assert ratio.min() > 0.2
    assert ratio.max() < 5


def test_spaces_that_come_with_the_package_never_refuse_a_good_stabilizer() -> None:
    """In each of them every stage starts with a block without a shortcut, and blocks start and end in dense ones."""
    for name in set(SearchSpace.names()) - {"mobilenetv4"}:  # see its file
        space = SearchSpace.load(name)
        assert {choice.kind for choice in space.choices} <= {"ir", "ds", "identity"}
        assert all(
            not layer.keeps_shape for layer in space.layers if space.layers[layer.index - 1].stage != layer.stage
        )
